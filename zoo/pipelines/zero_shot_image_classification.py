"""Which of several texts fits an image."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from zoo.generate.buckets import bucket
from zoo.pipelines import rows as batches
from zoo.pipelines import scores
from zoo.pipelines.image_classification import image_row, is_image
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline, TextOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TextOptions):
    """Options of zero-shot image classification.

    Attributes:
      candidate_labels: what may be seen.
      hypothesis_template: the text about a label, with `{}` in its place.
    """

    candidate_labels: Sequence[str] = ()
    hypothesis_template: str = "This is a photo of {}."

    def __post_init__(self):
        super().__post_init__()
        labels = self.candidate_labels
        if isinstance(labels, str) or not all(isinstance(one, str) for one in labels):
            raise ValueError(f"candidate_labels: found {labels!r}, expected a list of texts")
        object.__setattr__(self, "candidate_labels", tuple(labels))
        if "{}" not in self.hypothesis_template:
            raise ValueError(
                f"hypothesis_template: found {self.hypothesis_template!r}, expected {{}} in it for "
                f"the label"
            )


class ZeroShotImageClassification(Pipeline):
    """An image and `candidate_labels=[...]` -> `[{"score", "label"}]`, the best first."""

    task = serves = "zero-shot-image-classification"
    takes = Options
    expects = "the path of an image, a PIL image or an array"

    def single(self, inputs: Any) -> bool:
        """Whether this is one image."""
        return is_image(inputs)

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """One row of pixels."""
        if not options.candidate_labels:
            raise ValueError("candidate_labels: found none, expected what may be seen; pass some")
        return [image_row(self, item, where)]

    def forward(self, rows: Sequence[Row], size: int, options: Options) -> list[dict[str, Any]]:
        """Scores of every text for each image."""
        arrays = batches.images(rows, batch=batches.places(len(rows), size))
        out: Any = self.model(**arrays, **self.texts(options))
        found = jax.device_get(out.logits_per_image).astype(np.float32)
        return [{"logits": found[i]} for i in range(len(rows))]

    def texts(self, options: Options) -> dict[str, np.ndarray]:
        """Tokens of what is said of each label, padded."""
        written = [
            Row(
                self.encode(
                    options.hypothesis_template.format(label), options=options, where=f"{label!r}"
                )
            )
            for label in options.candidate_labels
        ]
        length = bucket(max(row.length for row in written), self.room)
        return batches.tokens(written, length=length, batch=len(written), pad=self.pad_id)

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """Labels with their scores."""
        names = dict(enumerate(options.candidate_labels))
        return scores.ranked(scores.softmax(seen[0][1]["logits"]), names, None)
