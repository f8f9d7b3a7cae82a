"""Text to ids: reading the input, padding and truncation strategies, the backend's call."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Encoding

from zoo.tokenizers.batch import BatchEncoding
from zoo.tokenizers.guard import guard

PADDING = ("longest", "max_length", "do_not_pad")
TRUNCATION = ("longest_first", "only_first", "only_second", "do_not_truncate")
UNLIMITED = int(1e20)


@dataclass(frozen=True)
class Plan:
    """One call's options, resolved; `padding` and `truncation` are None where there is none."""

    add_special_tokens: bool
    padding: str | None
    truncation: str | None
    max_length: int | None
    stride: int
    words: bool
    multiple: int | None
    padding_side: str
    truncation_side: str
    split_special_tokens: bool
    overflow: bool


def side(name: str, value: Any) -> str:
    """`value` if it is a side.

    Raises:
        ValueError: it is neither "left" nor "right".
    """
    if value not in ("left", "right"):
        raise ValueError(f"{name}: found {value!r}, expected 'left' or 'right'")
    return value


def count(name: str, value: Any, least: int = 0) -> int:
    """`value` if it is a whole number of at least `least`.

    Raises:
        ValueError: it is not.
    """
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or not least <= int(value) < 2**32:
        raise ValueError(f"{name}: found {value!r}, expected a whole number of at least {least}")
    return int(value)


def strategies(
    tokenizer: Any, padding: Any, truncation: Any, max_length: Any, multiple: Any
) -> tuple[str | None, str | None, int | None]:
    """The padding, the truncation and the length that the arguments of transformers mean.

    Raises:
        ValueError: an unknown strategy, padding without a pad token, or lengths that contradict.
    """
    limit = None if max_length is None else count("max_length", max_length)
    if limit is not None and padding is False and truncation is None:
        truncation = True
    pad = _choice("padding", padding, "longest", PADDING)
    cut = _choice("truncation", truncation, "longest_first", TRUNCATION)
    if padding is True and limit is not None and cut is None:
        warnings.warn(
            "max_length: padding=True pads to the longest row, so that max_length has no effect "
            "without truncation; pass padding='max_length' or truncation=True",
            stacklevel=4,
        )
    if limit is None and (cut or pad == "max_length"):
        known = tokenizer.model_max_length <= UNLIMITED
        limit = int(tokenizer.model_max_length) if known else None
        cut = cut if known else None
        if pad == "max_length" and not known:
            raise ValueError(
                "padding='max_length': this tokenizer knows no model_max_length; pass max_length"
            )
    if pad and tokenizer.pad_token_id is None:
        raise ValueError(
            "padding: the tokenizer has no pad token; set tokenizer.pad_token = "
            "tokenizer.eos_token or call add_special_tokens({'pad_token': '[PAD]'})"
        )
    if multiple is not None:
        count("pad_to_multiple_of", multiple, 1)
        if pad and cut and limit is not None and limit % multiple:
            raise ValueError(
                f"pad_to_multiple_of: max_length {limit} is not a multiple of {multiple}; "
                "a row truncated to it could not be padded"
            )
    return pad, cut, limit


def _choice(name: str, value: Any, default: str, known: Sequence[str]) -> str | None:
    if value is None or value is False:
        return None
    value = default if value is True else getattr(value, "value", value)
    if value not in known:
        raise ValueError(
            f"{name}: found {value!r}, expected a boolean or one of {', '.join(known)}"
        )
    return None if value == known[-1] else value


def examples(text: Any, pair: Any, words: bool) -> tuple[list, bool]:
    """Text, texts or pairs as a list of what the backend takes, and whether it was a batch.

    A single text with an empty pair is a single text, as in transformers.

    Raises:
        ValueError: something is not a string, the batch is empty, or the lengths differ.
    """
    batched = isinstance(text, (list, tuple))
    if words:
        batched = batched and len(text) > 0 and isinstance(text[0], (list, tuple))
    if not batched:
        first = _one("text", text, words)
        return [(first, _one("text_pair", pair, words)) if pair else first], False
    if not text:
        raise ValueError("text: the batch is empty, expected at least one text")
    if pair is None:
        return [_item(f"text[{i}]", item, words) for i, item in enumerate(text)], True
    if not isinstance(pair, (list, tuple)) or len(pair) != len(text):
        size = len(pair) if isinstance(pair, (list, tuple)) else f"a {type(pair).__name__}"
        raise ValueError(
            f"text_pair: found {size}, expected a list as long as text, that is {len(text)}"
        )
    firsts = [_one(f"text[{i}]", item, words) for i, item in enumerate(text)]
    seconds = [_one(f"text_pair[{i}]", item, words) for i, item in enumerate(pair)]
    return list(zip(firsts, seconds, strict=True)), True


def _item(where: str, item: Any, words: bool) -> Any:
    """One row of a batch without text_pair: a text, or a pair of texts."""
    if isinstance(item, (list, tuple)):
        nested = len(item) == 2 and all(isinstance(part, (list, tuple)) for part in item)
        if nested or (not words and len(item) == 2):
            return _one(f"{where}[0]", item[0], words), _one(f"{where}[1]", item[1], words)
    return _one(where, item, words)


