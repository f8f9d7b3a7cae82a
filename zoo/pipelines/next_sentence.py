"""Whether one text follows another."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.pipelines import scores
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline, TextOptions
from zoo.pipelines.text_classification import pair_of

LABELS = ("IsNext", "NotNext")


class NextSentence(Pipeline):
    """`{"text": ..., "text_pair": ...}` -> `{"label": "IsNext" or "NotNext", "score"}`."""

    task = serves = "next-sentence"
    expects = '{"text": ..., "text_pair": ...}'

    def rows(self, item: Any, options: TextOptions, where: str) -> list[Row]:
        """One row of tokens."""
        text, pair = pair_of(item, where)
        if pair is None:
            raise ValueError(f"{where}: found no text_pair, expected a string")
        return [Row(self.encode(text, pair, options=options, where=where))]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: TextOptions) -> Any:
        """The likelier of the two labels."""
        found = scores.softmax(seen[0][1]["logits"])
        best = int(np.argmax(found))
        return {"label": LABELS[best], "score": float(found[best])}
