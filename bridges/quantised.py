"""Quantised checkpoints, read as if their tensors were stored in bfloat16.

MXFP4 (Open Compute Project 2023, Microscaling Formats 1.0) as gpt-oss stores its experts: pairs of
4-bit floats in `{name}_blocks`, an exponent for every 32 of them in `{name}_scales`. FP8 as
DeepSeek-V3 stores its matrices: 8-bit floats, a factor for each tile of them in
`{name}_scale_inv`. What a reader asks for is computed when it asks, a matrix or a band of rows at a
time.
"""

import threading
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from bridges.checkpoint import Source
from bridges.header import CheckpointError, TensorInfo, show
from bridges.tensorfile import bytes_of

BF16 = np.dtype(ml_dtypes.bfloat16)
FP8 = np.dtype(ml_dtypes.float8_e4m3fn)
GROUP = 32  # numbers under one exponent of MXFP4
_BIAS = 127  # of that exponent
_FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
_PAIRS = np.stack([np.tile(_FP4, 16), np.repeat(_FP4, 16)], axis=1)  # of a byte, the low one first
_BYTES = np.arange(256, dtype=np.uint8).view(FP8).astype(np.float32)
METHODS = ("fp8", "mxfp4")


def refusal(config: Any) -> str | None:
    """Why a `quantization_config` cannot be read, or None where it can."""
    method = config.get("quant_method") if isinstance(config, Mapping) else None
    if method not in METHODS:
        return f"found quant_method {show(method)}, can be read: {', '.join(METHODS)}"
    if method == "mxfp4":
        return None
    if config.get("fmt", "e4m3") != "e4m3":
        return f"found fmt {show(config['fmt'])}, expected 'e4m3'"
    block = config.get("weight_block_size")
    if isinstance(block, list | tuple) and len(block) == 2:
        if all(isinstance(n, int) and n > 0 for n in block):
            return None
    return f"found weight_block_size {show(block)}, expected two numbers of rows and columns"


def dequantised(source: Source, config: Mapping[str, Any] | None) -> Source:
    """The checkpoint with quantised tensors in bfloat16, or as it is where `config` is None.

    Raises:
      CheckpointError: scales of another shape than their tensor asks for.
    """
    if config is None:
        return source
    if config["quant_method"] == "mxfp4":
        return _Mxfp4(source)
    rows, columns = config["weight_block_size"]
    return _Fp8(source, rows, columns)


class _Dequantised:
    """A source some of whose tensors are computed; a subclass finds and computes them."""

    def __init__(self, source: Source):
        self._source = source
        self._computed: dict[str, TensorInfo] = {}
        self.names: Mapping[str, TensorInfo] = {}

    def _replace(self, computed: dict[str, TensorInfo], parts: set[str]) -> None:
        kept = {name: info for name, info in self._source.names.items() if name not in parts}
        self._computed, self.names = computed, kept | computed

    def read(self, name: str) -> np.ndarray:
        """One whole tensor."""
        if name not in self._computed:
            return self._source.read(name)
        info = self._computed[name]
        out = np.empty(info.shape, info.dtype)
        self.read_into(name, out)
        return out

    def read_into(self, name: str, out: Any, start: int = 0) -> None:
        """Bytes of one tensor from `start` on, into a buffer."""
        if name not in self._computed:
            self._source.read_into(name, out, start)
            return
        view, done = np.frombuffer(bytes_of(out), np.uint8), 0
        while done < len(view):
            piece = self._piece(name, start + done)[: len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)

    def _piece(self, name: str, start: int) -> np.ndarray:
        """Some bytes of a computed tensor, at least one, from `start` on."""
        raise NotImplementedError


