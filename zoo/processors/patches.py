"""The image processor of Qwen2-VL: images of any size as packed patches, and a grid for each.

Wang et al. 2024, arXiv:2409.12191. Settings and results are those of transformers on Pillow.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from zoo.processors import files
from zoo.processors.features import Features, tensors
from zoo.processors.image import SECTION, ImageProcessor
from zoo.processors.load import array, flatten, pixels_of
from zoo.processors.resize import resize

NAMES = ("Qwen2VLImageProcessor", "Qwen2_5_VLImageProcessor")
OWN = ("patch_size", "temporal_patch_size", "merge_size")
UNUSED = ("do_center_crop", "crop_size", "do_sample_frames", "fps")
LONGEST = 200  # times the shorter side


@dataclass(frozen=True)
class PatchProcessor:
    """Turns images into `pixel_values` [R, C * time * side * side] and `image_grid_thw` [N, 3].

    Attributes:
        level: what comes after resizing: rescaling, normalising, colours.
        least: pixels that a resized image has at least.
        most: and at most.
        patch_size: side of a patch.
        temporal_patch_size: frames in a patch; a still image is repeated.
        merge_size: patches down and across that become one token.
    """

    level: ImageProcessor
    least: int = 56 * 56
    most: int = 28 * 28 * 1280
    patch_size: int = 14
    temporal_patch_size: int = 2
    merge_size: int = 2
    model_input_names: ClassVar[tuple[str, ...]] = ("pixel_values", "image_grid_thw")

    @classmethod
    def from_pretrained(
        cls, repo_or_folder: str | os.PathLike[str], **where: Any
    ) -> PatchProcessor:
        """Read the settings of a Hub repository or a local folder; see `ImageProcessor`.

        Raises:
            FileNotFoundError: there is no such folder, or it has no settings.
            ValueError: settings that are not supported.
        """
        path = files.folder(repo_or_folder, **where)
        values = files.read(path, SECTION)
        if not values:
            raise FileNotFoundError(
                f"{path}: found neither {files.PLAIN} nor {files.NESTED} with {SECTION!r}; "
                "pass the folder or repository of an image model"
            )
        return cls.from_dict(values, where=str(path))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = files.PLAIN) -> PatchProcessor:
        """Build a processor from the contents of a preprocessor_config.json.

        Raises:
            ValueError: a key or value that is not supported.
        """
        rest = {k: v for k, v in values.items() if k not in (*OWN, *UNUSED)}
        size = rest.pop("size", None) or {}
        bounds = {
            "least": rest.pop("min_pixels", None) or size.get("shortest_edge") or cls.least,
            "most": rest.pop("max_pixels", None) or size.get("longest_edge") or cls.most,
        }
        numbers = bounds | {k: values[k] for k in OWN if values.get(k) is not None}
        for key, value in numbers.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{where}.{key}: found {value!r}, expected a whole number above 0")
        rest |= {"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}
        return cls(ImageProcessor.from_dict(rest, where=where), **numbers)

    def replace(self, **overrides: Any) -> PatchProcessor:
        """Return this processor with other values for some keys of its file."""
        return type(self).from_dict(self.to_dict() | overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of a preprocessor_config.json that transformers reads alike."""
        values = self.level.to_dict()
        for key in (*UNUSED, "default_to_square"):
            values.pop(key, None)
        return {
            **values,
            "size": {"shortest_edge": self.least, "longest_edge": self.most},
            **{key: getattr(self, key) for key in OWN},
            "image_processor_type": NAMES[0],
        }

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write preprocessor_config.json into a folder, made if it is missing; return its path."""
        return files.write(Path(folder), SECTION, self.to_dict())

    def __call__(
        self,
        images: Any,
        *,
        return_tensors: str | None = "jax",
        input_data_format: str | None = None,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> Features:
        """Turn images into patches, those of all images in one array.

        Args:
            images: as `ImageProcessor` takes them.
            return_tensors: "jax" or "np".
            input_data_format: "channels_first" or "channels_last" for arrays.
            min_pixels: pixels of a resized image at least, for this call.
            max_pixels: and at most.

        Raises:
            ValueError: no image, something that is not one, or one that is too narrow.
            FileNotFoundError: there is no such file.
        """
        plan = replace(self, least=min_pixels or self.least, most=max_pixels or self.most)
        found = [plan._patches(x, where, input_data_format) for where, x in flatten(images)]
        if not found:
            raise ValueError("images: found an empty list, expected at least one image")
        rows = np.concatenate([patches for patches, _ in found])
        grids = np.array([grid for _, grid in found], np.int32)
        kind = return_tensors or "np"
        return Features(pixel_values=tensors(rows, kind), image_grid_thw=tensors(grids, kind))

    def _patches(
        self, image: Any, where: str, layout: str | None
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Patches [R, values] of one image and its grid."""
        level = self.level
        pixels = pixels_of(image, where, rgb=level.do_convert_rgb, layout=layout, width=3)
        if level.do_resize:
            sides = pixels.size[::-1] if isinstance(pixels, Image.Image) else pixels.shape[:2]
            height, width = self.target(*sides, where=where)
            pixels = resize(pixels, {"height": height, "width": width}, level.resample, where)
        (x,) = level._level([array(pixels)])
        channels, *sides = x.shape
        side, merge = self.patch_size, self.merge_size
        if any(s % (side * merge) for s in sides):
            raise ValueError(
                f"{where}: found {sides[0]} x {sides[1]} pixels, expected multiples of "
                f"{side * merge}; let the processor resize it"
            )
        down, across = (s // side for s in sides)
        x = x.reshape(channels, down // merge, merge, side, across // merge, merge, side)
        x = x.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
        x = np.repeat(x, self.temporal_patch_size, axis=5)
        return x.reshape(down * across, -1), (1, down, across)

    def target(self, height: int, width: int, *, where: str = "images") -> tuple[int, int]:
        """The size that an image is resized to: multiples of merged patches, within the bounds.

        Raises:
            ValueError: one side is more than 200 times the other.
        """
        if max(height, width) > LONGEST * min(height, width):
            raise ValueError(
                f"{where}: found {height} x {width} pixels, expected a shape of at most "
                f"{LONGEST} to 1; crop the image first"
            )
        step = self.patch_size * self.merge_size
        sides = height, width
        near = [round(s / step) * step for s in sides]
        if math.prod(near) > self.most:
            scale = math.sqrt(height * width / self.most)
            near = [max(step, math.floor(s / scale / step) * step) for s in sides]
        elif math.prod(near) < self.least:
            scale = math.sqrt(self.least / (height * width))
            near = [math.ceil(s * scale / step) * step for s in sides]
        return near[0], near[1]
