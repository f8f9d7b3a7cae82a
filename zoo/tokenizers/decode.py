"""Ids back to text."""

from typing import Any

from tokenizers import models

from zoo.tokenizers.guard import guard

_SPACES = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def rows(ids: Any) -> list:
    """Ids as plain lists: an id, a list, an array or a list of either.

    Raises:
        ValueError: something in it is no id.
    """
    if isinstance(ids, dict):
        ids = ids["input_ids"]
    if hasattr(ids, "tolist"):
        ids = ids.tolist()
    if not isinstance(ids, (list, tuple)):
        return [token_id(ids)]
    nested = [
        item.tolist() if hasattr(item, "tolist") else item
        for item in ids
    ]  # fmt: skip
    return [
        [token_id(index) for index in item] if isinstance(item, (list, tuple)) else token_id(item)
        for item in nested
    ]


def token_id(index: Any) -> int:
    """An id as an int.

    Raises:
        ValueError: it is not a whole number from 0 to 2**32 - 1.
    """
    if hasattr(index, "__index__") and not isinstance(index, bool) and 0 <= int(index) < 2**32:
        return int(index)
    raise ValueError(
        f"decode: found {index!r}, expected a token id; replace masked labels such as -100 first"
    )


def text(tokenizer: Any, ids: list[int], skip_special: bool, clean: bool | None) -> str:
    """One row of ids -> text."""
    backend = tokenizer.backend_tokenizer
    with guard("decode"):
        found = backend.decode(ids, skip_special_tokens=skip_special)
    if clean is None:
        bpe = isinstance(backend.model, models.BPE)
        clean = tokenizer.clean_up_tokenization_spaces and not bpe
    return clean_up(found) if clean else found


def clean_up(found: str) -> str:
    """Drop the spaces before punctuation and English contractions."""
    for before, after in _SPACES:
        found = found.replace(before, after)
    return found
