"""A label for every token, or for every entity."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.pipelines import entities, scores
from zoo.pipelines.entities import Token
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline, TextOptions

STRATEGIES = ("none", "simple", "first", "average", "max")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TextOptions):
    """Options of token classification.

    Attributes:
      aggregation_strategy: "none" for tokens, "simple" for runs of tokens with one tag, and
        "first", "average" or "max" to let every word have one tag first.
      ignore_labels: labels to leave out.
      stride: read long texts in windows that share so many tokens.
    """

    aggregation_strategy: str = "none"
    ignore_labels: Sequence[str] = ("O",)
    stride: int | None = None

    def __post_init__(self):
        super().__post_init__()
        how = str(self.aggregation_strategy).lower()
        if how not in STRATEGIES:
            raise ValueError(
                f"aggregation_strategy: found {self.aggregation_strategy!r}, expected one of "
                f"{', '.join(STRATEGIES)}"
            )
        if isinstance(self.ignore_labels, str):
            raise ValueError("ignore_labels: found a string, expected a list of labels")
        scores.check_count("stride", self.stride, optional=True, least=0)
        if self.stride is not None and how == "none":
            raise ValueError(
                "stride: needs an aggregation_strategy, because windows share tokens; pass "
                "aggregation_strategy='simple'"
            )
        object.__setattr__(self, "aggregation_strategy", how)
        object.__setattr__(self, "ignore_labels", tuple(self.ignore_labels))


class TokenClassification(Pipeline):
    """`"a text"` -> `[{"entity", "score", "index", "word", "start", "end"}]`.

    With an aggregation, `[{"entity_group", "score", "word", "start", "end"}]`.
    """

    task = serves = "token-classification"
    takes = Options

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """One row, or a row for each window."""
        extra: dict[str, Any] = {
            "return_offsets_mapping": True,
            "return_special_tokens_mask": True,
        }
        if options.stride is None:
            row = self.encode(item, options=options, where=where, **extra)
            return [Row(row, (row["offset_mapping"], row["special_tokens_mask"]))]
        if not isinstance(item, str):
            raise ValueError(f"{where}: found a {type(item).__name__}, expected a string")
        found = self.text(
            item,
            truncation=True,
            max_length=options.max_length or self.longest,
            stride=options.stride,
            return_overflowing_tokens=True,
            **extra,
        )
        self.check_length(len(found["input_ids"][0]), where)
        return [
            Row(
                {k: found[k][i] for k in ("input_ids", "token_type_ids") if k in found},
                (found["offset_mapping"][i], found["special_tokens_mask"][i]),
            )
            for i in range(len(found["input_ids"]))
        ]

    def cut(self, name: str, x: np.ndarray, row: Row) -> np.ndarray:
        """Logits of tokens that are there."""
        return x[: row.length]

    def answer(self, item: str, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """Entities in the order of the text."""
        how, labels = options.aggregation_strategy, self.model.id2label
        found = []
        for row, out in seen:
            tokens = list(self._tokens(item, row, scores.softmax(out["logits"])))
            if how not in ("none", "simple"):
                tokens = entities.words(tokens, how, self.text.convert_tokens_to_string)
            tagged = [entities.tagged(token, labels) for token in tokens]
            if how == "none":
                for token, one in zip(tokens, tagged, strict=True):
                    if one.tag not in options.ignore_labels:
                        found.append(entities.plain(one, token.index))
            else:
                groups = entities.groups(tagged, self.text.convert_tokens_to_string)
                found += [g for g in groups if g["entity_group"] not in options.ignore_labels]
        return entities.merged(found) if len(seen) > 1 else found

    def _tokens(self, text: str, row: Row, likely: np.ndarray) -> Any:
        """The tokens of a row that stand for text."""
        offsets, special = row.info
        tokenizer = self.text
        marked = getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
        for i, token in enumerate(row.inputs["input_ids"]):
            if special[i]:
                continue
            start, end = offsets[i]
            word = tokenizer.convert_ids_to_tokens(token)
            if token == tokenizer.unk_token_id:
                word, inside = text[start:end], False
            elif marked:
                inside = len(word) != end - start
            else:
                inside = start > 0 and " " not in text[start - 1 : start + 1]
            yield Token(word, likely[i], start, end, i, inside)
