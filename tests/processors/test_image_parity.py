"""Every setting of the image processor against transformers' Pillow implementation."""

import importlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo.processors import ImageProcessor

BOUND = 1e-4
SHAPES = [(1, 1), (7, 5), (37, 61), (64, 48), (224, 224), (300, 201)]
SIZES = [
    48,
    {"height": 31, "width": 57},
    {"shortest_edge": 33},
    {"shortest_edge": 40, "longest_edge": 55},
    {"max_height": 50, "max_width": 35},
]


def reference(kind="ViT", **keys):
    module = f"transformers.models.{kind.lower()}.image_processing_pil_{kind.lower()}"
    return getattr(importlib.import_module(module), f"{kind}ImageProcessorPil")(**keys)


def noise(shape, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (*shape, channels), np.uint8)


def same(ours, theirs):
    theirs = np.asarray(theirs)
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=BOUND)


def both(images, *, call=None, kind="ViT", **keys):
    """Run the two processors with equal settings."""
    ours = ImageProcessor(f"{kind}ImageProcessor", **keys)
    call = call or {}
    theirs = reference(kind, **keys)(images, return_tensors="np", **call)
    return ours(images, return_tensors="np", **call).pixel_values, theirs["pixel_values"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("resample", list(Image.Resampling))
def test_resampling(resample, shape):
    image = Image.fromarray(noise(shape))
    for size in SIZES:
        same(*both(image, resample=resample, size=size))


@pytest.mark.parametrize("crop", [1, 20, 33, 64, {"height": 70, "width": 21}], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_center_crop(shape, crop):
    image = Image.fromarray(noise(shape))
    same(*both(image, do_resize=False, do_center_crop=True, crop_size=crop))
    same(*both(image, size={"shortest_edge": 40}, do_center_crop=True, crop_size=crop))


@pytest.mark.parametrize("steps", list(itertools.product([False, True], repeat=4)), ids=str)
def test_steps_on_and_off(steps):
    do_resize, do_center_crop, do_rescale, do_normalize = steps
    keys = {
        "do_resize": do_resize,
        "do_center_crop": do_center_crop,
        "do_rescale": do_rescale,
        "do_normalize": do_normalize,
    }
    image = Image.fromarray(noise((50, 41)))
    ours, theirs = both(image, size=32, crop_size=30, **keys)
    same(ours, np.asarray(theirs, np.float32))


@pytest.mark.parametrize(
    ("mean", "std", "factor"),
    [
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 1 / 255),
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], 1 / 127.5),
        (0.3, 0.6, 0.1),
        ([0.5, 0.2, 0.9], 0.25, 1 / 255),
        ([-1.0, 0.0, 2.0], [0.05, -0.5, 9.0], 0.003),
    ],
)
def test_rescale_and_normalise(mean, std, factor):
    image = Image.fromarray(noise((40, 40)))
    same(*both(image, size=32, image_mean=mean, image_std=std, rescale_factor=factor))


@pytest.mark.parametrize("kind", ["ViT", "DeiT", "CLIP", "Bit", "Siglip"])
def test_defaults_of_every_kind(kind):
    images = [Image.fromarray(noise((90, 130))), Image.fromarray(noise((301, 77)))]
    same(*both(images, kind=kind))
    ours, theirs = ImageProcessor(f"{kind}ImageProcessor").to_dict(), reference(kind).to_dict()
    assert {key: ours[key] for key in theirs} == theirs
    same(*both(images[:1], kind=kind, size=50))


@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.one_of(
        st.integers(1, 70),
        st.fixed_dictionaries({"height": st.integers(1, 70), "width": st.integers(1, 70)}),
        st.fixed_dictionaries({"shortest_edge": st.integers(1, 40)}),
        st.fixed_dictionaries(
            {"shortest_edge": st.integers(1, 40), "longest_edge": st.integers(1, 60)}
        ),
        st.fixed_dictionaries({"max_height": st.integers(1, 60), "max_width": st.integers(1, 60)}),
    ),
    crop=st.none() | st.tuples(st.integers(1, 70), st.integers(1, 70)).map(list),
    resample=st.integers(0, 5),
    seed=st.integers(0, 3),
)
@settings(max_examples=120, deadline=None)
def test_any_size(shape, size, crop, resample, seed):
    keys = {"size": size, "resample": resample, "do_center_crop": crop is not None}
    image = Image.fromarray(noise(shape, seed))
    try:
        theirs = reference(**keys, crop_size=crop)(image, return_tensors="np")
    except (ValueError, ZeroDivisionError):
        with pytest.raises(ValueError, match="gives"):
            ImageProcessor(**keys, crop_size=crop)(image)
        return
    ours = ImageProcessor(**keys, crop_size=crop)(image, return_tensors="np")
    same(ours.pixel_values, theirs["pixel_values"])