class _Mxfp4(_Dequantised):
    """`{name}_blocks` [X, O, G, 16] and `{name}_scales` [X, O, G] are `{name}` [X, 32 G, O]."""

    def __init__(self, source: Source):
        super().__init__(source)
        self._last = threading.local()  # readers ask for one expert's rows in several calls
        found: dict[str, TensorInfo] = {}
        parts: set[str] = set()
        for blocks, info in source.names.items():
            name = blocks.removesuffix("_blocks")
            scales = source.names.get(f"{name}_scales")
            if name == blocks or scales is None:
                continue
            byte = info.dtype == scales.dtype == np.uint8
            if len(info.shape) != 4 or info.shape != (*scales.shape, GROUP // 2) or not byte:
                raise CheckpointError(
                    f"{blocks}: found {info.dtype} {list(info.shape)} beside scales of "
                    f"{scales.dtype} {list(scales.shape)}, expected uint8 [experts, rows, groups, "
                    f"16] beside one scale for each group; download the file again"
                )
            experts, rows, groups, _ = info.shape
            size = experts * rows * groups * GROUP
            shape = (experts, groups * GROUP, rows)
            found[name] = TensorInfo(BF16, shape, size * BF16.itemsize)
            parts |= {blocks, f"{name}_scales"}
        self._replace(found, parts)

    def _piece(self, name: str, start: int) -> np.ndarray:
        _, columns, rows = self._computed[name].shape
        expert, at = divmod(start, columns * rows * BF16.itemsize)
        if getattr(self._last, "key", None) != (name, expert):
            self._last.key, self._last.bytes = (name, expert), self._matrix(name, expert)
        return self._last.bytes[at:]

    def _matrix(self, name: str, expert: int) -> np.ndarray:
        """One expert's matrix as bytes."""
        _, columns, rows = self._computed[name].shape
        blocks = np.empty((rows, columns // GROUP, GROUP // 2), np.uint8)
        scales = np.empty((rows, columns // GROUP), np.uint8)
        self._source.read_into(f"{name}_blocks", blocks, expert * blocks.nbytes)
        self._source.read_into(f"{name}_scales", scales, expert * scales.nbytes)
        x = _PAIRS[blocks].reshape(rows, columns // GROUP, GROUP)
        x = np.ldexp(x, scales[..., None].astype(np.int32) - _BIAS)
        x = x.astype(BF16).reshape(rows, columns)
        return np.ascontiguousarray(x.T).reshape(-1).view(np.uint8)


class _Fp8(_Dequantised):
    """`{name}` [O, I] in 8 bits, times `{name}_scale_inv`, a factor for each tile of it."""

    def __init__(self, source: Source, rows: int, columns: int):
        super().__init__(source)
        self._tile = rows, columns
        found: dict[str, TensorInfo] = {}
        parts: set[str] = set()
        for name, info in source.names.items():
            scales = source.names.get(f"{name}_scale_inv")
            if info.dtype != FP8 or scales is None:
                continue
            wanted = tuple(-(-n // tile) for n, tile in zip(info.shape, self._tile, strict=False))
            if len(info.shape) != 2 or scales.shape != wanted:
                raise CheckpointError(
                    f"{name}_scale_inv: found shape {list(scales.shape)}, expected {list(wanted)} "
                    f"beside {list(info.shape)} in tiles of {rows} x {columns}; is "
                    f"quantization_config that of these weights?"
                )
            found[name] = TensorInfo(BF16, info.shape, info.nbytes * BF16.itemsize)
            parts.add(f"{name}_scale_inv")
        self._replace(found, parts)

    def _piece(self, name: str, start: int) -> np.ndarray:
        rows, columns = self._computed[name].shape
        first, at = divmod(start, columns * BF16.itemsize)
        tile = first // self._tile[0]
        last = min(rows, (tile + 1) * self._tile[0])
        x = np.empty((last - first, columns), np.uint8)
        self._source.read_into(name, x, first * columns)
        scales = self._source.read(f"{name}_scale_inv")[tile].astype(np.float32)
        x = _BYTES[x] * np.repeat(scales, self._tile[1])[:columns]
        return x.astype(BF16).reshape(-1).view(np.uint8)[at:]
