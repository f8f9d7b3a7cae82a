"""What users hand in: files of every kind, arrays of other libraries, and what is refused."""

import os
import struct
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.image_utils import load_image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from zoo.processors import ImageProcessor

SMALL = ImageProcessor(size=16)


def noise(shape, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (*shape, channels), np.uint8)


def picture(mode, shape=(20, 26)):
    image = Image.fromarray(noise(shape, channels=4), "RGBA")
    if mode in ("I;16", "I", "F"):
        return Image.fromarray(np.arange(520).reshape(20, 26).astype(np.int32) * 90).convert(mode)
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def same(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=1e-4)


def same_file(path):
    ours = SMALL(path, return_tensors="np").pixel_values
    assert ours.shape == (1, 3, 16, 16)
    with Image.open(path) as image:
        theirs = ViTImageProcessorPil(size=16)(load_image(image), return_tensors="np")
    same(ours, theirs["pixel_values"])


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *[(mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[(mode, "tiff") for mode in ("CMYK", "I", "F", "I;16", "RGBA")],
        *[(mode, "jpg") for mode in ("L", "RGB", "CMYK")],
        ("P", "gif"),
        ("RGB", "bmp"),
        ("RGBA", "webp"),
    ],
)
def test_file_formats(tmp_path, mode, suffix):
    path = tmp_path / f"image.{suffix}"
    picture(mode).save(path)
    same_file(path)


@pytest.mark.parametrize("transparency", [7, bytes(range(0, 250, 2))], ids=["index", "table"])
def test_palette_with_transparency(tmp_path, transparency):
    path = tmp_path / "image.png"
    picture("P").save(path, transparency=transparency)
    ours = SMALL(path).pixel_values
    with Image.open(path) as image:
        opaque = Image.fromarray(np.array(image.convert("RGBA"))[..., :3])
    same(ours, SMALL(opaque).pixel_values)
    with Image.open(path) as image:
        theirs = ViTImageProcessorPil(size=16, do_convert_rgb=True)(image, return_tensors="np")
        same(SMALL(image).pixel_values, theirs["pixel_values"])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_files_and_not_images(tmp_path, orientation):
    path = tmp_path / "image.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture("RGB").save(path, exif=exif)
    same_file(path)
    with Image.open(path) as image:
        theirs = ViTImageProcessorPil(size=16)(image, return_tensors="np")["pixel_values"]
        same(SMALL(image).pixel_values, theirs)


def test_first_frame_of_an_animation(tmp_path):
    path = tmp_path / "image.gif"
    frames = [picture("L"), picture("L").rotate(180)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    same_file(path)
    same(SMALL(path).pixel_values, SMALL(frames[0]).pixel_values)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 10_000)], ids=str)
def test_extreme_shapes(shape):
    image = Image.fromarray(noise(shape))
    theirs = ViTImageProcessorPil(size=16)(image, return_tensors="np")["pixel_values"]
    same(SMALL(image).pixel_values, theirs)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_images_of_other_modes_become_rgb(mode):
    """Transformers refuses these unless told to convert; then it gives the same."""
    image = picture(mode)
    with pytest.raises(ValueError, match=r"elements|dimensions|convert|outside|mode"):
        ViTImageProcessorPil(size=16)(image, return_tensors="np")
    theirs = ViTImageProcessorPil(size=16, do_convert_rgb=True)(image, return_tensors="np")
    same(SMALL(image).pixel_values, theirs["pixel_values"])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16", "float16"])
def test_jax_arrays(dtype):
    image = jnp.asarray(noise((20, 26))).astype(dtype)
    out = SMALL(image, do_resize=False).pixel_values
    assert out.dtype == jnp.float32
    expected = SMALL(np.asarray(image.astype("float32")), do_resize=False).pixel_values
    np.testing.assert_array_equal(out, expected)


def test_every_form_of_one_image_gives_the_same(tmp_path):
    array = noise((20, 26))
    path = tmp_path / "image.png"
    Image.fromarray(array).save(path)
    expected = SMALL(array, return_tensors="np").pixel_values
    for form in (
        Image.fromarray(array),
        np.moveaxis(array, -1, 0),
        array[None],
        jnp.asarray(array),
        path,
        str(path),
        [[path]],
        (array,),
        array[::-1][::-1],
    ):
        np.testing.assert_array_equal(SMALL(form).pixel_values, expected)


def test_a_batch_is_its_images():
    images = [noise((20 + i, 26 - i), i) for i in range(5)]
    batch = SMALL(images, return_tensors="np").pixel_values
    assert batch.flags.c_contiguous
    for row, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(row, SMALL(image, return_tensors="np").pixel_values[0])


def test_kinds_of_result():
    image = noise((20, 26))
    out = SMALL(image)
    assert type(out["pixel_values"]).__module__.startswith("jax")
    assert dict(**out).keys() == {"pixel_values"}
    with pytest.raises(AttributeError, match=r"features.logits: no such entry"):
        _ = out.logits
    rows = SMALL([image, image[:5]], return_tensors=None, do_resize=False).pixel_values
    assert [row.shape for row in rows] == [(3, 20, 26), (3, 5, 26)]
    with pytest.raises(ValueError, match="return_tensors: found 'pt'"):
        SMALL(image, return_tensors="pt")


