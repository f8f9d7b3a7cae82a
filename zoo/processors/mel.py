"""Log-mel spectrograms as Whisper takes them, on numpy.

The filters are those of Slaney's Auditory Toolbox (1998), as librosa has them.
"""

from __future__ import annotations

import functools

import numpy as np

BLOCK = 4096  # frames transformed at a time
FLOOR = 1e-10
TOP = 8000.0  # Hz, of the last filter


@functools.cache
def filters(bins: int, fft: int, rate: int) -> np.ndarray:
    """Triangles of equal area, [bins, fft // 2 + 1], from 0 to 8000 Hz."""
    edges = _hertz(np.linspace(0.0, _mel(TOP), bins + 2))
    heard = np.linspace(0, rate // 2, fft // 2 + 1)
    slopes = edges[:, None] - heard[None]
    widths = np.diff(edges)[:, None]
    triangles = np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:])
    area = 2.0 / (edges[2:] - edges[:-2])
    out = np.maximum(0, triangles) * area[:, None]
    out.flags.writeable = False
    return out


def log_mel(
    samples: np.ndarray, *, bins: int, fft: int, hop: int, rate: int, dither: float = 0.0
) -> np.ndarray:
    """Samples float32 [S] -> float32 [bins, S // hop], within 8 powers of ten, scaled to about 1.

    Raises:
      ValueError: too few samples to be mirrored at the ends.
    """
    if samples.size <= fft // 2:
        raise ValueError(
            f"raw_speech: found {samples.size} samples, expected more than {fft // 2}; pad it"
        )
    if dither:
        noise = np.random.default_rng(0).standard_normal(samples.size, np.float32)
        samples = samples + np.float32(dither) * noise
    padded = np.pad(samples, fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, fft)[::hop]
    window = np.hanning(fft + 1)[:-1]
    bank = filters(bins, fft, rate)
    out = np.empty((bins, samples.size // hop), np.float32)
    for at in range(0, out.shape[1], BLOCK):
        some = frames[at : min(at + BLOCK, out.shape[1])]
        power = np.abs(np.fft.rfft(some * window)) ** 2
        out[:, at : at + len(some)] = np.log10(np.maximum(FLOOR, bank @ power.T))
    return (np.maximum(out, out.max() - 8.0) + 4.0) / 4.0


def _mel(hertz: float) -> float:
    return 15.0 + np.log(hertz / 1000.0) * 27.0 / np.log(6.4)  # above 1000 Hz


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15.0, 200.0 / 3 * mels, 1000.0 * np.exp(np.log(6.4) / 27 * (mels - 15)))
