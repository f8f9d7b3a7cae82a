"""BatchEncoding: what a tokenizer returns, ids and masks that know where they came from."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tokenizers import Encoding


class CharSpan(NamedTuple):
    """Characters `start` to `end` (exclusive) of the text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens `start` to `end` (exclusive) of the sequence."""

    start: int
    end: int


class BatchEncoding(dict):
    """A dict of model inputs with their values as attributes: `model(**tokenizer(texts))`.

    `encoding[i]` with an integer is the `tokenizers.Encoding` of row i. The methods that map
    between tokens, words and characters take `(row, index)`, or `(index)` for row 0. In JAX a
    BatchEncoding is a pytree of its values.
    """

    def __init__(
        self, data: Mapping[str, Any] | None = None, encodings: Sequence[Encoding] | None = None
    ):
        """Hold `data`; `encodings` has one entry per row, or is None where unknown."""
        super().__init__(data or {})
        object.__setattr__(self, "encodings", list(encodings) if encodings is not None else None)

    encodings: list[Encoding] | None

    def __getitem__(self, item: str | int | slice) -> Any:
        """The values of a key, the encoding of a row, or all values of a slice of rows."""
        if isinstance(item, slice):
            return {key: value[item] for key, value in self.items()}
        if isinstance(item, int):
            return self._rows()[item]
        return super().__getitem__(item)

    def __getattr__(self, name: str) -> Any:
        """`encoding.input_ids` is `encoding["input_ids"]`."""
        if name in self:
            return super().__getitem__(name)
        raise AttributeError(f"BatchEncoding: no {name!r}; it holds {', '.join(self) or 'nothing'}")

    def __reduce__(self):
        """Pickle the values and the encodings."""
        return BatchEncoding, (dict(self), self.encodings)

    @property
    def is_fast(self) -> bool:
        """Whether the mappings to words and characters are known."""
        return self.encodings is not None

    @property
    def n_sequences(self) -> int | None:
        """How many texts a row holds: 1, 2 for a pair, None where unknown."""
        return self.encodings[0].n_sequences if self.encodings else None

    def convert_to_tensors(self, tensor_type: str | None = None) -> "BatchEncoding":
        """Turn the lists into arrays: "jax" or "np".

        Raises:
            ValueError: another type, or rows of different lengths.
        """
        if tensor_type is not None:
            self.update(arrays(self, tensor_type))
        return self

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row."""
        return self._rows()[batch_index].tokens

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token 0 for the first text, 1 for the second, None for special tokens."""
        return self._rows()[batch_index].sequence_ids

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token the index of its word, None for special tokens."""
        return self._rows()[batch_index].word_ids

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None):
        """Which text a token comes from (0 or 1), None for special tokens."""
        row, token = self._token(batch_or_token_index, token_index)
        return row.token_to_sequence(token)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None):
        """The index of a token's word, None for special tokens."""
        row, token = self._token(batch_or_token_index, token_index)
        return row.token_to_word(token)

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None):
        """The CharSpan of a token, None for special tokens."""
        row, token = self._token(batch_or_token_index, token_index)
        return _span(CharSpan, row.token_to_chars(token))

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The TokenSpan of a word, None where no token covers it."""
        row, word = self._at(batch_or_word_index, word_index)
        return _span(TokenSpan, row.word_to_tokens(word, sequence_index))

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The CharSpan of a word."""
        row, word = self._at(batch_or_word_index, word_index)
        return _span(CharSpan, row.word_to_chars(word, sequence_index))

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The index of the token that covers a character, None where there is none."""
        row, char = self._at(batch_or_char_index, char_index)
        return row.char_to_token(char, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The index of the word that covers a character, None where there is none."""
        row, char = self._at(batch_or_char_index, char_index)
        return row.char_to_word(char, sequence_index)

    def _rows(self) -> list[Encoding]:
        if self.encodings is None:
            raise ValueError(
                "BatchEncoding: tokens, words and characters are known only for what a tokenizer "
                "returned, not for what pad() or JAX rebuilt; ask before that"
            )
        return self.encodings

    def _at(self, first: int, second: int | None) -> tuple[Encoding, int]:
        row, index = (0, first) if second is None else (first, second)
        return self._rows()[row], index

    def _token(self, first: int, second: int | None) -> tuple[Encoding, int]:
        row, index = self._at(first, second)
        return row, index + len(row.ids) if index < 0 else index


def arrays(values: Mapping[str, Any], tensor_type: str) -> dict[str, Any]:
    """Lists of ids [B, T] -> arrays, int32 for "jax", int64 for "np".

    Raises:
        ValueError: another `tensor_type`, or rows of different lengths.
    """
    kinds = {"jax": np.int32, "np": np.int64}
    if tensor_type not in kinds:
        raise ValueError(
            f"return_tensors: {tensor_type!r} is not supported, expected 'jax', 'np' or None"
        )
    return {
        key: _array(key, value, tensor_type, kinds[tensor_type]) for key, value in values.items()
    }


def _array(key: str, value: Any, tensor_type: str, dtype: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], list):
        lengths = sorted({len(row) for row in value})
        if len(lengths) > 1:
            raise ValueError(
                f"return_tensors: the rows of {key!r} have lengths {lengths[0]} to {lengths[-1]}, "
                "expected one length; pass padding=True, truncation=True or both"
            )
    try:
        array = np.asarray(value, dtype if isinstance(value, (list, int)) else None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"return_tensors: {key!r} does not make an array ({error})") from error
    return jax.numpy.asarray(array) if tensor_type == "jax" else array


def _span(kind, found):
    return None if found is None else kind(*found)


def _flatten(encoding: BatchEncoding):
    keys = tuple(sorted(encoding))
    return [(jax.tree_util.DictKey(key), encoding[key]) for key in keys], keys


jax.tree_util.register_pytree_with_keys(
    BatchEncoding,
    _flatten,
    lambda keys, values: BatchEncoding(dict(zip(keys, values, strict=True))),
)
