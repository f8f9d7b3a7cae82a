"""Whatever a caller may hand in as a recording, brought to one channel at a model's rate.

A recording is the path of a file, the bytes of one, an array, or a dict that says at which rate an
array was taken, as `datasets` and transformers' pipelines have them. Files and arrays are read and
resampled as transformers' `load_audio` does on soundfile and soxr: channels are averaged, and the
length is that of the recording at the new rate, rounded up.
"""

from __future__ import annotations

import importlib
import io
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

CHANNELS = 64  # an array with more of them on its shorter axis is no recording
RATES = (1, 2**31 - 1)  # Hz
EXPECTED = "the path or bytes of a sound file, an array of samples, or a dict of either"


def waveform(item: Any, where: str, *, sampling_rate: int) -> np.ndarray:
    """Bring one recording to samples, float32 [T].

    Args:
        item: a path; the bytes of a file; samples [T], [channels, T] or [T, channels], whose
            shorter axis is that of the channels; or a dict with one of those at "array", "raw",
            "bytes" or "path". Floats are taken as they are; integers span -1 to 1, as in a file.
        where: the place of the recording, for messages.
        sampling_rate: of the result, in Hz; also of an array that comes without
            "sampling_rate" beside it.

    Raises:
        ValueError: something that is no recording, is empty, or holds NaN or infinity.
        FileNotFoundError: there is no such file.
        ImportError: soundfile or soxr is needed and not installed.
    """
    rate = _rate(sampling_rate, "sampling_rate")
    samples, found = _samples(item, where, rate)
    if not samples.size:
        raise ValueError(f"{where}: found no samples, expected at least one; leave it out")
    if not np.isfinite(samples).all():
        count = int(samples.size - np.isfinite(samples).sum())
        raise ValueError(
            f"{where}: found {count} samples that are NaN or infinite, expected finite ones; "
            "clean the recording first"
        )
    return resample(_mono(samples), found, rate)


def resample(samples: np.ndarray, found: int, wanted: int) -> np.ndarray:
    """Samples float32 [T] at `found` Hz -> [ceil(T * wanted / found)] at `wanted` Hz.

    Raises:
        ImportError: soxr is not installed.
    """
    if found == wanted:
        return samples
    out = _extra("soxr", "resampling").resample(samples, found, wanted, quality="HQ")
    length = math.ceil(samples.size * wanted / found)
    return np.pad(out, (0, max(0, length - out.size)))[:length]


def _samples(item: Any, where: str, rate: int) -> tuple[np.ndarray, int]:
    """Samples [T] or [channels, T], float32, and their rate."""
    if isinstance(item, Mapping):
        return _described(item, where, rate)
    if isinstance(item, bytes | bytearray | memoryview):
        return _decoded(io.BytesIO(item), where)
    if isinstance(item, str | os.PathLike):
        return _file(os.fspath(item), where)
    if isinstance(item, list | tuple) or hasattr(item, "__array__"):
        return _channels_first(_floats(item, where), where), rate
    raise ValueError(f"{where}: found a {type(item).__name__}, expected {EXPECTED}")


def _described(item: Mapping[str, Any], where: str, rate: int) -> tuple[np.ndarray, int]:
    """Of the keys, "array" and "raw" hold samples; of "bytes" and "path", the first that is set."""
    arrays = [key for key in ("array", "raw") if item.get(key) is not None]
    if len(arrays) == 1:
        if item.get("sampling_rate") is None:
            raise ValueError(
                f"{where}: found {arrays[0]!r} without 'sampling_rate', expected both; "
                "say at which rate it was taken, in Hz"
            )
        name = f"{where}[{arrays[0]!r}]"
        samples = _channels_first(_floats(item[arrays[0]], name), name)
        return samples, _rate(item["sampling_rate"], f"{where}['sampling_rate']")
    files = [key for key in ("bytes", "path") if item.get(key) is not None]
    if arrays or not files:
        keys = ", ".join(map(str, item)) or "nothing"
        raise ValueError(
            f"{where}: found a dict of {keys}, expected 'array' and 'sampling_rate', or 'bytes' or "
            "'path'; name one recording"
        )
    return _samples(item[files[0]], f"{where}[{files[0]!r}]", rate)