@pytest.mark.parametrize("layout", [None, "channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "uint16", "float64", "bool"])
@pytest.mark.parametrize("do_resize", [False, True])
def test_arrays_of_whole_numbers(dtype, layout, do_resize):
    image = noise((30, 44)).astype(dtype)
    image = np.moveaxis(image, -1, 0) if layout == "channels_first" else image
    keys = {"do_resize": do_resize, "size": 24}
    same(*both(image, call={"input_data_format": layout}, **keys))
    same(*both(np.stack([image, image]), **keys))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("do_resize", [False, True])
@pytest.mark.parametrize("do_rescale", [False, True])
def test_arrays_of_fractions(dtype, do_resize, do_rescale):
    image = np.random.default_rng(3).random((30, 44, 3)).astype(dtype)
    ours, theirs = both(image, do_resize=do_resize, do_rescale=do_rescale, size=24)
    # transformers normalises half precision in half precision when nothing widened it before
    half = dtype == "float16" and not do_resize and not do_rescale
    np.testing.assert_allclose(ours, np.float32(theirs), rtol=0, atol=2e-3 if half else BOUND)


def test_ambiguous_channels_come_first():
    image = noise((3, 9))
    same(*both(image, size=8))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("first", [False, True])
def test_array_colours(channels, dtype, first):
    image = noise((20, 26), channels=channels).astype(dtype)
    image = image / np.float32(255) if dtype == "float32" else image
    image = np.moveaxis(image, -1, 0) if first else image
    same(*both(image, size=18, do_convert_rgb=True))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_other_numbers_of_channels(channels):
    image = noise((20, 26), channels=channels)
    call = {"input_data_format": "channels_last"}
    spread = [0.5] * channels
    keys = {"image_mean": spread, "image_std": spread, "size": 18}
    for do_resize in (True, False):
        same(*both(image, call=call, do_resize=do_resize, **keys))


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]


@pytest.mark.parametrize("mode", [*MODES, "I", "F", "I;16"])
def test_pil_colours(mode):
    image = Image.fromarray(noise((20, 26), channels=4), "RGBA" if mode != "CMYK" else "CMYK")
    if mode in ("RGBa", "PA"):
        image = image.convert("RGBA")
    elif mode != "CMYK" and mode not in ("LA", "RGBA"):
        image = image.convert("RGB")
    image = image.convert("L").convert(mode) if mode in ("I;16", "I", "F") else image.convert(mode)
    assert image.mode == mode
    same(*both(image, size=18, do_convert_rgb=True))


@pytest.mark.parametrize("mode", ["1", "L", "P", "I", "F", "I;16", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("do_resize", [False, True])
def test_pil_channels_as_they_lie(mode, do_resize):
    image = Image.fromarray(noise((20, 26)))
    if mode in ("I;16", "I", "F", "LA"):
        image = image.convert("L")
    image = image.convert(mode)
    keys = {"size": 18, "do_resize": do_resize, "image_mean": 0.4, "image_std": 0.3}
    ours = ImageProcessor(**keys, do_convert_rgb=False)(image, return_tensors="np")
    same(ours.pixel_values, reference(**keys)(image, return_tensors="np")["pixel_values"])


def test_nested_lists_and_batches():
    images = [Image.fromarray(noise((20, 26), seed)) for seed in range(4)]
    flat, theirs = both([[images[0], images[1]], [images[2]], [], [images[3]]], size=16)
    same(flat, theirs)
    for i, image in enumerate(images):
        same(flat[i : i + 1], both(image, size=16)[0])
