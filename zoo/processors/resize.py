"""Resizing and cropping one image [H, W, C], pixel for pixel as transformers does with Pillow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from zoo.processors.load import Pixels, array

LARGEST = 2**28


def target(size: Mapping[str, int], height: int, width: int) -> tuple[int, int]:
    """Return the height and width that an image of `height` x `width` is resized to.

    `shortest_edge` and `max_height`/`max_width` keep the proportions and round down.
    """
    if "height" in size:
        return size["height"], size["width"]
    if "max_height" in size:
        scale = min(size["max_height"] / height, size["max_width"] / width)
        return int(height * scale), int(width * scale)
    short, long = min(height, width), max(height, width)
    edge, rest = size["shortest_edge"], None
    if "longest_edge" not in size:
        rest = int(edge * long / short)
    else:
        limit, exact = size["longest_edge"], float(edge)
        if long / short * edge > limit:
            exact = limit * short / long
            edge = round(exact)
        rest = long if short == edge else int(exact * long / short)
    return (edge, rest) if height <= width else (rest, edge)


def resize(
    pixels: Pixels, size: Mapping[str, int], resample: Image.Resampling, where: str
) -> Pixels:
    """Resize [H, W, C] -> [h, w, C] in bytes.

    Floats in 0..1 are cut to 256 levels for it and come back as floats in 0..1; every other
    array must hold whole numbers in 0..255 and comes back as uint8.

    Raises:
        ValueError: values outside those ranges, a number of channels that Pillow cannot hold, or a
            result without pixels or with more than 2**28.
    """
    is_image = isinstance(pixels, Image.Image)
    rows, columns = pixels.size[::-1] if is_image else pixels.shape[:2]
    height, width = target(size, rows, columns)
    if not 0 < height * width <= LARGEST:
        raise ValueError(
            f"{where}: resizing {rows} x {columns} pixels to {dict(size)} gives "
            f"{height} x {width}; crop the image to a less extreme shape first"
        )
    if is_image:
        return pixels.resize((width, height), resample)
    if pixels.shape[-1] > 4:
        raise ValueError(
            f"{where}: found {pixels.shape[-1]} channels, expected 1 to 4 to resize; "
            "resize it yourself and pass do_resize=False"
        )
    levels, scaled = as_bytes(pixels, where)
    flat = levels[..., 0] if levels.shape[-1] == 1 else levels
    out = array(Image.fromarray(flat).resize((width, height), resample))
    return out * np.float32(1 / 255) if scaled else out


def as_bytes(image: np.ndarray, where: str) -> tuple[np.ndarray, bool]:
    """Return an image as uint8, and whether it was multiplied by 255 for that.

    Raises:
        ValueError: the values are neither in 0..1 nor whole numbers in 0..255.
    """
    if image.dtype == np.uint8:
        return image, False
    low, high = image.min(), image.max()
    whole = image.dtype.kind != "f" or bool(np.isclose(image, np.trunc(image)).all())
    if whole and low >= 0 and high <= 255:
        return image.astype(np.uint8), False
    if not whole and low >= 0 and high <= 1:
        return (image * 255).astype(np.float32).astype(np.uint8), True
    raise ValueError(
        f"{where}: found {image.dtype} values from {low:g} to {high:g}, expected floats in 0..1 or "
        "whole numbers in 0..255 to resize; scale them, or resize first and pass do_resize=False"
    )


def center_crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cut the middle out of [H, W, C] -> [height, width, C]; what is missing becomes zero."""
    (top, rows, y), (left, columns, x) = (
        _middle(image.shape[0], height),
        _middle(image.shape[1], width),
    )
    part = image[top : top + rows, left : left + columns]
    if part.shape[:2] == (height, width):
        return part
    out = np.zeros((height, width, image.shape[-1]), image.dtype)
    out[y : y + rows, x : x + columns] = part
    return out


def _middle(length: int, wanted: int) -> tuple[int, int, int]:
    """Return where to cut, how much of it, and where to put that."""
    if length >= wanted:
        return (length - wanted) // 2, wanted, 0
    return 0, length, (wanted - length + 1) // 2
