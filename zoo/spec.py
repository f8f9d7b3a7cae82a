"""Array declarations: everything known about an array before it exists.

A model declares each of its weights once, as an `ArraySpec`. Initial values, abstract shapes,
shardings, parameter counts and the reading and writing of checkpoints are derived from it.
"""

import dataclasses
import functools
import itertools
import math
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Init = Callable[..., jax.Array]  # (key, shape, dtype, std) -> Array
Tree = Any  # nested containers whose leaves are all ArraySpec, or all arrays


def normal(key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
    """N(0, std) where `std` is the model's `initializer_range`."""
    return std * jax.random.normal(key, shape, dtype)


def scaled_normal(scale: float) -> Init:
    """N(0, scale * std), as GPT-2 draws the projections that feed its residual stream."""
    return functools.partial(_scaled_normal, scale=scale)


def _scaled_normal(key, shape, dtype, std, *, scale):
    return normal(key, shape, dtype, scale * std)


def truncated_normal(cutoff: float, scale: float = 1.0) -> Init:
    """N(0, scale * std) without what lies more than `cutoff` deviations from zero."""
    return functools.partial(_truncated_normal, cutoff=cutoff, scale=scale)


def _truncated_normal(key, shape, dtype, std, *, cutoff, scale):
    return scale * std * jax.random.truncated_normal(key, -cutoff, cutoff, shape, dtype)


def zeros(key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
    """All zeros: biases."""
    return jnp.zeros(shape, dtype)


def ones(key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
    """All ones: the scales of norms."""
    return jnp.ones(shape, dtype)


def constant(value: float) -> Init:
    """The same value everywhere: temperatures."""
    return functools.partial(_constant, value=value)


def _constant(key, shape, dtype, std, *, value):
    return jnp.full(shape, value, dtype)


def uniform(bound: float) -> Init:
    """U(-bound, bound), as PyTorch draws what a model does not draw itself."""
    return functools.partial(_uniform, bound=bound)


def _uniform(key, shape, dtype, std, *, bound):
    return jax.random.uniform(key, shape, dtype, -bound, bound)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """The share of a fused checkpoint tensor that one array holds.

    Attributes:
      axis: an axis on the checkpoint side of the `store` pattern.
      start: first index along it; the array's own size along that axis follows from its shape,
        and is one where the memory side of the pattern does not name the axis.
      total: size of that axis in the checkpoint.
    """

    axis: str
    start: int
    total: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """One array, declared once: shape, placement, initial value and checkpoint home.

    Attributes:
      shape: in-memory shape.
      axes: one logical axis name per dimension; `sharding` maps these to mesh axes.
      init: initializer `(key, shape, dtype, std) -> Array`.
      name: checkpoint name; each `{}` is filled from `index`.
      store: `"checkpoint -> memory"` einops pattern when the two layouts differ, else None.
      part: which slice of the checkpoint tensor this is, when several arrays share one.
      index: for every stacked leading dimension, the checkpoint numbers along it.
      dtype: None for the model's dtype, or a dtype that this array always has, in the file too;
        integers of 64 bits are held in 32, which is what JAX has.
      buffer: no parameter but state, such as running statistics: stored, never trained.
    """

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    init: Init = normal
    name: str = ""
    store: str | None = None
    part: Part | None = None
    index: tuple[tuple[int, ...], ...] = ()
    dtype: Any = None
    buffer: bool = False

    def __post_init__(self):
        if len(self.shape) != len(self.axes):
            raise ValueError(
                f"{self.name}: shape {self.shape} and axes {self.axes} differ in length"
            )
        if self.part and not self.store:
            raise ValueError(f"{self.name}: a part of a stored tensor needs a store pattern")

    @property
    def names(self) -> tuple[str, ...]:
        """Every checkpoint tensor this array holds, in row-major stacking order."""
        return tuple(self.name.format(*i) for i in itertools.product(*self.index))

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of one checkpoint tensor once in memory layout."""
        return self.shape[len(self.index) :]

    def held(self, dtype: Any) -> np.dtype:
        """The dtype in memory, in a model of `dtype`."""
        return np.dtype(dtype if self.dtype is None else jax.dtypes.canonicalize_dtype(self.dtype))

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def is_spec(x: Any) -> bool:
    """Tells the leaves of a tree of declarations."""
    return isinstance(x, ArraySpec)


def tree_map(fn: Callable, specs: Tree, *rest: Tree) -> Tree:
    """`jax.tree.map` over a tree of declarations and others of its structure."""
    return jax.tree.map(fn, specs, *rest, is_leaf=is_spec)


def leaves(specs: Tree) -> list[ArraySpec]:
    """All declarations of a tree, in the order of `jax.tree.leaves` of its parameters."""
    return jax.tree.leaves(specs, is_leaf=is_spec)


def scope(prefix: str, specs: Tree) -> Tree:
    """Places a subtree under `prefix` in the checkpoint; an empty prefix changes nothing."""
    if not prefix:
        return specs
    return tree_map(lambda s: dataclasses.replace(s, name=f"{prefix}.{s.name}"), specs)


def drawn(init: Init, specs: Tree) -> Tree:
    """The same declarations with another initializer."""
    return tree_map(lambda s: dataclasses.replace(s, init=init), specs)


def stack(numbers: Iterable[int], specs: Tree, axis: str = "layers") -> Tree:
    """Repeats a subtree once per number along a new leading dimension.

    Each `name` gains the number at its first `{}`.
    """
    n = tuple(numbers)
    return tree_map(
        lambda s: dataclasses.replace(
            s, shape=(len(n), *s.shape), axes=(axis, *s.axes), index=(n, *s.index)
        ),
        specs,
    )


def init(key: jax.Array, specs: Tree, *, dtype: Any = jnp.float32, std: float = 0.02) -> Tree:
    """Draws parameters.

    A tensor's randomness depends only on `key`, its checkpoint name and its part of that tensor,
    never on the order of declaration or on stacking.
    """

    def leaf(s: ArraySpec) -> jax.Array:
        def draw(name: str) -> jax.Array:
            seed = zlib.crc32(f"{name}{s.part or ''}".encode())
            return s.init(jax.random.fold_in(key, seed), s.item_shape, s.held(dtype), std)

        return jnp.stack([draw(n) for n in s.names]).reshape(s.shape)

    return tree_map(leaf, specs)


def abstract(specs: Tree, *, dtype: Any = jnp.float32) -> Tree:
    """Shapes and dtypes without values, for `jax.eval_shape`, `jax.jit(...).lower` and export."""
    return tree_map(lambda s: jax.ShapeDtypeStruct(s.shape, s.held(dtype)), specs)


def count(specs: Tree) -> int:
    """Number of parameters, without buffers; a tensor that two leaves share is counted once."""
    seen: dict[tuple, int] = {}
    for s in leaves(specs):
        if not s.buffer:
            seen[s.names, s.part] = s.size
    return sum(seen.values())


def split(specs: Tree, tree: Tree) -> tuple[Tree, Tree]:
    """What is trained, and the buffers: two trees like `tree`, with None for the other's leaves.

    `jax.grad` is taken by the first, and `merge` joins them again.
    """
    trained = tree_map(lambda s, x: None if s.buffer else x, specs, tree)
    return trained, tree_map(lambda s, x: x if s.buffer else None, specs, tree)


def merge(first: Tree, second: Tree) -> Tree:
    """The tree `second`, its leaves replaced by those that `first` has.

    Joins the halves of `split`, and puts the `batch_stats` of a training step into the parameters.
    """
    absent = lambda x: x is None  # noqa: E731
    return jax.tree.map(lambda a, b: b if a is None else a, first, second, is_leaf=absent)
