"""Dropout. Srivastava et al. 2014. Off unless a random key is given."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.markers import op

# Folded into the key of a call; layers fold in their numbers.
EMBEDDINGS, HEAD, LAYER = 1 << 19, 1 << 20, 1 << 21


@op("dropout")
def dropout(
    x: Float[Array, "*shape"], key: jax.Array | None, *, rate: float
) -> Float[Array, "*shape"]:
    """Zeroes each element with probability `rate` and scales the rest; the identity without key."""
    if key is None or rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))


def drop_path(x: jax.Array, key: jax.Array | None, rate: jax.Array | float) -> jax.Array:
    """Leaves out a branch x [B, ...] for each row with probability `rate`, and scales the rest.

    Huang et al. 2016, arXiv:1603.09382. `rate` may depend on the number of a scanned layer.
    """
    if key is None or (not isinstance(rate, jax.Array) and rate == 0):
        return x
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0], *(1,) * (x.ndim - 1)))
    return jnp.where(keep, x / jnp.asarray(1 - rate, x.dtype), jnp.zeros_like(x))


def keys(key: jax.Array | None, n: int) -> tuple[jax.Array | None, ...]:
    """`n` independent keys, or `n` times None."""
    return (None,) * n if key is None else tuple(jax.random.split(key, n))


def fold(key: jax.Array | None, number: Any) -> jax.Array | None:
    """The key of one part of a model, or None."""
    return None if key is None else jax.random.fold_in(key, number)


def layer_drop(x: jax.Array, y: jax.Array, key: jax.Array | None, *, rate: float) -> jax.Array:
    """A layer's output `y`, or with probability `rate` its input `x`. arXiv:1909.11556."""
    if key is None or rate == 0:
        return y
    return jnp.where(jax.random.bernoulli(jax.random.fold_in(key, LAYER), rate), x, y)
