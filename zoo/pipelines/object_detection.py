"""Things in an image, each in a box."""

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from zoo.pipelines.image_classification import image_row, is_image
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline
from zoo.processors.load import flatten, pixels_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of object detection.

    Attributes:
      threshold: the least score of an object.
    """

    threshold: float = 0.5

    def __post_init__(self):
        check_share("threshold", self.threshold)


def check_share(name: str, value: Any) -> None:
    """Refuses what is no number between 0 and 1.

    Raises:
      ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name}: found {value!r}, expected a number from 0 to 1")


class ObjectDetection(Pipeline):
    """An image -> `[{"score", "label", "box": {"xmin", "ymin", "xmax", "ymax"}}]`, in pixels."""

    task = serves = "object-detection"
    takes = Options
    expects = "the path of an image, a PIL image or an array"
    fields = ("logits", "pred_boxes")

    @property
    def exact(self) -> bool:
        """Images keep their own size, so that each runs by itself."""
        return True

    def single(self, inputs: Any) -> bool:
        """Whether this is one image."""
        return is_image(inputs)

    def rows(self, item: Any, options: Any, where: str) -> list[Row]:
        """One row of pixels."""
        return [image_row(self, item, where)]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """The objects, as the model orders them."""
        (found,) = self.image_processor.post_process_object_detection(  # pyright: ignore
            outputs(seen), options.threshold, [sides(item)]
        )
        names = ("xmin", "ymin", "xmax", "ymax")
        return [
            {
                "score": float(score),
                "label": self.model.id2label[int(label)],
                "box": dict(zip(names, map(int, box), strict=True)),
            }
            for score, label, box in zip(*(found[k] for k in ("scores", "labels", "boxes")),
                                         strict=True)
        ]  # fmt: skip


def outputs(seen: Sequence[tuple[Row, dict]]) -> Any:
    """The model's output for one image, as a batch of one."""
    return SimpleNamespace(**{name: np.asarray(x)[None] for name, x in seen[0][1].items()})


def sides(item: Any) -> tuple[int, int]:
    """Height and width of an image."""
    ((where, image),) = flatten(item)
    pixels = pixels_of(image, where, rgb=None, layout=None, width=3)
    array = isinstance(pixels, np.ndarray)
    height, width = pixels.shape[:2] if array else pixels.size[::-1]
    return int(height), int(width)
