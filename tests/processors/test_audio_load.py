"""Recordings of every kind brought to one channel at one rate, what is refused, their features."""

import io
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import soxr
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.audio_utils import load_audio

from zoo.processors import ImageProcessor
from zoo.processors.audio import FeatureExtractor
from zoo.processors.audio_load import resample, waveform


def sound(length=1000, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.9, 0.9, (length, channels)).astype(np.float32)


def written(folder, name, samples, rate=16000, **options):
    path = folder / name
    soundfile.write(path, samples, rate, **options)
    return path


def load(item, rate=16000):
    out = waveform(item, "audio", sampling_rate=rate)
    assert out.dtype == np.float32
    assert out.ndim == 1
    assert out.flags.c_contiguous
    return out


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 12345])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_file_of_any_rate_and_channel_count_is_that_of_transformers(tmp_path, rate, channels):
    path = written(tmp_path, "a.wav", sound(2001, channels), rate)
    theirs = load_audio(str(path), sampling_rate=16000, backend="soundfile")
    np.testing.assert_array_equal(load(path), theirs)
    np.testing.assert_array_equal(load(str(path)), theirs)
    np.testing.assert_array_equal(load(path.read_bytes()), theirs)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[("a.wav", {"subtype": s}) for s in
          ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")],
        ("a.flac", {}), ("a.flac", {"subtype": "PCM_24"}), ("a.ogg", {}), ("a.mp3", {}),
        ("a.ogg", {"subtype": "OPUS"}), ("a.aiff", {}), ("a.au", {}), ("a.caf", {}), ("a.w64", {}),
        ("a.rf64", {}), ("wav", {"format": "WAV"}), ("a.raw", {"format": "FLAC"}),
    ],
)  # fmt: skip
def test_a_file_of_any_format_is_told_by_its_contents(tmp_path, name, options):
    path = written(tmp_path, name, sound(4000, 2), 48000, **options)
    named = path.rename(tmp_path / "a.wav")
    theirs = load_audio(str(named), sampling_rate=16000, backend="soundfile")
    named.rename(path)
    np.testing.assert_array_equal(load(path), theirs)
    np.testing.assert_array_equal(load(memoryview(path.read_bytes())), theirs)


@given(
    st.integers(1, 400),
    st.sampled_from([7, 8000, 11025, 22050, 48000]),
    st.sampled_from([8, 16000]),
)
def test_the_length_at_another_rate_is_rounded_up(length, found, wanted):
    samples = sound(length)[:, 0]
    out = resample(samples, found, wanted)
    assert out.shape == (-(-length * wanted // found),)
    both = min(out.size, soxr.resample(samples, found, wanted).size)
    np.testing.assert_array_equal(out[:both], soxr.resample(samples, found, wanted)[:both])


def test_a_tone_keeps_its_pitch():
    time = np.arange(48000) / 48000
    tone = np.sin(2 * np.pi * 440 * time)
    out = load({"array": tone, "sampling_rate": 48000})
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(out - expected)[200:-200].max() < 1e-4


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, jnp.bfloat16, jnp.float32])
def test_floats_are_taken_as_they_are(kind):
    samples = np.array([0.5, -2.0, 3.25, 0.0]).astype(kind)
    np.testing.assert_array_equal(load(samples), [0.5, -2.0, 3.25, 0.0])
    np.testing.assert_array_equal(load(jnp.asarray(samples)), [0.5, -2.0, 3.25, 0.0])
    np.testing.assert_array_equal(load([0.5, -2.0, 3.25, 0.0]), [0.5, -2.0, 3.25, 0.0])
    np.testing.assert_array_equal(load(torch.tensor([0.5, -2.0])), [0.5, -2.0])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_32", "PCM_U8"])
def test_integers_are_as_loud_as_in_a_file(tmp_path, subtype):
    path = written(tmp_path, "a.wav", sound(), subtype=subtype)
    raw = path.read_bytes()[44:]
    kind = {"PCM_16": np.int16, "PCM_32": np.int32, "PCM_U8": np.uint8}[subtype]
    np.testing.assert_array_equal(load(np.frombuffer(raw, kind)), load(path))


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_of_an_array_stand_first_or_last(channels):
    samples = sound(700, channels)
    mean = samples.mean(axis=1)
    np.testing.assert_allclose(load(samples), mean, rtol=0, atol=1e-7)
    np.testing.assert_allclose(load(samples.T), mean, rtol=0, atol=1e-7)
    assert load(np.ones((1, 1))).shape == (1,)


@pytest.mark.parametrize("rate", [16000, 16000.0, np.int64(16000), 8000, 44100])
def test_a_dict_says_its_rate(tmp_path, rate):
    samples = sound(600, 2)
    path = written(tmp_path, "a.wav", samples, int(rate), subtype="FLOAT")
    expected = load(path)
    for key in ("array", "raw"):
        np.testing.assert_array_equal(load({key: samples.T, "sampling_rate": rate}), expected)
    whole = {"path": str(path), "array": samples, "sampling_rate": rate}
    np.testing.assert_array_equal(load(whole), expected)
    np.testing.assert_array_equal(load({"path": str(path), "bytes": None}), expected)
    stored = {"path": "not/here.wav", "bytes": path.read_bytes()}
    np.testing.assert_array_equal(load(stored), expected)


def png():
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "png")
    return stream.getvalue()