def test_inputs_are_left_alone():
    image = noise((20, 26)).astype(np.float32)
    before = image.copy()
    SMALL(image, do_resize=False)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([], "images: found an empty list"),
        ([[], []], "images: found an empty list"),
        (None, "images: found a NoneType, expected a PIL image"),
        ([[1, 2], [3, 4]], r"images\[0\]\[0\]: found a int"),
        (b"bytes", "images: found a bytes"),
        ("https://example.org/cat.png", "found a URL, expected the path"),
        ("data:image/png;base64,AAAA", "found a URL"),
        (np.zeros((6, 5, 2), np.uint8), r"found the shape \(6, 5, 2\), expected 1, 3 or 4"),
        (np.zeros((9, 5, 4), np.uint8), "found 4 channels, expected 3"),
        (np.zeros((9, 5), np.uint8), "found 1 channels, expected 3"),
        (np.zeros(7, np.uint8), r"found the shape \(7,\)"),
        (np.zeros((1, 1, 1, 5, 3), np.uint8), "found the shape"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        (Image.new("RGB", (0, 5)), "at least one pixel"),
        (np.full((5, 5, 3), np.nan), "found 75 values that are NaN or infinite"),
        (np.full((5, 5, 3), np.inf, np.float16), "NaN or infinite"),
        (np.full((5, 5, 3), 300), "values from 300 to 300"),
        (np.full((5, 5, 3), -1.0), "values from -1 to -1"),
        (np.full((5, 5, 3), 3.5), "values from 3.5 to 3.5"),
        (np.array([["a"]]), "expected integers or floats"),
        (np.zeros((5, 5, 3), complex), "expected integers or floats"),
        (Image.new("La", (5, 5)), "the La image cannot be read"),
    ],
)
def test_refused(image, message):
    with pytest.raises(ValueError, match=message):
        SMALL(image)


def test_refused_by_settings():
    wide = Image.fromarray(noise((1, 10_000)))
    with pytest.raises(ValueError, match="input_data_format: found 'HWC'"):
        SMALL(noise((5, 5)), input_data_format="HWC")
    with pytest.raises(ValueError, match="found 5 channels, expected 1 to 4"):
        SMALL(noise((9, 9), channels=5), input_data_format="channels_last", do_normalize=False)
    with pytest.raises(ValueError, match="found 2 shapes after resizing"):
        SMALL([noise((5, 5)), noise((6, 5))], do_resize=False)
    with pytest.raises(ValueError, match="found floats with alpha"):
        SMALL(np.full((5, 5, 4), 2.0), do_convert_rgb=True)
    with pytest.raises(ValueError, match="gives 224 x 2240000"):
        SMALL(wide, size={"shortest_edge": 224})
    with pytest.raises(ValueError, match="gives 0 x 16"):
        SMALL(wide, size={"max_height": 16, "max_width": 16})


def test_refused_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images\[1\]: .*missing.png: no such file"):
        SMALL([noise((5, 5)), str(tmp_path / "missing.png")])
    with pytest.raises(FileNotFoundError, match="no such file"):
        SMALL("x" * 100_000)
    with pytest.raises(ValueError, match="found a folder"):
        SMALL(tmp_path)
    text = tmp_path / "text.png"
    text.write_text("not an image")
    with pytest.raises(ValueError, match=r"text.png: not an image"):
        SMALL(text)
    program = tmp_path / "program.eps"
    program.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(ValueError, match="found EPS, whose decoder runs another program"):
        SMALL(program)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_refused_permission(tmp_path):
    path = tmp_path / "image.png"
    picture("RGB").save(path)
    path.chmod(0)
    with pytest.raises(PermissionError, match=r"image.png"):
        SMALL(path)


def test_pillows_limit(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in parts
        )
    )
    with pytest.raises(ValueError, match=r"3600000000 pixels.*MAX_IMAGE_PIXELS"):
        SMALL(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tiff", "bmp"])
def test_truncated_files(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    picture("RGB", (64, 64)).save(path)
    whole = path.read_bytes()
    for part in (0, 1, 10, len(whole) // 3, len(whole) * 2 // 3):
        path.write_bytes(whole[:part])
        with pytest.raises(ValueError, match=r"not an image|damaged"):
            SMALL(path)
    path.write_bytes(whole[: len(whole) // 2])
    try:
        image = Image.open(path)
    except OSError:
        return
    with image, pytest.raises(ValueError, match="cannot be read"):
        SMALL(image)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tiff", "bmp"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damaged_files_give_documented_errors(tmp_path_factory, suffix, data):
    path = tmp_path_factory.mktemp("damaged") / f"image.{suffix}"
    picture("RGB", (9, 7)).save(path)
    content = bytearray(path.read_bytes())
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, min_size=1, max_size=8)):
        content[place] = value
    path.write_bytes(content)
    try:
        out = SMALL(path, return_tensors="np").pixel_values
    except ValueError as error:
        assert "image" in str(error)  # noqa: PT017
    else:
        assert out.shape == (1, 3, 16, 16)
