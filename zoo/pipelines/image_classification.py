"""Labels of an image."""

import dataclasses
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from zoo.pipelines import scores
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of image classification.

    Attributes:
      top_k: how many labels, all of them if None.
      function_to_apply: "softmax", "sigmoid" or "none"; by the config's problem if None.
    """

    top_k: int | None = 5
    function_to_apply: str | None = None

    def __post_init__(self):
        scores.check_count("top_k", self.top_k, optional=True)
        function = scores.check_function(self.function_to_apply)
        object.__setattr__(self, "function_to_apply", function)


class ImageClassification(Pipeline):
    """A path, a PIL image or an array [H, W, C] -> `[{"label", "score"}]`, the best first."""

    task = serves = "image-classification"
    takes = Options
    expects = "the path of an image, a PIL image or an array"

    def single(self, inputs: Any) -> bool:
        """Whether this is one image."""
        return is_image(inputs)

    def rows(self, item: Any, options: Any, where: str) -> list[Row]:
        """One row of pixels."""
        return [image_row(self, item, where)]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """Labels with their scores."""
        logits = seen[0][1]["logits"]
        how = scores.function_for(self.config, len(logits), options.function_to_apply)
        return scores.ranked(scores.apply(how, logits), self.model.id2label, options.top_k)


def is_image(x: Any) -> bool:
    """Whether something is one image rather than several."""
    if isinstance(x, str | PathLike | Image.Image):
        return True
    return hasattr(x, "shape") and len(x.shape) <= 3


def image_row(pipe: Pipeline, item: Any, where: str) -> Row:
    """Pixels [C, H, W] of an image.

    Raises:
      ValueError: no image, or no image processor.
      FileNotFoundError: there is no such file.
    """
    if pipe.image_processor is None:
        raise ValueError(
            f"{pipe.task}: the model came without an image processor; pass image_processor=, an "
            f"ImageProcessor or the folder or repository of one"
        )
    if not is_image(item):
        raise ValueError(f"{where}: found a {type(item).__name__}, expected {pipe.expects}")
    pixels = pipe.image_processor(item, return_tensors="np")["pixel_values"]
    return Row({"pixel_values": np.asarray(pixels[0])})