def _one(where: str, item: Any, words: bool) -> Any:
    if not words:
        return _string(where, item)
    if not isinstance(item, (list, tuple)):
        raise ValueError(
            f"{where}: found a {type(item).__name__}, expected a list of words, because "
            "is_split_into_words=True"
        )
    return [_string(f"{where}[{i}]", word) for i, word in enumerate(item)]


def _string(where: str, item: Any) -> str:
    if not isinstance(item, str):
        raise ValueError(
            f"{where}: found a {type(item).__name__}, expected a string; pass a string, a list of "
            "strings or a list of pairs of strings"
        )
    try:
        item.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: character {error.start} is the lone surrogate U+{ord(item[error.start]):04X}"
            ", which is no text; decode the source with errors='replace'"
        ) from None
    return str(item)


def encodings(tokenizer: Any, rows: list, plan: Plan) -> list[Encoding]:
    """Rows -> encodings, truncated and padded.

    Raises:
        ValueError: the rows cannot be truncated as asked.
    """
    backend = tokenizer.backend_tokenizer
    with tokenizer._lock, guard("text"):
        before = backend.truncation, backend.padding, backend.encode_special_tokens
        try:
            backend.encode_special_tokens = plan.split_special_tokens
            backend.no_padding()
            backend.no_truncation()
            if plan.truncation:
                _check_room(backend, rows, plan)
                backend.enable_truncation(
                    plan.max_length,
                    stride=plan.stride,
                    strategy=plan.truncation,
                    direction=plan.truncation_side,
                )
            if plan.padding:
                backend.enable_padding(
                    length=plan.max_length if plan.padding == "max_length" else None,
                    direction=plan.padding_side,
                    pad_id=tokenizer.pad_token_id,
                    pad_token=tokenizer.pad_token,
                    pad_type_id=tokenizer.pad_token_type_id,
                    pad_to_multiple_of=plan.multiple,
                )
            return backend.encode_batch(
                rows, is_pretokenized=plan.words, add_special_tokens=plan.add_special_tokens
            )
        finally:
            backend.encode_special_tokens = before[2]
            backend.enable_truncation(**before[0]) if before[0] else backend.no_truncation()
            backend.enable_padding(**before[1]) if before[1] else backend.no_padding()


def _check_room(backend: Any, rows: list, plan: Plan) -> None:
    """Raise ValueError where the backend would panic, fail, or silently not truncate."""
    assert plan.max_length is not None
    for i, row in enumerate(rows):
        pair = isinstance(row, tuple)
        special = backend.num_special_tokens_to_add(pair) if plan.add_special_tokens else 0
        room = plan.max_length - special
        least = plan.stride + 1 if plan.stride or plan.overflow else 0
        if room < least:
            raise ValueError(
                f"max_length: {plan.max_length} leaves {room} tokens beside {special} special "
                f"tokens, expected at least {least} (stride is "
                f"{plan.stride}); raise max_length or lower stride"
            )
        if not pair and plan.truncation == "only_second":
            if _length(backend, row, plan) > room:
                raise ValueError(
                    f"truncation='only_second': text[{i}] has no pair; pass text_pair or "
                    "truncation=True"
                )
        if pair and (plan.stride or plan.overflow or plan.truncation != "longest_first"):
            _check_pair(backend, i, row, room, plan)


def _check_pair(backend: Any, i: int, row: tuple, room: int, plan: Plan) -> None:
    """The same for a pair; tokenizes only what it must to be sure."""
    if plan.truncation == "longest_first":
        if room // 2 > plan.stride:
            return
        first, second = (_length(backend, part, plan) for part in row)
        short = min(first, second)
        parts = (short, room - short) if 2 * short <= room else (room // 2, room - room // 2)
        left = [n for n, had in zip(parts, sorted((first, second)), strict=True) if n < had]
    else:
        kept, cut = row if plan.truncation == "only_second" else row[::-1]
        left = [room - _length(backend, kept, plan)]
        if left[0] > plan.stride or _length(backend, cut, plan) <= left[0]:
            return
    if left and min(left) <= plan.stride:
        raise ValueError(
            f"truncation={plan.truncation!r}: row {i} with max_length {plan.max_length} keeps "
            f"{max(min(left), 0)} tokens of the truncated text, expected more than the stride of "
            f"{plan.stride}; raise max_length or choose another truncation"
        )


def _length(backend: Any, text: Any, plan: Plan) -> int:
    return len(backend.encode(text, is_pretokenized=plan.words, add_special_tokens=False).ids)


def collect(
    found: list[Encoding], names: Sequence[str], overflow: bool, batched: bool
) -> BatchEncoding:
    """Encodings -> the dict of transformers; overflowing parts become rows of their own."""
    rows, origin = [], []
    for i, encoding in enumerate(found):
        parts = [encoding, *encoding.overflowing] if overflow else [encoding]
        rows += parts
        origin += [i] * len(parts)
    data: dict[str, Any] = {name: [_FIELDS[name](row) for row in rows] for name in names}
    if overflow:
        data["overflow_to_sample_mapping"] = origin
    if not batched:
        data = {k: v[0] if isinstance(v[0], list) else v for k, v in data.items()}
    return BatchEncoding(data, rows)


_FIELDS = {
    "input_ids": lambda row: row.ids,
    "token_type_ids": lambda row: row.type_ids,
    "attention_mask": lambda row: row.attention_mask,
    "special_tokens_mask": lambda row: row.special_tokens_mask,
    "offset_mapping": lambda row: row.offsets,
    "length": lambda row: len(row.ids),
}