def _file(name: str, where: str) -> tuple[np.ndarray, int]:
    where = f"{where}: {name if len(name) < 200 else name[:80] + '...'}"
    if name.startswith(("http://", "https://", "data:")):
        raise ValueError(
            f"{where}: found a URL, expected the path of a file; download it and pass its path"
        )
    if os.path.isdir(name):
        raise ValueError(f"{where}: found a folder, expected a file; pass a list of its files")
    if not os.path.isfile(name):
        raise FileNotFoundError(f"{where}: no such file; pass the path of a sound file")
    with open(name, "rb") as stream:
        return _decoded(stream.fileno(), where)


def _decoded(source: io.BytesIO | int, where: str) -> tuple[np.ndarray, int]:
    """Samples [channels, T] and rate of a sound file, which is told by its contents.

    soundfile gets no name: it would take a file called `.raw` for one without a header.
    """
    soundfile = _extra("soundfile", "reading sound files")
    try:
        with soundfile.SoundFile(source, closefd=False) as file:
            return file.read(dtype="float32", always_2d=True).T, file.samplerate
    except Exception as error:
        if getattr(error, "code", None) == 1:  # of libsndfile: no format that it knows
            raise ValueError(
                f"{where}: not a sound file that soundfile can read; expected WAV, FLAC, OGG, "
                "MP3, ...; convert it"
            ) from None
        raise ValueError(
            f"{where}: the sound file is damaged ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _floats(item: Any, where: str) -> np.ndarray:
    """Samples as float32; integers are divided by the largest of their dtype, as files have it."""
    try:
        samples = np.asarray(item)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{where}: cannot be read as samples ({error}); pass an array") from None
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if isinstance(item, list | tuple) and kind in "iu":
        raise ValueError(
            f"{where}: found a list of integers, which does not tell how loud they are; pass "
            "an array of int16 or of floats"
        )
    if kind == "i":
        return samples.astype(np.float32) / np.float32(2 ** (bits - 1))
    if kind == "u":
        return samples.astype(np.float32) / np.float32(2 ** (bits - 1)) - 1
    if kind == "f" or samples.dtype.name == "bfloat16":
        return samples.astype(np.float32)
    raise ValueError(
        f"{where}: found samples of {samples.dtype}, expected floats or integers; "
        "recordings of unequal lengths are items of their own"
    )


def _channels_first(samples: np.ndarray, where: str) -> np.ndarray:
    """[T], [channels, T] or [T, channels] -> [T] or [channels, T]."""
    if samples.ndim == 1:
        return samples
    short, long = sorted(samples.shape) if samples.ndim == 2 else (0, 0)
    if samples.ndim != 2 or short > CHANNELS or 1 < short == long:
        raise ValueError(
            f"{where}: found samples of shape {samples.shape}, expected [time], or [channels, "
            f"time] with at most {CHANNELS} channels; is this a recording?"
        )
    return samples if samples.shape[0] == short else samples.T


def _mono(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels, float32 [T]."""
    if samples.ndim == 2:
        samples = samples.mean(axis=0) if len(samples) > 1 else samples[0]
    return np.ascontiguousarray(samples, np.float32)


def _rate(value: Any, where: str) -> int:
    low, high = RATES
    if isinstance(value, bool) or not isinstance(value, int | np.integer | float):
        raise ValueError(f"{where}: found {value!r}, expected a number of Hz, such as 16000")
    if value != value or not low <= value <= high or value != int(value):
        raise ValueError(f"{where}: found {value}, expected a whole number of Hz, such as 16000")
    return int(value)


def _extra(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{what} needs {name}, which is not installed; run pip install 'jax-zoo[audio]'"
        ) from error
