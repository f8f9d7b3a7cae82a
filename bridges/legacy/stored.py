"""A tensor as bytes of a file in an order of their own, copied into the order that is wanted.

Only one slab of a tensor that must be re-ordered is in memory besides the result.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from bridges.header import DTYPES, TensorInfo
from bridges.tensorfile import aligned, fill

SLAB = 1 << 20
BY_NAME: Mapping[str, np.dtype] = MappingProxyType({dtype.name: dtype for dtype in DTYPES.values()})


class Stored(NamedTuple):
    """A tensor [*info.shape] whose element `i` lies `dot(i, strides)` elements into `extents`.

    `extents` are (position, bytes) in the file, to be read one after the other as if they were
    contiguous; they hold whole elements.
    """

    info: TensorInfo
    strides: tuple[int, ...]
    extents: tuple[tuple[int, int], ...]

    def arranged(self, axes: Sequence[int]) -> "Stored":
        """Return the tensor with its axes in this order; axes of size 1 may be left out."""
        shape = tuple(self.info.shape[axis] for axis in axes)
        info = self.info._replace(shape=shape)
        return Stored(info, tuple(self.strides[axis] for axis in axes), self.extents)

    def reach(self) -> int:
        """Return the number of elements from the first in the file to the last."""
        if not self.info.nbytes:
            return 0
        steps = zip(self.info.shape, self.strides, strict=True)
        return 1 + sum((size - 1) * step for size, step in steps)


def stored(dtype: Any, shape: Sequence[int], extents: Sequence[tuple[int, int]]) -> Stored:
    """Return a tensor that lies in row-major order."""
    dtype, shape = np.dtype(dtype), tuple(shape)
    info = TensorInfo(dtype, shape, dtype.itemsize * math.prod(shape))
    return Stored(info, row_major(shape), tuple(extents))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides, in elements, of an array in row-major order."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def copy_bytes(file: Any, tensor: Stored, out: memoryview, start: int, where: str) -> None:
    """Fill `out` with the tensor's bytes from `start` on, counted in row-major order.

    A range of a tensor that is stored in another order is gathered from all over it.
    """
    shape, itemsize = tensor.info.shape, tensor.info.dtype.itemsize
    if _is_row_major(tensor):
        _fill(file, tensor, out, start, where)
        return
    row = tensor.info.nbytes // shape[0]
    first, last = start // row, -(-(start + len(out)) // row)
    word = np.dtype(f"u{itemsize}") if itemsize < 16 else np.dtype(np.complex128)
    direct = (start, len(out)) == (first * row, (last - first) * row)
    flat = np.frombuffer(out, np.uint8) if direct else aligned((last - first) * row)
    _copy_rows(file, tensor, flat.view(word).reshape(last - first, *shape[1:]), first, where)
    if not direct:
        np.frombuffer(out, np.uint8)[:] = flat[start - first * row :][: len(out)]


def _copy_rows(file: Any, tensor: Stored, out: np.ndarray, first: int, where: str) -> None:
    """Fill `out` with the tensor's rows from `first` on, in slabs of what is outermost on file."""
    if not out.size:
        return
    shape, strides, width = list(out.shape), list(tensor.strides), out.dtype.itemsize
    base = first * strides[0]
    axis = max(range(len(shape)), key=lambda i: (strides[i], shape[i] > 1))
    pitch = strides[axis]
    segment = 1 + sum((shape[i] - 1) * strides[i] for i in range(len(shape)) if i != axis)
    is_sparse = 2 * segment < pitch  # then what lies between the segments is not read
    strides[axis] = segment if is_sparse else pitch
    step = min(shape[axis], max(1, SLAB // max(1, strides[axis] * width)))
    slab = aligned(((step - 1) * strides[axis] + segment) * width)
    for low in range(0, out.shape[axis], step):
        count = shape[axis] = min(step, out.shape[axis] - low)
        whole = ((count - 1) * strides[axis] + segment) * width
        part = segment * width if is_sparse else whole
        for i, at in enumerate(range(0, whole, part)):
            start = (base + (low + i) * pitch) * width
            _fill(file, tensor, slab.data[at : at + part], start, where)
        view = np.ndarray(shape, out.dtype, slab, strides=[s * width for s in strides])
        out[(slice(None),) * axis + (slice(low, low + count),)] = view


def _fill(file: Any, tensor: Stored, out: memoryview, start: int, where: str) -> None:
    done = 0
    for position, nbytes in tensor.extents:
        if start < nbytes and done < len(out):
            part = out[done : done + nbytes - start]
            fill(file, part, position + start, where)
            done += len(part)
        start = max(0, start - nbytes)


def _is_row_major(tensor: Stored) -> bool:
    # The stride of an axis of size 1 says nothing.
    pairs = zip(tensor.info.shape, tensor.strides, row_major(tensor.info.shape), strict=True)
    return not tensor.info.nbytes or all(size == 1 or a == b for size, a, b in pairs)
