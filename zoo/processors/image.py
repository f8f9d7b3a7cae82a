"""The image processor of ViT and its relatives: resize, crop, rescale, normalise.

Settings and results are those of transformers' image processors on Pillow; the README of this
package names the differences.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
from PIL import Image

from zoo.processors import files, kinds, settings
from zoo.processors.features import Features, tensors
from zoo.processors.load import array, channels_of, flatten, pixels_of
from zoo.processors.resize import center_crop, resize
from zoo.processors.settings import Keys

SECTION = "image_processor"
TRIMMED = 384  # pixels of an edge from which on crop_pct has no effect


@dataclass(frozen=True, init=False)
class ImageProcessor:
    """Turns images into `pixel_values`; its attributes are the keys of preprocessor_config.json.

    A key that is not given takes the default of `image_processor_type`, as in transformers.
    `do_convert_rgb=None` converts only PIL images, and only when three channels are wanted.

    Raises:
        ValueError: an unknown key, or a value that a key cannot take.
    """

    image_processor_type: str
    do_resize: bool
    size: dict[str, int]
    resample: Image.Resampling
    do_center_crop: bool
    crop_size: dict[str, int] | None
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: float | tuple[float, ...]
    image_std: float | tuple[float, ...]
    do_convert_rgb: bool | None
    default_to_square: bool
    crop_pct: float | None
    extra: dict[str, Any] = field(repr=False)
    model_input_names: ClassVar[tuple[str, ...]] = ("pixel_values",)

    def __init__(
        self,
        image_processor_type: str = "ViTImageProcessor",
        extra: dict[str, Any] | None = None,
        **keys: Unpack[Keys],
    ) -> None:
        kind = kinds.kind_of(image_processor_type, "image_processor_type")
        settings.refuse({k: keys[k] for k in keys.keys() - Keys.__annotations__}, "ImageProcessor")
        given = {key: value for key, value in keys.items() if value is not None}
        if kinds.KINDS[kind].given.get("crop_pct") is None:  # other classes know no such step
            settings.refuse({k: given[k] for k in given if k == "crop_pct"}, image_processor_type)
        complete = {**kinds.COMMON, **kinds.KINDS[kind].given, **given}
        for name, value in settings.resolve(complete, "ImageProcessor").items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "image_processor_type", f"{kind}ImageProcessor")
        object.__setattr__(self, "extra", dict(extra or {}))

    @classmethod
    def from_pretrained(
        cls,
        repo_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        **overrides: Unpack[Keys],
    ) -> ImageProcessor:
        """Read the settings of a Hub repository or a local folder.

        Args:
            repo_or_folder: a repository id, or a folder with a preprocessor_config.json or a
                processor_config.json that nests `image_processor`.
            revision: a branch, tag or commit.
            token: the access token of a private repository.
            cache_dir: where downloads are kept.
            local_files_only: never reach the network.
            **overrides: keys that replace those of the file.

        Raises:
            FileNotFoundError: there is no such folder, or it has no settings.
            ValueError: settings that are not supported; all strange keys are named.
        """
        path = files.folder(
            repo_or_folder,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        values = files.read(path, SECTION)
        if not values:
            raise FileNotFoundError(
                f"{path}: found neither {files.PLAIN} nor {files.NESTED} with {SECTION!r}; "
                "pass the folder or repository of an image model"
            )
        processor = cls.from_dict(values, model_type=files.model_type(path), where=str(path))
        return processor.replace(**overrides)

    @classmethod
    def from_dict(
        cls,
        values: dict[str, Any],
        *,
        model_type: str | None = None,
        where: str = files.PLAIN,
    ) -> ImageProcessor:
        """Build a processor from the contents of a preprocessor_config.json.

        Args:
            values: the contents; a class named there decides the defaults.
            model_type: decides them where no class is named; ViT where that is None too.
            where: the place of the contents, for messages.

        Raises:
            ValueError: a class, key or value that is not supported.
        """
        name = next((values[key] for key in settings.NAMES if values.get(key)), None)
        kind = kinds.kind_of(name, where) if name else kinds.kind_for_model(model_type, where)
        known, extra = settings.split(values, where)
        kept = {key: value for key, value in extra.items() if key not in settings.NAMES}
        return cls(f"{kind}ImageProcessor", kept, **known)

    def replace(self, **overrides: Unpack[Keys]) -> ImageProcessor:
        """Return this processor with other values for some keys; None leaves a key as it is.

        Raises:
            ValueError: an unknown key, or a value that a key cannot take.
        """
        given = {key: value for key, value in overrides.items() if value is not None}
        if not given:
            return self
        keys: Any = {key: getattr(self, key) for key in Keys.__annotations__} | given
        return type(self)(self.image_processor_type, self.extra, **keys)

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of a preprocessor_config.json that transformers reads alike."""
        values = {key: getattr(self, key) for key in Keys.__annotations__}
        values["resample"] = int(self.resample)
        set_values = {key: value for key, value in values.items() if value is not None}
        return {
            **self.extra,
            **set_values,
            "image_processor_type": self.image_processor_type,
        }

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write preprocessor_config.json into a folder, made if it is missing; return its path.

        Raises:
            OSError: the folder cannot be written to.
        """
        return files.write(Path(folder), SECTION, self.to_dict())

    def __call__(
        self,
        images: Any,
        *,
        return_tensors: str | None = "jax",
        input_data_format: str | None = None,
        **overrides: Unpack[Keys],
    ) -> Features:
        """Turn images into the input of a model.

        Args:
            images: a PIL image; the path of a file; an array [H, W], [H, W, C], [C, H, W] or a
                batch [B, ...] of those; or a list of such, nested as deep as you like.
            return_tensors: "jax" or "np" for one array, None for a list of numpy arrays.
            input_data_format: "channels_first" or "channels_last" for arrays; None looks at the
                shape.
            **overrides: keys that hold for this call only.

        Returns:
            `pixel_values`, float32 [B, C, H, W]; with `return_tensors=None` B arrays [C, H, W].
            Floats are taken as they are: for values that lie in 0..1 already, pass
            `do_rescale=False`.

        Raises:
            ValueError: no image, or something that is not one, or sizes that cannot be stacked.
            FileNotFoundError: there is no such file.
        """
        if return_tensors not in ("jax", "jx", "np", None):
            tensors((), return_tensors)
        plan = self.replace(**overrides)
        ready = [plan._cut(item, place, input_data_format) for place, item in flatten(images)]
        if not ready:
            raise ValueError("images: found an empty list, expected at least one image")
        if return_tensors is None:
            return Features(pixel_values=[plan._level([one])[0] for one in ready])
        shapes = {one.shape for one in ready}
        if len(shapes) > 1:
            shown = ", ".join(str(shape) for shape in sorted(shapes)[:3])
            raise ValueError(
                f"images: found {len(shapes)} shapes after resizing and cropping: {shown}; "
                "crop to one size, or pass return_tensors=None for a list"
            )
        return Features(pixel_values=tensors(plan._level(ready), return_tensors))

    def _cut(self, image: Any, where: str, layout: str | None) -> np.ndarray:
        """Bring one image to its final size: an array [H, W, C], uint8 wherever it can be."""
        mean, std = self.image_mean, self.image_std
        per_channel = mean if isinstance(mean, Sequence) else std
        wanted = len(per_channel) if isinstance(per_channel, Sequence) else 0
        pixels = pixels_of(image, where, rgb=self.do_convert_rgb, layout=layout, width=wanted)
        found = channels_of(pixels)
        if self.do_normalize and wanted not in (0, found):
            raise ValueError(
                f"{where}: found {found} channels, expected {wanted}, as image_mean and "
                "image_std have; pass do_convert_rgb=True, or set those"
            )
        if self.do_resize and self.crop_pct is not None:
            out = array(self._trimmed(pixels, where))
        else:
            out = array(
                resize(pixels, self.size, self.resample, where) if self.do_resize else pixels
            )
        if self.do_center_crop and self.crop_size:
            out = center_crop(out, self.crop_size["height"], self.crop_size["width"])
        return out

    def _trimmed(self, pixels: Any, where: str) -> Any:
        """A square: below 384 pixels the middle of a larger image, above that the whole, bent."""
        edge = self.size.get("shortest_edge")
        if edge is None:
            raise ValueError(
                f"{where}: crop_pct needs a shortest_edge, found size {self.size}; set it"
            )
        if edge >= TRIMMED:
            return resize(pixels, {"height": edge, "width": edge}, self.resample, where)
        larger = {"shortest_edge": int(edge / self.crop_pct)}  # pyright: ignore
        return center_crop(array(resize(pixels, larger, self.resample, where)), edge, edge)

    def _level(self, ready: Sequence[np.ndarray]) -> np.ndarray:
        """Rescale and normalise equal-sized images [H, W, C] -> float32 [B, C, H, W]."""
        height, width, channels = ready[0].shape
        out = np.empty((len(ready), channels, height, width), np.float32)
        factor = np.float32(self.rescale_factor if self.do_rescale else 1)
        mean, std = (
            np.reshape(value, (-1, 1, 1)).astype(np.float32)
            for value in (self.image_mean, self.image_std)
        )
        for one, room in zip(ready, out, strict=True):
            np.multiply(one.transpose(2, 0, 1), factor, out=room, casting="same_kind")
            if self.do_normalize:
                np.subtract(room, mean, out=room)
                np.divide(room, std, out=room)
        return out
