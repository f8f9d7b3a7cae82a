"""Reversible re-arrangements between a stored tensor and the arrays it becomes in memory.

A `store` pattern such as `"(n d) e -> n d e"` reads from left to right to load and from right to
left to save. An array that is a `Part` of a fused tensor is a slice along one named axis.
"""

import re
from typing import NamedTuple

import numpy as np

from zoo.spec import ArraySpec

BAND = 16  # elements transposed at a time: a cache line of float32


class Layout(NamedTuple):
    """A pattern with sizes.

    Attributes:
      stored: shape of the tensor in the file.
      factored: that shape with every composite axis taken apart.
      slices: what of the factored tensor is this array.
      order: permutation from the factored axes to those in memory.
      shape: in-memory shape.
    """

    stored: tuple[int, ...]
    factored: tuple[int, ...]
    slices: tuple[slice, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def is_view(self) -> bool:
        """Whether memory and file hold the same bytes in the same order."""
        whole = all(s == slice(0, n) for s, n in zip(self.slices, self.factored, strict=True))
        return whole and self.order == tuple(range(len(self.order)))

    def load(self, x: np.ndarray, start: int, out: np.ndarray) -> None:
        """Copies to `out`, in memory layout, what some rows of the stored tensor hold of it.

        `x` are those from `start` on along the first factored axis, in any shape.
        """
        x = x.reshape(-1, *self.factored[1:])
        first, *rest = self.slices
        low, high = max(first.start, start), min(first.stop, start + len(x))
        if low >= high:
            return
        part = x[(slice(low - start, high - start), *rest)]
        sizes = [s.stop - s.start for s in self.slices]
        home = out.reshape([sizes[i] for i in self.order]).transpose(np.argsort(self.order))
        home = home[low - first.start : high - first.start]
        inner = self.order[len(self.shape) - 1]  # the axis that varies fastest in memory
        step = part.shape[inner] if inner == len(self.order) - 1 else BAND
        for i in range(0, part.shape[inner], step):
            at = (slice(None),) * inner + (slice(i, i + step),)
            home[at] = part[at]

    def save(self, x: np.ndarray, out: np.ndarray) -> None:
        """Writes an array in memory layout to its place in the stored tensor `out`."""
        part = out.reshape(self.factored)[(*self.slices, ...)]  # a view also of a scalar
        inverse = np.argsort(self.order)
        part[...] = x.reshape([part.shape[i] for i in self.order]).transpose(inverse)


def flat(size: int) -> Layout:
    """A vector that lies in the file as in memory."""
    return Layout((size,), (size,), (slice(0, size),), (0,), (size,))


def _axes(side: str) -> list[list[str]]:
    return [t.strip("()").split() for t in re.findall(r"\([^)]*\)|\S+", side)]


def layout(spec: ArraySpec) -> Layout:
    """How one tensor of `spec` lies in the checkpoint.

    Raises:
      ValueError: the pattern does not fit the shape.
    """
    shape = spec.item_shape
    if spec.store is None:
        whole = tuple(slice(0, n) for n in shape)
        return Layout(shape, shape, whole, tuple(range(len(shape))), shape)
    left, right = (_axes(side) for side in spec.store.split("->"))
    memory = [axis for group in right for axis in group]
    if len(memory) != len(shape):
        raise ValueError(f"{spec.name}: pattern {spec.store!r} does not fit shape {shape}")
    size = dict(zip(memory, shape, strict=True))
    window: dict[str, slice] = {axis: slice(0, n) for axis, n in size.items()}
    if spec.part:
        start = spec.part.start
        window[spec.part.axis] = slice(start, start + size.get(spec.part.axis, 1))
        size[spec.part.axis] = spec.part.total
    names = [axis for group in left for axis in group]
    kept = [axis for axis in names if axis in memory]
    order = tuple(names.index(axis) for axis in memory)
    order += tuple(i for i, axis in enumerate(names) if axis not in kept)
    return Layout(
        stored=tuple(int(np.prod([size[axis] for axis in group])) for group in left),
        factored=tuple(size[axis] for axis in names),
        slices=tuple(window[axis] for axis in names),
        order=order,
        shape=shape,
    )
