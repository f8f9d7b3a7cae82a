"""Padding rows that are already ids: `tokenizer.pad`, also as a collate function."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.tokenizers.batch import BatchEncoding
from zoo.tokenizers.encode import side, strategies


def pad(
    tokenizer: Any,
    encoded: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    padding: bool | str,
    max_length: int | None,
    multiple: int | None,
    padding_side: str | None,
    return_attention_mask: bool | None,
) -> BatchEncoding:
    """Encodings of any length -> rows of one length.

    Raises:
        ValueError: no `input_ids`, keys of different sizes, or no pad token.
    """
    values, single = _rows(encoded)
    kind, _, limit = strategies(tokenizer, padding, False, max_length, multiple)
    if return_attention_mask is None:
        return_attention_mask = "attention_mask" in tokenizer.model_input_names
    if return_attention_mask and "attention_mask" not in values:
        values["attention_mask"] = [[1] * len(row) for row in values["input_ids"]]
    if kind:
        longest = max((len(row) for row in values["input_ids"]), default=0)
        length = limit if kind == "max_length" and limit is not None else longest
        length = -(-length // multiple) * multiple if multiple else length
        left = side("padding_side", padding_side or tokenizer.padding_side) == "left"
        fills = {
            "input_ids": tokenizer.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": tokenizer.pad_token_type_id,
            "special_tokens_mask": 1,
        }
        for key, fill in fills.items():
            if key in values:
                values[key] = [_fill(row, fill, length, left) for row in values[key]]
    return BatchEncoding({k: v[0] for k, v in values.items()} if single else values)


def _fill(row: list, fill: int, length: int, left: bool) -> list:
    extra = [fill] * (length - len(row))
    return extra + row if left else row + extra


def _rows(encoded: Any) -> tuple[dict[str, list], bool]:
    """Key -> list of rows, and whether a single row was given."""
    if isinstance(encoded, (list, tuple)) and encoded and isinstance(encoded[0], Mapping):
        keys = set(encoded[0])
        for i, row in enumerate(encoded):
            if not isinstance(row, Mapping) or set(row) != keys:
                raise ValueError(f"pad: encoding {i} does not have the keys of the first, {keys}")
        encoded = {key: [row[key] for row in encoded] for key in encoded[0]}
    if not isinstance(encoded, Mapping) or "input_ids" not in encoded:
        raise ValueError(
            "pad: found no 'input_ids', expected encodings as the tokenizer gives them"
        )
    values = {key: _plain(value) for key, value in encoded.items()}
    ids = values["input_ids"]
    single = not isinstance(ids, list) or not ids or not isinstance(ids[0], list)
    for row in [ids] if single else ids:
        if not isinstance(row, list) or not all(isinstance(index, int) for index in row):
            raise ValueError(f"pad: input_ids: {row!r} is no list of token ids")
    if single:
        return {key: [value] for key, value in values.items()}, True
    for key, value in values.items():
        if len(value) != len(ids):
            raise ValueError(f"pad: {key!r} has {len(value)} rows, expected {len(ids)}")
    return values, False


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
