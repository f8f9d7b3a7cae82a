"""Rows of a batch: collected, padded to one of few lengths, stacked.

Every length and batch size that a model sees is a program to compile, so both are rounded up to a
short series of sizes. Padding is masked: it changes no result.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Row(NamedTuple):
    """What the model sees at once: part of an input, one input, or one of its choices.

    Attributes:
      inputs: name -> T integers; or `pixel_values` -> an array [C, H, W], `input_values` -> samples
        [S], `input_features` -> an array [M, F].
      info: whatever the answer needs to be told.
    """

    inputs: Mapping[str, Any]
    info: Any = None

    @property
    def length(self) -> int:
        """Number of tokens or samples, 0 for an image."""
        long = next((x for n, x in self.inputs.items() if n in ("input_ids", "input_values")), ())
        return len(long)


def places(count: int, batch_size: int) -> int:
    """Rows of a batch that holds `count`: the next power of two, at most `batch_size`."""
    return min(batch_size, 1 << (count - 1).bit_length())


def tokens(
    rows: Sequence[Row],
    *,
    length: int,
    batch: int,
    pad: int,
    pad_type: int = 0,
    left: bool = False,
) -> dict[str, np.ndarray]:
    """Rows of tokens -> int32 arrays [batch, length] and their `attention_mask`.

    Rows beyond those given repeat the last one.
    """
    fills = {"input_ids": pad, "token_type_ids": pad_type}
    named = {name: fill for name, fill in fills.items() if name in rows[0].inputs}
    out = {name: np.full((batch, length), fill, np.int32) for name, fill in named.items()}
    out["attention_mask"] = np.zeros((batch, length), np.int32)
    for i in range(batch):
        row = rows[min(i, len(rows) - 1)]
        at = slice(length - row.length, length) if left else slice(0, row.length)
        out["attention_mask"][i, at] = 1
        for name in named:
            out[name][i, at] = row.inputs[name]
    return out


def images(rows: Sequence[Row], *, batch: int) -> dict[str, np.ndarray]:
    """Rows of images -> `pixel_values` [batch, C, H, W]; the last one is repeated."""
    pixels = [row.inputs["pixel_values"] for row in rows]
    return {"pixel_values": np.stack(pixels + pixels[-1:] * (batch - len(pixels)))}


def samples(rows: Sequence[Row], *, length: int, batch: int) -> dict[str, np.ndarray]:
    """Rows of samples -> `input_values` [batch, length] and its mask; the last one is repeated."""
    values = np.zeros((batch, length), np.float32)
    mask = np.zeros((batch, length), np.int32)
    for i in range(batch):
        row = rows[min(i, len(rows) - 1)]
        values[i, : row.length] = row.inputs["input_values"]
        mask[i, : row.length] = 1
    return {"input_values": values, "attention_mask": mask}


def spectra(rows: Sequence[Row], *, batch: int) -> dict[str, np.ndarray]:
    """Rows of spectrograms -> `input_features` [batch, M, F]; the last one is repeated."""
    found = [row.inputs["input_features"] for row in rows]
    return {"input_features": np.stack(found + found[-1:] * (batch - len(found)))}
