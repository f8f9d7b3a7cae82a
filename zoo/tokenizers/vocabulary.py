"""Vocabulary: tokens and ids, special and added tokens, the switches for `<s>` and `</s>`.

The half of `Tokenizer` that knows tokens but no text.
"""

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, processors
from tokenizers import Tokenizer as Backend

from zoo.tokenizers import decode, special


class Vocabulary:
    """Tokens and ids of a `tokenizers` backend; see `Tokenizer`."""

    _backend: Backend
    _lock: Any
    _named: dict[str, str | None]
    _extra: list[str]
    _add_bos: bool
    _add_eos: bool
    init_kwargs: dict[str, Any]
    bos_token: Any
    eos_token: Any
    unk_token_id: Any

    @property
    def backend_tokenizer(self) -> Backend:
        """The `tokenizers.Tokenizer` underneath."""
        return self._backend

    @property
    def vocab_size(self) -> int:
        """The number of tokens without the added ones."""
        return self._backend.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        """The number of tokens with the added ones."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        """A tokenizer is never empty."""
        return True

    def __repr__(self) -> str:
        """The class, the size and the special tokens."""
        return f"{type(self).__name__}({len(self)} tokens, {self.special_tokens_map})"

    def get_vocab(self) -> dict[str, int]:
        """Token -> id, with the added tokens."""
        return self._backend.get_vocab(with_added_tokens=True)

    @property
    def vocab(self) -> dict[str, int]:
        """Token -> id, with the added tokens."""
        return self.get_vocab()

    def get_added_vocab(self) -> dict[str, int]:
        """Added token -> id."""
        return {token.content: i for i, token in sorted(self.added_tokens_decoder.items())}

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Added token -> id."""
        return self.get_added_vocab()

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Id -> added token."""
        return self._backend.get_added_tokens_decoder()

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """Name -> special token, for those that are set; a model's own names after the usual."""
        names = [*special.NAMES, *(name for name in self._named if name not in special.NAMES)]
        return {name: token for name in names if (token := self._named.get(name)) is not None}

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once: the named ones, then the extra ones."""
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self._extra]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of all special tokens."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    @property
    def additional_special_tokens(self) -> list[str]:
        """The special tokens without a name."""
        return list(dict.fromkeys(self._extra))

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """The ids of the special tokens without a name."""
        return self.convert_tokens_to_ids(self.additional_special_tokens)

    @property
    def extra_special_tokens(self) -> list[str]:
        """The special tokens without a name, as transformers 5 calls them."""
        return self.additional_special_tokens

    def __getattr__(self, name: str) -> Any:
        """A model's own special tokens: `tokenizer.image_token`, `tokenizer.image_token_id`."""
        named = self.__dict__.get("_named", {})
        if name in named:
            return named[name]
        if name.endswith("_id") and name.removesuffix("_id") in named:
            return self._backend.token_to_id(named[name.removesuffix("_id")])
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """A token or a list of them -> ids; unknown ones become the id of the unknown token."""
        if isinstance(tokens, str):
            index = self._backend.token_to_id(tokens)
            return self.unk_token_id if index is None else index
        return [self.convert_tokens_to_ids(special.text("tokens", token)) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """An id or a list of them -> tokens; None where no token has the id.

        Raises:
            ValueError: something that is no id.
        """
        if hasattr(ids, "__index__") and not getattr(ids, "ndim", 0):
            return self._backend.id_to_token(decode.token_id(ids))
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        kept = [index for index in decode.rows(ids) if index not in skipped]
        return [self._backend.id_to_token(index) for index in kept]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Tokens -> the text that they decode to."""
        decoder = self._backend.decoder
        return decoder.decode(list(tokens)) if decoder is not None else " ".join(tokens)

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add a token or a list of them; returns how many were new.

        Raises:
            ValueError: something that is no token.
        """
        alone = isinstance(new_tokens, (str, AddedToken))
        tokens = [new_tokens] if alone else list(new_tokens)
        for i, token in enumerate(tokens):
            if not special.text(f"new_tokens[{i}]", token):
                raise ValueError(f"new_tokens[{i}]: found an empty string, expected a token")
        before = len(self)
        add = self._backend.add_special_tokens if special_tokens else self._backend.add_tokens
        add(tokens)
        return len(self) - before

    def add_special_tokens(
        self,
        special_tokens_dict: Mapping[str, Any],
        replace_additional_special_tokens: bool = True,
    ) -> int:
        """Set and, where new, add tokens: `{"pad_token": "[PAD]"}`; returns how many were new.

        Also takes `additional_special_tokens` (or `extra_special_tokens`), a list.

        Raises:
            ValueError: an unknown name, or something that is no token.
        """
        lists = ("additional_special_tokens", "extra_special_tokens")
        for name, value in special_tokens_dict.items():
            if name in lists:
                special.extras(name, value)
            elif name in special.NAMES or name in self._named:
                special.text(name, value)
            else:
                expected = ", ".join((*special.NAMES, *lists))
                raise ValueError(f"add_special_tokens: unknown {name!r}; expected {expected}")
        before = len(self)
        for name, value in special_tokens_dict.items():
            if name in lists:
                tokens = special.extras(name, value)
                kept = [] if replace_additional_special_tokens else self._extra
                self._extra = [*kept, *map(special.str_of, tokens)]
                self.add_tokens(tokens, special_tokens=True)
            else:
                self.add_tokens(value, special_tokens=True)
                self._named[name] = special.str_of(value)
                self._follow_named(name)
        return len(self) - before

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text, or a pair of texts, gets."""
        return self._backend.num_special_tokens_to_add(pair)

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 for every special token among ids that already have them.

        Raises:
            ValueError: asked for ids without special tokens.
        """
        if not already_has_special_tokens or token_ids_1 is not None:
            raise ValueError(
                "get_special_tokens_mask: only for one sequence with already_has_special_tokens="
                "True; otherwise pass return_special_tokens_mask=True to the tokenizer"
            )
        ids = set(self.all_special_ids)
        return [int(index in ids) for index in decode.rows(token_ids_0)]

    @property
    def add_bos_token(self) -> bool:
        """Whether `<s>` is put before a text, where the tokenizer has this switch."""
        return self._add_bos

    @add_bos_token.setter
    def add_bos_token(self, value: bool) -> None:
        self._set_ends({"add_bos_token": value})

    @property
    def add_eos_token(self) -> bool:
        """Whether `</s>` is put after a text, where the tokenizer has this switch."""
        return self._add_eos

    @add_eos_token.setter
    def add_eos_token(self, value: bool) -> None:
        self._set_ends({"add_eos_token": value})

    def update_post_processor(self) -> None:
        """Put `<s>` and `</s>` around texts as the two switches say."""
        bos = self.bos_token if self._add_bos else None
        eos = self.eos_token if self._add_eos else None
        first = [f"{bos}:0"] * bool(bos) + ["$A:0"] + [f"{eos}:0"] * bool(eos)
        second = [f"{bos}:1"] * bool(bos) + ["$B:1"] + [f"{eos}:1"] * bool(eos)
        used: Any = [(token, self._backend.token_to_id(token)) for token in (bos, eos) if token]
        self._backend.post_processor = processors.TemplateProcessing(
            single=first, pair=first + second, special_tokens=list(dict.fromkeys(used))
        )

    def _set_ends(self, values: Mapping[str, Any]) -> None:
        """Apply explicit `add_bos_token` and `add_eos_token`.

        Raises:
            ValueError: a switch is on and its token is not set.
        """
        for name in ("bos_token", "eos_token"):
            if values.get(f"add_{name}") and getattr(self, name) is None:
                raise ValueError(f"add_{name}: the tokenizer has no {name}; set it first")
        if "add_bos_token" in values or "add_eos_token" in values:
            self._add_bos = bool(values.get("add_bos_token", self._add_bos))
            self._add_eos = bool(values.get("add_eos_token", self._add_eos))
            self.init_kwargs["add_bos_token"] = self._add_bos
            self.init_kwargs["add_eos_token"] = self._add_eos
            self.update_post_processor()

    def _follow_named(self, name: str) -> None:
        if (name == "bos_token" and self._add_bos) or (name == "eos_token" and self._add_eos):
            self.update_post_processor()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock."""
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore with a lock of its own."""
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict) -> "Vocabulary":
        """A copy that shares nothing."""
        copied = type(self).__new__(type(self))
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied
