"""The image processor of DETR: images of any size, padded to the largest, and their objects.

Settings and results are those of transformers on Pillow.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from zoo.processors import files, segments
from zoo.processors.features import Features, tensors
from zoo.processors.image import SECTION, ImageProcessor
from zoo.processors.kinds import IMAGENET_MEAN, IMAGENET_STD
from zoo.processors.load import flatten
from zoo.processors.segments import Sizes

NAMES = ("DetrImageProcessor", "DetrImageProcessorFast", "DetrFeatureExtractor")
OWN = ("do_pad", "pad_size", "pad_and_return_pixel_mask", "max_size")
UNUSED = ("do_convert_annotations", "format")  # they speak of annotations for training
LONGEST = 1333
GIVEN: Mapping[str, Any] = {
    "size": {"shortest_edge": 800, "longest_edge": LONGEST},
    "image_mean": IMAGENET_MEAN,
    "image_std": IMAGENET_STD,
    "default_to_square": False,
}


@dataclass(frozen=True)
class DetectionProcessor:
    """Turns images into `pixel_values` [B, C, H, W] and `pixel_mask` [B, H, W], and outputs back.

    Attributes:
        level: resizing, rescaling and normalising.
        do_pad: pad images to the largest of them, and say where they are.
        pad_size: pad to this height and width instead.
    """

    level: ImageProcessor
    do_pad: bool = True
    pad_size: tuple[int, int] | None = None
    model_input_names: ClassVar[tuple[str, ...]] = ("pixel_values", "pixel_mask")

    @classmethod
    def from_pretrained(
        cls, repo_or_folder: str | os.PathLike[str], **options: Any
    ) -> DetectionProcessor:
        """Read the settings of a Hub repository or a local folder; see `ImageProcessor`.

        Raises:
            FileNotFoundError: there is no such folder, or it has no settings.
            ValueError: settings that are not supported.
        """
        places = ("revision", "token", "cache_dir", "local_files_only")
        where = {key: options.pop(key) for key in places if key in options}
        path = files.folder(repo_or_folder, **where)
        values = files.read(path, SECTION)
        if not values:
            raise FileNotFoundError(
                f"{path}: found neither {files.PLAIN} nor {files.NESTED} with {SECTION!r}; "
                "pass the folder or repository of a detector"
            )
        return cls.from_dict({**values, **options}, where=str(path))

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, where: str = files.PLAIN
    ) -> DetectionProcessor:
        """Build a processor from the contents of a preprocessor_config.json.

        Raises:
            ValueError: a class, key or value that is not supported.
        """
        name = values.get("image_processor_type") or values.get("feature_extractor_type")
        if name not in (None, *NAMES):
            raise ValueError(
                f"{where}: found the processor class {name!r}, expected {NAMES[0]}; open it with "
                f"zoo.processors.Processor"
            )
        kept = {k: v for k, v in values.items() if k not in (*OWN, *UNUSED) and v is not None}
        if isinstance(size := kept.get("size"), int):
            longest = values.get("max_size") or LONGEST
            kept["size"] = {"shortest_edge": size, "longest_edge": longest}
        kept |= {"image_processor_type": "ViTImageProcessor", "feature_extractor_type": None}
        pad = values.get("do_pad", values.get("pad_and_return_pixel_mask"))
        if pad not in (None, True, False):
            raise ValueError(f"{where}.do_pad: found {pad!r}, expected true or false")
        sides = values.get("pad_size")
        if sides is not None and not (
            isinstance(sides, Mapping) and {*sides} == {"height", "width"}
        ):
            raise ValueError(f"{where}.pad_size: found {sides!r}, expected a height and a width")
        return cls(
            ImageProcessor.from_dict({**GIVEN, **kept}, where=where),
            True if pad is None else pad,
            None if sides is None else (sides["height"], sides["width"]),
        )

    def replace(self, **overrides: Any) -> DetectionProcessor:
        """Return this processor with other values for some keys of its file."""
        return type(self).from_dict(self.to_dict() | overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of a preprocessor_config.json that transformers reads alike."""
        values = self.level.to_dict()
        for key in ("do_center_crop", "default_to_square", "feature_extractor_type"):
            values.pop(key, None)
        sides = self.pad_size and {"height": self.pad_size[0], "width": self.pad_size[1]}
        own = {"do_pad": self.do_pad, "format": "coco_detection"} | (
            {"pad_size": sides} if sides else {}
        )
        return {**values, **own, "image_processor_type": NAMES[0]}

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write preprocessor_config.json into a folder, made if it is missing; return its path."""
        return files.write(Path(folder), SECTION, self.to_dict())

    def __call__(
        self,
        images: Any,
        *,
        return_tensors: str | None = "jax",
        input_data_format: str | None = None,
        **overrides: Any,
    ) -> Features:
        """Turn images into the input of a detector.

        Args:
            images: as `ImageProcessor` takes them.
            return_tensors: "jax" or "np" for one array, None for a list of numpy arrays.
            input_data_format: "channels_first" or "channels_last" for arrays.
            **overrides: keys that hold for this call only.

        Raises:
            ValueError: no image, or something that is not one, or sizes that cannot be stacked.
            FileNotFoundError: there is no such file.
        """
        plan = self.replace(**overrides) if overrides else self
        ready = [
            plan.level(x, return_tensors=None, input_data_format=input_data_format)["pixel_values"]
            for _, x in flatten(images)
        ]
        pixels = [one for some in ready for one in some]
        if not pixels:
            raise ValueError("images: found an empty list, expected at least one image")
        masks = None
        if plan.do_pad:
            pixels, masks = plan._padded(pixels)
        elif return_tensors and len({x.shape for x in pixels}) > 1:
            raise ValueError(
                f"images: found {len({x.shape for x in pixels})} shapes after resizing; pass "
                "do_pad=True, or return_tensors=None for a list"
            )
        found: dict[str, Any] = {"pixel_values": pixels}
        if masks is not None:
            found["pixel_mask"] = masks
        if return_tensors is None:
            return Features(**found)
        return Features(**{k: tensors(np.stack(x), return_tensors) for k, x in found.items()})

    def _padded(self, pixels: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Zeros below and to the right, and 1 where there are pixels."""
        height, width = self.pad_size or (
            max(x.shape[1] for x in pixels),
            max(x.shape[2] for x in pixels),
        )
        out, masks = [], []
        for x in pixels:
            below, right = height - x.shape[1], width - x.shape[2]
            if below < 0 or right < 0:
                raise ValueError(
                    f"pad_size: found {height} x {width}, expected at least the "
                    f"{x.shape[1]} x {x.shape[2]} of an image; make it larger"
                )
            out.append(np.pad(x, ((0, 0), (0, below), (0, right))))
            masks.append(np.pad(np.ones(x.shape[1:], np.int32), ((0, below), (0, right))))
        return out, masks

    def post_process_object_detection(
        self, outputs: Any, threshold: float = 0.5, target_sizes: Sizes = None
    ) -> list[dict[str, np.ndarray]]:
        """Objects above `threshold`: `scores`, `labels` and `boxes` (left, top, right, bottom).

        Boxes are in pixels of `target_sizes` [(height, width)], or shares of the image without.
        """
        return segments.boxes(outputs, threshold, target_sizes)

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: Sizes = None
    ) -> list[np.ndarray]:
        """The class of every pixel of each image."""
        return segments.classes(outputs, target_sizes)

    def post_process_instance_segmentation(
        self,
        outputs: Any,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        target_sizes: Sizes = None,
        return_coco_annotation: bool = False,
    ) -> list[dict[str, Any]]:
        """A map of segments for each image, or their runs, and what each segment is."""
        found = segments.segments(
            outputs,
            target_sizes,
            threshold=threshold,
            mask_threshold=mask_threshold,
            overlap=overlap_mask_area_threshold,
        )
        if not return_coco_annotation:
            return found
        return [
            {**x, "segmentation": segments.runs(x["segmentation"])} if x["segments_info"] else x
            for x in found
        ]

    def post_process_panoptic_segmentation(
        self,
        outputs: Any,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        label_ids_to_fuse: Collection[int] = (),
        target_sizes: Sizes = None,
    ) -> list[dict[str, Any]]:
        """The same, where all segments of a class in `label_ids_to_fuse` are one."""
        return segments.segments(
            outputs,
            target_sizes,
            threshold=threshold,
            mask_threshold=mask_threshold,
            overlap=overlap_mask_area_threshold,
            fused=label_ids_to_fuse,
        )
