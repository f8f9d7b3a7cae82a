"""A tensor as bytes of a file in an order of their own, copied into the order that is wanted.

Only one slab of a tensor that must be re-ordered is in memory besides the result.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from bridges.header import DTYPES, TensorInfo
from bridges.tensorfile import _fill as fill
from bridges.tensorfile import aligned

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

    def span(self, low: int, high: int, axis: int) -> tuple[int, int]:
        """Return the first element and the number of those that rows `[low, high)` lie among."""
        sizes = [*self.info.shape[:axis], high - low, *self.info.shape[axis + 1 :]]
        steps = zip(sizes, self.strides, strict=True)
        return low * self.strides[axis], 1 + sum((size - 1) * step for size, step in steps)

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

    A range of a tensor that is stored in another order costs a pass over all of it.
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
    # Slabs are cut along the axis that is outermost in the file.
    shape, strides, word = tensor.info.shape, tensor.strides, out.dtype
    axis = max(range(len(shape)), key=lambda i: (strides[i], shape[i] > 1, -i))
    begin, end = (first, first + len(out)) if axis == 0 else (0, shape[axis])
    step = min(end - begin, max(1, SLAB // max(1, strides[axis] * word.itemsize)))
    slab = aligned(tensor.span(begin, begin + step, axis)[1] * word.itemsize)
    for low in range(begin, end, step):
        high = min(low + step, end)
        inner, count = tensor.span(low, high, axis)
        _fill(file, tensor, slab.data[: count * word.itemsize], inner * word.itemsize, where)
        sizes = (*shape[:axis], high - low, *shape[axis + 1 :])
        view = np.ndarray(sizes, word, slab, strides=[s * word.itemsize for s in strides])
        if axis == 0:
            out[low - first : high - first] = view
        else:
            out[(slice(None),) * axis + (slice(low, high),)] = view[first : first + len(out)]


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
