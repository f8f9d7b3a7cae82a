"""Places of a map of features: their positions, and masks of pixels made as small as the map.

Letters: B batch, H height, W width, E embed.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from zoo.spec import ArraySpec, Tree, scope


def nearest(size: int, wanted: int) -> np.ndarray:
    """For each of the `wanted` places the one of `size` that stands for it, as PyTorch takes it."""
    at = np.floor(np.arange(wanted, dtype=np.float32) * np.float32(size / wanted))
    return np.minimum(at.astype(np.int32), size - 1)


def resize(x: jax.Array, sides: tuple[int, int]) -> jax.Array:
    """x [B, H, W, ...] -> [B, *sides, ...], each place a copy of the nearest."""
    x = jnp.take(x, nearest(x.shape[1], sides[0]), axis=1)
    return jnp.take(x, nearest(x.shape[2], sides[1]), axis=2)


def sines(valid: Bool[Array, "b h w"], size: int) -> Float[Array, "b h w e"]:
    """Sines and cosines of how far down, then of how far across: [B, H, W, size].

    Places are counted among those that are `valid`, as shares of a whole turn. Carion et al. 2020,
    arXiv:2005.12872.
    """
    half = size // 2
    pace = 10000.0 ** (2 * (np.arange(half) // 2) / half)

    def one(axis: int) -> jax.Array:
        count = jnp.cumsum(valid.astype(jnp.float32), axis=axis)
        total = jnp.broadcast_to(jnp.take(count, jnp.array([-1]), axis=axis), count.shape)
        turn = count / (total + 1e-6) * (2 * math.pi)
        shape = (*turn.shape, half)
        angle = (
            jnp.broadcast_to(turn[..., None], shape)
            / jnp.asarray(pace, jnp.float32)[None, None, None]
        )
        waves = jnp.stack([jnp.sin(angle[..., 0::2]), jnp.cos(angle[..., 1::2])], axis=-1)
        return waves.reshape(shape)

    return jnp.concatenate([one(1), one(2)], axis=-1)


def learned_specs(name: str, count: int, size: int) -> Tree:
    """A vector for each of `count` rows, and one for each column, half of `size` long."""

    def half(part: str) -> ArraySpec:
        shape = (count, size // 2)
        return ArraySpec(shape=shape, axes=(None, None), init=_unit, name=f"{part}.weight")

    return scope(name, {"rows": half("row_embeddings"), "columns": half("column_embeddings")})


def _unit(key, shape, dtype, std):
    return jax.random.uniform(key, shape, dtype)


def learned(p: Tree, sides: tuple[int, int]) -> Float[Array, "1 h w e"]:
    """The vectors of columns, then of rows: [1, H, W, size].

    Raises:
      ValueError: a map with more rows or columns than there are vectors.
    """
    most = p["rows"].shape[0]
    if max(sides) > most:
        raise ValueError(
            f"pixel_values: found a map of {sides[0]} x {sides[1]}, expected at most {most} rows "
            f"and columns, which have learned positions; pass smaller images"
        )
    across = jnp.broadcast_to(p["columns"][None, : sides[1]], (*sides, p["columns"].shape[1]))
    down = jnp.broadcast_to(p["rows"][: sides[0], None], (*sides, p["rows"].shape[1]))
    return jnp.concatenate([across, down], axis=-1)[None]
