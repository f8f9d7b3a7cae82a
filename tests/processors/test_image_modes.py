"""Images of every mode, size and file, by every class of processors: what transformers gives."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.image_utils import load_image

from zoo.processors import ImageProcessor

CLASSES = ["Bit", "CLIP", "DeiT", "Siglip", "ViT"]
MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
WIDE = ["I", "F", "I;16", "I;16L", "I;16B"]  # Pillow clips these to 0..255
SIDES = st.integers(1, 80) | st.sampled_from([1, 1, 2, 1000])
FILES = [
    *[("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[("tiff", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I;16", "LAB")],
    *[("jpg", mode) for mode in ("L", "RGB", "CMYK")],
    *[("webp", mode) for mode in ("RGB", "RGBA")],
]  # fmt: skip


def reference(kind, **keys):
    module = f"transformers.models.{kind.lower()}.image_processing_pil_{kind.lower()}"
    return getattr(importlib.import_module(module), f"{kind}ImageProcessorPil")(**keys)


def picture(mode, shape, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 4), np.uint8)
    if mode in WIDE:
        deep = pixels[..., 0].astype(np.int32) * (pixels[..., 1] > 128) * 9
        image = Image.fromarray(deep.astype(np.float32) if mode == "F" else deep)
        return image if image.mode == mode else image.convert("I;16").convert(mode)
    image = Image.fromarray(pixels, "RGBA")
    if mode in ("RGBA", "LA", "PA"):
        return image.convert(mode)
    return image.convert("RGB").convert(mode)


def same(kind, image, **keys):
    ours = ImageProcessor(f"{kind}ImageProcessor", **keys)(image, return_tensors="np")
    theirs = reference(kind, **keys)(image, return_tensors="np")["pixel_values"]
    assert ours.pixel_values.shape == theirs.shape
    np.testing.assert_allclose(ours.pixel_values, theirs, rtol=0, atol=1e-4)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(CLASSES),
    mode=st.sampled_from(MODES + WIDE),
    shape=st.tuples(SIDES, SIDES),
    seed=st.integers(0, 9),
)
def test_any_image_by_any_class(kind, mode, shape, seed):
    size = {"shortest_edge": 12} if kind in ("CLIP", "Bit") else {"height": 12, "width": 12}
    keys = {"size": size, "crop_size": {"height": 10, "width": 10}, "do_convert_rgb": True}
    same(kind, picture(mode, shape, seed), **keys)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("shape", [(60, 10_000), (10_000, 60), (1, 1)], ids=str)
def test_very_wide_tall_and_small_by_published_settings(kind, shape):
    same(kind, picture("RGB", shape))


@pytest.mark.parametrize("orientation", [None, 3, 6])
@pytest.mark.parametrize(("suffix", "mode"), FILES)
def test_files_as_transformers_opens_them(tmp_path, suffix, mode, orientation):
    """Opened as a stream: by its name Pillow maps a plain TIFF and turns only its size."""
    path = tmp_path / f"image.{suffix}"
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    picture(mode, (17, 23)).save(path, exif=exif)
    ours = ImageProcessor(size=16)(path, return_tensors="np").pixel_values
    with path.open("rb") as stream:
        upright = load_image(Image.open(stream))
    theirs = reference("ViT", size=16)(upright, return_tensors="np")
    np.testing.assert_allclose(ours, theirs["pixel_values"], rtol=0, atol=1e-4)


def test_the_first_page_of_many(tmp_path):
    pages = [picture("CMYK", (9, 11), seed) for seed in range(3)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "page.tiff")
    many, one = (
        ImageProcessor(size=8)(tmp_path / name).pixel_values for name in ("pages.tiff", "page.tiff")
    )
    np.testing.assert_array_equal(many, one)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (3, 1, 1), (4, 9, 9), (9, 9, 1), (3, 5, 10_000)], ids=str
)
def test_arrays_of_any_dtype_and_shape(dtype, shape):
    """Where channels can be told: three, or converted to three."""
    pixels = np.random.default_rng(0).integers(0, 256, shape)
    pixels = pixels / 255 if dtype.startswith("float") else pixels
    same("ViT", pixels.astype(dtype), size=8, do_convert_rgb=True)