SAMPLES = np.zeros(5, np.float32)
REFUSED = [
    (Image.new("RGB", (8, 8)), "audio: found a Image, expected the path or bytes of a sound file"),
    (png(), "audio: not a sound file that soundfile can read"),
    (b"", "audio: not a sound file"),
    (b"RIFF" + bytes(50), "audio: not a sound file|audio: the sound file is damaged"),
    (None, "audio: found a NoneType, expected the path or bytes of a sound file"),
    (3.5, "audio: found a float, expected the path"),
    ({"a": 1}, "audio: found a dict of a, expected 'array' and 'sampling_rate'"),
    ({}, "audio: found a dict of nothing"),
    ({"array": SAMPLES}, "audio: found 'array' without 'sampling_rate'"),
    ({"array": SAMPLES, "raw": SAMPLES, "sampling_rate": 8}, "audio: found a dict of array, raw"),
    ({"array": SAMPLES, "sampling_rate": 0}, "audio\\['sampling_rate'\\]: found 0, expected a who"),
    ({"array": SAMPLES, "sampling_rate": "16k"}, "audio\\['sampling_rate'\\]: found '16k'"),
    ({"array": SAMPLES, "sampling_rate": float("nan")}, "audio\\['sampling_rate'\\]: found nan"),
    ({"array": None, "sampling_rate": 8000}, "audio: found a dict of array, sampling_rate"),
    ("https://example.org/a.wav", "audio: https.*: found a URL, expected the path of a file"),
    (np.zeros((0,)), "audio: found no samples, expected at least one"),
    (np.zeros((2, 0)), "audio: found no samples"),
    ([], "audio: found no samples"),
    (np.array([0.0, np.nan, np.inf]), "audio: found 2 samples that are NaN or infinite"),
    (np.zeros((3, 4, 5)), "audio: found samples of shape \\(3, 4, 5\\)"),
    (np.zeros((80, 3000)), "audio: found samples of shape \\(80, 3000\\), expected \\[time\\], or"),
    (np.zeros((30, 30)), "audio: found samples of shape \\(30, 30\\)"),
    (np.float32(1), "audio: found samples of shape \\(\\)"),
    (np.zeros(4, complex), "audio: found samples of complex128, expected floats or integers"),
    (np.zeros(4, bool), "audio: found samples of bool"),
    (["hello"], "audio: found samples of <U5"),
    ([[1.0], [1.0, 2.0]], "audio: cannot be read as samples"),
    ([1, 2, 3], "audio: found a list of integers, which does not tell how loud"),
]


@pytest.mark.parametrize(("item", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_recording_is_refused(item, message):
    with pytest.raises(ValueError, match=message):
        waveform(item, "audio", sampling_rate=16000)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"audio: .*: found a folder, expected a file"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="audio: what he said: no such file; pass the path"):
        load("what he said")
    (tmp_path / "a.wav").write_text("hello")
    with pytest.raises(ValueError, match=r"audio: .*a\.wav: not a sound file that soundfile can"):
        load(tmp_path / "a.wav")
    empty = written(tmp_path, "b.wav", np.zeros((0, 1)))
    with pytest.raises(ValueError, match="audio: found no samples"):
        load(empty)
    spoilt = written(tmp_path, "c.wav", np.full(4, np.nan), subtype="FLOAT")
    with pytest.raises(ValueError, match="audio: found 4 samples that are NaN"):
        load(spoilt)


@given(st.data())
def test_a_damaged_file_is_read_or_refused(data):
    stream = io.BytesIO()
    kind = data.draw(st.sampled_from(["WAV", "FLAC", "OGG", "MP3"]))
    soundfile.write(stream, sound(300), 16000, format=kind)
    raw = bytearray(stream.getvalue())
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=6)):
        raw[at] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    message = ""
    try:
        assert np.isfinite(load(bytes(raw))).all()
    except ValueError as error:
        message = str(error)
    assert message == "" or message.startswith("audio: ")


@pytest.mark.parametrize("rate", [0, -1, 1.5, True, None, "16000", 2**40])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="sampling_rate: found"):
        load(SAMPLES, rate)


@pytest.mark.parametrize("name", ["soundfile", "soxr"])
def test_what_is_not_installed_is_named(monkeypatch, tmp_path, name):
    path = written(tmp_path, "a.wav", sound(), 8000)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"needs {name}, .*pip install 'jax-zoo\[audio\]'"):
        load(path)


def test_an_array_at_the_rate_needs_nothing_installed(monkeypatch):
    for name in ("soundfile", "soxr"):
        monkeypatch.setitem(sys.modules, name, None)
    assert load(SAMPLES).shape == (5,)


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Whisper"])
@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (8000, 1)])
def test_features_of_a_file_are_those_of_transformers(tmp_path, kind, rate, channels):
    path = written(tmp_path, "a.flac", sound(rate // 2, channels), rate)
    theirs = getattr(transformers, f"{kind}FeatureExtractor")()
    theirs.save_pretrained(tmp_path)
    loaded = load_audio(str(path), sampling_rate=16000, backend="soundfile")
    expected = theirs(loaded, sampling_rate=16000, return_tensors="np")
    found = FeatureExtractor.from_pretrained(tmp_path)(path, return_tensors="np")
    name = theirs.model_input_names[0]
    np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-4)


def test_a_picture_is_no_recording_and_a_recording_no_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    path = written(tmp_path, "a.wav", sound())
    with pytest.raises(ValueError, match=r"raw_speech.*a\.png: not a sound file that soundfile"):
        FeatureExtractor("Wav2Vec2FeatureExtractor")(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"images: .*a\.wav: not an image that Pillow can read"):
        ImageProcessor()(path)
