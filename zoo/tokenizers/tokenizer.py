"""Tokenizer: text to ids and back, the methods of transformers' fast tokenizers."""

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from zoo.tokenizers import chat, decode, load, pad, save, special
from zoo.tokenizers.batch import BatchEncoding
from zoo.tokenizers.encode import Plan, collect, count, encodings, examples, side, strategies
from zoo.tokenizers.families import family
from zoo.tokenizers.files import Settings, read_settings, templates
from zoo.tokenizers.special import Named, NamedId
from zoo.tokenizers.vocabulary import Vocabulary


class Tokenizer(Vocabulary):
    """A tokenizer over the `tokenizers` library, used like transformers' PreTrainedTokenizerFast.

    Example:
        `tokenizer = Tokenizer.from_pretrained(repo_or_folder)`, then
        `model(**tokenizer(["one text", "another"], padding=True, return_tensors="jax"))`.
    """

    bos_token, bos_token_id = Named(), NamedId()
    eos_token, eos_token_id = Named(), NamedId()
    unk_token, unk_token_id = Named(), NamedId()
    sep_token, sep_token_id = Named(), NamedId()
    pad_token, pad_token_id = Named(), NamedId()
    cls_token, cls_token_id = Named(), NamedId()
    mask_token, mask_token_id = Named(), NamedId()

    is_fast = True

    def __init__(
        self,
        tokenizer_object: Backend,
        settings: Settings | None = None,
        *,
        extra: Sequence[str | AddedToken] = (),
        name_or_path: str = "",
    ):
        """Wrap a backend; `settings` as read from a folder, `extra` special tokens beside them."""
        settings = settings or Settings()
        config, recipe = settings.config, family(settings.tokenizer_class)
        self._backend = tokenizer_object
        self._lock = threading.Lock()
        self.name_or_path = name_or_path
        self.init_kwargs = dict(settings.stored)
        self.tokenizer_class = settings.tokenizer_class
        baked = tokenizer_object.padding or {}
        self._named = dict[str, str | None](load.default_tokens(recipe, settings))
        if baked.get("pad_token"):
            self._named.setdefault("pad_token", baked["pad_token"])
        self._extra = [special.str_of(token) for token in (*settings.extra, *extra)]
        self.pad_token_type_id = baked.get("pad_type_id", 0)
        limit = config.get("model_max_length", config.get("max_len"))
        self.model_max_length = int(1e30) if limit is None else limit
        cut = (tokenizer_object.truncation or {}).get("direction", "right")
        placed = baked.get("direction", recipe.padding_side)
        self.padding_side = side("padding_side", config.get("padding_side", placed))
        self.truncation_side = side("truncation_side", config.get("truncation_side", cut))
        self.model_input_names = list(config.get("model_input_names") or recipe.inputs)
        self.clean_up_tokenization_spaces = bool(config.get("clean_up_tokenization_spaces", False))
        self.split_special_tokens = bool(config.get("split_special_tokens", False))
        self.chat_templates = dict(settings.templates)
        self._add_bos = self._add_eos = False
        named = {**self._named, **settings.named}
        every = (*settings.extra, *extra)
        self._backend.add_tokens(special.missing(self._backend, settings.declared, named, every))

    @classmethod
    def from_pretrained(
        cls,
        repo_or_folder: str | os.PathLike,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> "Tokenizer":
        """Load from a local folder or from the Hub.

        `overrides` replace keys of `tokenizer_config.json`, such as `padding_side="left"`,
        `do_lower_case=False` or `pad_token="<pad>"`.

        Raises:
            FileNotFoundError: no tokenizer there.
            TypeError: an override that no tokenizer has.
            ValueError: a broken file, or a tokenizer that cannot be built.
        """
        chosen = load.overrides(overrides)
        folder = load.locate(
            repo_or_folder,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        settings = read_settings(folder, chosen)
        if "legacy" in chosen and (folder / "tokenizer.json").is_file():
            raise ValueError(
                f"{folder}: legacy={chosen['legacy']!r} has no effect on tokenizer.json, which "
                "says how it splits; remove that file to build from the SentencePiece model"
            )
        backend, extra = load.backend(folder, settings)
        kind, name = cls, str(repo_or_folder)
        if family(settings.tokenizer_class).build == "ctc":
            from zoo.tokenizers.ctc import CTCTokenizer

            kind, name = CTCTokenizer, str(folder)
        found = kind(backend, settings, extra=extra, name_or_path=name)
        found._set_ends({**load.ends(folder, backend, settings), **chosen})
        return found

    def save_pretrained(self, folder: str | os.PathLike) -> tuple[str, ...]:
        """Write a folder that `from_pretrained` and transformers load; returns the paths."""
        return save.save(self, folder)

    def __call__(
        self,
        text: Any,
        text_pair: Any = None,
        *,
        text_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
    ) -> BatchEncoding:
        """A text, a list of texts or a list of pairs -> `input_ids` and the model's other inputs.

        With `return_tensors="jax"` int32 arrays [B, T]. `truncation=None` truncates only when
        `max_length` is given without padding. `text_target` becomes `labels`.

        Raises:
            ValueError: input that is not text, an empty batch, an unknown option, padding without
                a pad token, or a `max_length` that special tokens and stride do not fit.
        """
        kind, cut, limit = strategies(self, padding, truncation, max_length, pad_to_multiple_of)
        split = self.split_special_tokens if split_special_tokens is None else split_special_tokens
        plan = Plan(
            add_special_tokens,
            kind,
            cut,
            limit,
            count("stride", stride),
            is_split_into_words,
            pad_to_multiple_of,
            side("padding_side", padding_side or self.padding_side),
            side("truncation_side", truncation_side or self.truncation_side),
            split,
            return_overflowing_tokens,
        )
        asked = {
            "token_type_ids": self._wants("token_type_ids", return_token_type_ids),
            "attention_mask": self._wants("attention_mask", return_attention_mask),
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }
        names = ["input_ids", *(name for name, yes in asked.items() if yes)]

        def run(one: Any, other: Any) -> BatchEncoding:
            rows, batched = examples(one, other, is_split_into_words)
            found = encodings(self, rows, plan)
            keep = batched or return_tensors is not None or return_overflowing_tokens
            out = collect(found, names, return_overflowing_tokens, keep)
            return out.convert_to_tensors(return_tensors)

        if text is None and text_target is not None:
            return run(text_target, None)
        out = run(text, text_pair)
        if text_target is not None:
            out["labels"] = run(text_target, None)["input_ids"]
        return out

    def encode(
        self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **options: Any
    ) -> Any:
        """The `input_ids` of `__call__`, with the same options."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **options)["input_ids"]

    def tokenize(
        self,
        text: Any,
        pair: Any = None,
        add_special_tokens: bool = False,
        **options: Any,
    ) -> list[str]:
        """The tokens of a text."""
        return self(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Encodings of any length -> rows of one length.

        Raises:
            ValueError: no `input_ids`, keys of different sizes, or no pad token.
        """
        padded = pad.pad(
            self,
            encoded_inputs,
            padding,
            max_length,
            pad_to_multiple_of,
            padding_side,
            return_attention_mask,
        )
        return padded.convert_to_tensors(return_tensors)

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> Any:
        """Ids -> text; a list of rows of ids -> a list of texts.

        `clean_up_tokenization_spaces` drops the spaces before punctuation; the stored setting
        applies to WordPiece and unigram only, because it damages the text of BPE tokenizers.

        Raises:
            ValueError: something that is no id, such as -100 of masked labels.
        """
        rows = decode.rows(token_ids)
        if rows and isinstance(rows[0], list):
            return [
                decode.text(self, row, skip_special_tokens, clean_up_tokenization_spaces)
                for row in rows
            ]
        return decode.text(self, rows, skip_special_tokens, clean_up_tokenization_spaces)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """Rows of ids -> a list of texts."""
        found = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [found] if isinstance(found, str) else found

    @property
    def chat_template(self) -> str | dict[str, str] | None:
        """The chat template, or all of them by name where there is more than a default."""
        alone = set(self.chat_templates) == {"default"}
        return self.chat_templates["default"] if alone else (self.chat_templates or None)

    @chat_template.setter
    def chat_template(self, value: Any) -> None:
        self.chat_templates = templates(value)

    def get_chat_template(
        self, chat_template: str | None = None, tools: Sequence[Any] | None = None
    ) -> str:
        """The template to use: by name, as given, `tool_use` for tools, else the default.

        Raises:
            ValueError: there is none.
        """
        return chat.choose(self.chat_templates, chat_template, tools)

    def apply_chat_template(
        self,
        conversation: Any,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Any:
        """Messages with `role` and `content` -> the model's inputs, or text with `tokenize=False`.

        A list of conversations gives a batch. `variables` are handed to the template.

        Raises:
            ValueError: no template, or one that fails or refuses the conversation.
        """
        options = {
            "padding": padding,
            "truncation": truncation,
            "max_length": max_length,
            "return_tensors": return_tensors,
            **(tokenizer_kwargs or {}),
        }
        return chat.apply(
            self,
            conversation,
            {"tools": tools, "documents": documents, **variables},
            self.get_chat_template(chat_template, tools),
            add_generation_prompt,
            continue_final_message,
            options if tokenize else None,
            return_dict,
            return_assistant_tokens_mask,
        )

    def _wants(self, name: str, asked: bool | None) -> bool:
        return name in self.model_input_names if asked is None else asked
