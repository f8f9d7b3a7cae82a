"""Which of several continuations fits a text."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.pipelines import scores
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline, TextOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TextOptions):
    """Options of multiple choice.

    Attributes:
      top_k: how many choices, all of them if None.
    """

    top_k: int | None = None

    def __post_init__(self):
        super().__post_init__()
        scores.check_count("top_k", self.top_k, optional=True)


class MultipleChoice(Pipeline):
    """`{"text": ..., "choices": [...]}` -> `[{"choice", "index", "score"}]`, the best first.

    Scores are a softmax over the choices of one text. One text may also be given as
    `pipe(text, choices=[...])`.
    """

    task = serves = "multiple-choice"
    takes = Options
    expects = '{"text": ..., "choices": [...]}'

    def __call__(self, inputs: Any, choices: Sequence[str] | None = None, **options: Any) -> Any:
        """Ranks the choices of one text, of several, or of an iterable of texts."""
        if choices is not None:
            inputs = {"text": inputs, "choices": choices}
        return super().__call__(inputs, **options)

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """One row for each choice."""
        if not isinstance(item, Mapping) or set(item) != {"text", "choices"}:
            found = f"keys {', '.join(map(str, item))}" if isinstance(item, Mapping) else repr(item)
            raise ValueError(f"{where}: found {found}, expected {self.expects}")
        choices = item["choices"]
        if not isinstance(choices, list | tuple) or not choices:
            raise ValueError(f"{where}: found choices {choices!r}, expected a list of texts")
        return [
            Row(self.encode(item["text"], choice, options=options, where=f"{where}.choices[{i}]"))
            for i, choice in enumerate(choices)
        ]

    def arrays(self, rows: Sequence[Row], size: int) -> dict[str, np.ndarray]:
        """Rows [B, 1, T]: choices do not see each other, so each may be a batch of its own."""
        arrays = {name: x[:, None] for name, x in super().arrays(rows, size).items()}
        last = [[row.length - 1] for row in rows]
        last += last[-1:] * (len(arrays["input_ids"]) - len(rows))
        return arrays | {"mc_token_ids": np.array(last, np.int32)}

    def outputs(self, options: Options) -> tuple[str, ...]:
        """GPT-2 has another name for them."""
        takes = self.model.forward.task.inputs
        return ("mc_logits",) if "mc_token_ids" in takes else ("logits",)

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """Choices with their scores."""
        found = scores.softmax(np.array([next(iter(out.values())).item() for _, out in seen]))
        order = np.argsort(-found, kind="stable")[: options.top_k]
        return [
            {"choice": item["choices"][i], "index": int(i), "score": float(found[i])} for i in order
        ]

    @property
    def exact(self) -> bool:
        """Heads that look at the end or at the average of a row would see padding."""
        return getattr(self.model.config, "summary_type", None) in ("last", "mean")
