"""Whatever a caller may hand in as an image, brought to pixels [H, W, C].

Pixels are an array [H, W, C], or a PIL image in RGB or L, which saves copies before a resize.

What happens to colours follows transformers, which treats the three sources differently:

- a file is turned as its EXIF orientation says, and an alpha channel is dropped;
- a PIL image is taken as it lies (no EXIF), and transparency is laid over white;
- an array carries no mode: its channels are what they are, converted only when asked for.

Of an animation the first frame is taken. 16-bit and float modes are clipped to 0..255 by Pillow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Pixels = Image.Image | np.ndarray
CHANNELS = (1, 3, 4)
FIRST, LAST = "channels_first", "channels_last"
RUNS_PROGRAMS = frozenset({"EPS", "WMF"})


def flatten(images: Any, where: str = "images") -> Iterator[tuple[str, Any]]:
    """Yield each single image of a nested list, or of an array [B, H, W, C], with its place.

    Raises:
        ValueError: something that is no image.
    """
    if isinstance(images, list | tuple):
        for i, item in enumerate(images):
            yield from flatten(item, f"{where}[{i}]")
    elif isinstance(images, str | os.PathLike | Image.Image):
        yield where, images
    elif hasattr(images, "__array__"):
        array = np.asarray(images)
        if array.ndim == 4:
            yield from ((f"{where}[{i}]", item) for i, item in enumerate(array))
        else:
            yield where, array
    else:
        raise ValueError(
            f"{where}: found a {type(images).__name__}, expected a PIL image, an array, "
            "the path of a file, or a list of those"
        )


def array(pixels: Pixels) -> np.ndarray:
    """Return pixels as an array [H, W, C]."""
    out = np.asarray(pixels)
    return out[..., None] if out.ndim == 2 else out


def channels_of(pixels: Pixels) -> int:
    """Return the number of channels."""
    return len(pixels.getbands()) if isinstance(pixels, Image.Image) else pixels.shape[-1]


def pixels_of(
    image: Any, where: str, *, rgb: bool | None, layout: str | None, width: int
) -> Pixels:
    """Bring one image to pixels [H, W, C].

    Args:
        image: a path, a PIL image, or an array [H, W], [H, W, C] or [C, H, W].
        where: the place of the image, for messages.
        rgb: whether to convert to three channels. None converts a PIL image when the processor
            wants three channels, where transformers would refuse it.
        layout: "channels_first" or "channels_last" for an array; None looks at the shape.
        width: the number of channels that the processor wants, 0 if any will do.

    Raises:
        ValueError: a file or array that holds no image.
        FileNotFoundError: there is no such file.
    """
    if isinstance(image, str | os.PathLike):
        return opened(image, where)
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise ValueError(f"{where}: found the size {image.size}, expected at least one pixel")
        try:
            image.load()
            wanted = rgb or (rgb is None and width == 3 and image.mode != "RGB")
            image = over_white(image) if wanted else image
            return image if image.mode in ("RGB", "L") else array(image)
        except Exception as error:
            raise ValueError(
                f"{where}: the {image.mode} image cannot be read ({error}); open it again"
            ) from error
    pixels = channels_last(numeric(image, where), where, layout)
    return colours(pixels, where) if rgb else pixels


def opened(path: str | os.PathLike[str], where: str) -> Image.Image:
    """Read an image file upright and in RGB.

    Raises:
        ValueError: the file is no image, is damaged, or is larger than Pillow's limit.
        FileNotFoundError: there is no such file.
    """
    name = os.fspath(path)
    where = f"{where}: {name if len(name) < 200 else name[:80] + '...'}"
    if name.startswith(("http://", "https://", "data:")):
        raise ValueError(
            f"{where}: found a URL, expected the path of a file; download it and pass its path"
        )
    if os.path.isdir(name):
        raise ValueError(f"{where}: found a folder, expected a file; pass a list of its files")
    if not os.path.exists(name):
        raise FileNotFoundError(f"{where}: no such file; pass the path of an image file")
    with open(name, "rb") as stream:
        try:
            image = Image.open(stream)
        except UnidentifiedImageError:
            raise ValueError(
                f"{where}: not an image that Pillow can read; expected PNG, JPEG, WebP, GIF, ..."
            ) from None
        except Exception as error:
            raise ValueError(_damaged(where, error)) from error
        if image.format in RUNS_PROGRAMS:
            raise ValueError(
                f"{where}: found {image.format}, whose decoder runs another program; "
                "convert the image to PNG first"
            )
        try:
            image = ImageOps.exif_transpose(image)
            image.info.pop("transparency", None)
            return image.convert("RGB")
        except Exception as error:
            raise ValueError(_damaged(where, error)) from error


def over_white(image: Image.Image) -> Image.Image:
    """Convert a PIL image to RGB, laying what is transparent over white."""
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def numeric(image: np.ndarray, where: str) -> np.ndarray:
    """Check that an image holds finite numbers; half precision and smaller become float32.

    Raises:
        ValueError: other contents, NaN or infinity.
    """
    kind = image.dtype.kind
    if kind in "bui":
        return image
    if kind == "f" and image.dtype.itemsize >= 4:
        floats = image
    elif kind == "f" or image.dtype.name.startswith(("bfloat16", "float8")):
        floats = image.astype(np.float32)
    else:
        raise ValueError(
            f"{where}: found an image of {image.dtype}, expected integers or floats; "
            "images of unequal sizes go in a list"
        )
    if not np.isfinite(floats).all():
        count = int(np.size(floats) - np.isfinite(floats).sum())
        raise ValueError(
            f"{where}: found {count} values that are NaN or infinite, expected finite ones; "
            "clean the image first"
        )
    return floats


def channels_last(image: np.ndarray, where: str, layout: str | None) -> np.ndarray:
    """Move the channels of an image to its end: [H, W], [H, W, C] or [C, H, W] -> [H, W, C].

    Where the shape would allow both, channels are taken to come first, as in transformers.

    Raises:
        ValueError: the shape is that of no image, or `layout` is unknown.
    """
    if layout not in (None, FIRST, LAST):
        raise ValueError(f"input_data_format: found {layout!r}, expected {FIRST!r} or {LAST!r}")
    if image.ndim == 2:
        image = image[..., None]
    elif image.ndim != 3:
        raise ValueError(
            f"{where}: found the shape {image.shape}, expected [height, width, channels] "
            "or [channels, height, width]"
        )
    elif layout == FIRST or (layout is None and image.shape[0] in CHANNELS):
        image = np.moveaxis(image, 0, -1)
    elif layout is None and image.shape[-1] not in CHANNELS:
        raise ValueError(
            f"{where}: found the shape {image.shape}, expected 1, 3 or 4 channels first or last; "
            "pass input_data_format for another number"
        )
    if 0 in image.shape:
        raise ValueError(f"{where}: found the shape {image.shape}, expected at least one pixel")
    return image


def colours(image: np.ndarray, where: str) -> np.ndarray:
    """Convert an image [H, W, 1 or 3 or 4] to [H, W, 3]; alpha is laid over white.

    Raises:
        ValueError: floats with alpha that lie outside 0..1.
    """
    channels = image.shape[-1]
    if channels == 1:
        return np.repeat(image, 3, axis=-1)
    if channels != 4:
        return image
    whole = image.dtype.kind != "f"
    if not whole and (image.min() < 0 or image.max() > 1):
        raise ValueError(
            f"{where}: found floats with alpha from {image.min():g} to {image.max():g}, "
            "expected 0 to 1; scale them, or pass uint8"
        )
    white = 255 if whole else 1.0
    alpha = image[..., 3:] / white
    mixed = alpha * image[..., :3] + (1 - alpha) * white
    return (np.round(mixed) if whole else mixed).astype(image.dtype)


def _damaged(where: str, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            f"{where}: {error}; shrink the image, or raise PIL.Image.MAX_IMAGE_PIXELS "
            "if you trust where it comes from"
        )
    return f"{where}: the image is damaged ({type(error).__name__}: {error}); fetch it again"
