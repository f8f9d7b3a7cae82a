"""Things in an image, each with a mask of its pixels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from zoo.pipelines.object_detection import ObjectDetection, check_share, outputs, sides
from zoo.pipelines.rows import Row

SUBTASKS = ("panoptic", "instance", "semantic")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of image segmentation.

    Attributes:
      subtask: one of `SUBTASKS`; panoptic if None.
      threshold: the least score of a segment.
      mask_threshold: the least probability of a pixel of a mask.
      overlap_mask_area_threshold: the least share of its mask that a segment keeps.
    """

    subtask: str | None = None
    threshold: float = 0.9
    mask_threshold: float = 0.5
    overlap_mask_area_threshold: float = 0.5

    def __post_init__(self):
        if self.subtask not in (None, *SUBTASKS):
            raise ValueError(
                f"subtask: found {self.subtask!r}, expected one of {', '.join(SUBTASKS)}"
            )
        for name in ("threshold", "mask_threshold", "overlap_mask_area_threshold"):
            check_share(name, getattr(self, name))


class ImageSegmentation(ObjectDetection):
    """An image -> `[{"score", "label", "mask"}]`, masks being PIL images of black and white."""

    task = serves = "image-segmentation"
    takes = Options
    fields = ("logits", "pred_boxes", "pred_masks")

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """The segments, or for the semantic subtask the classes, which have no score."""
        found, sizes = outputs(seen), [sides(item)]
        processor: Any = self.image_processor
        if options.subtask == "semantic":
            (labels,) = processor.post_process_semantic_segmentation(found, target_sizes=sizes)
            return [
                {"score": None, "label": self.model.id2label[int(label)],
                 "mask": mask(labels == label)}
                for label in np.unique(labels)
            ]  # fmt: skip
        shares = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
        shares.pop("subtask")
        process = processor.post_process_panoptic_segmentation
        if options.subtask == "instance":
            process = processor.post_process_instance_segmentation
        (made,) = process(found, target_sizes=sizes, **shares)
        return [
            {"score": x["score"], "label": self.model.id2label[x["label_id"]],
             "mask": mask(made["segmentation"] == x["id"])}
            for x in made["segments_info"]
        ]  # fmt: skip


def mask(inside: np.ndarray) -> Image.Image:
    """Where something is, as white on black."""
    return Image.fromarray(inside.astype(np.uint8) * 255)
