"""Vectors of images put where a text holds places for them.

Letters: B batch, T tokens, E embed, R vectors of all images together.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float


def fill(
    x: Float[Array, "b t e"], places: Bool[Array, "b t"], vectors: Float[Array, "r e"]
) -> Float[Array, "b t e"]:
    """x [B, T, E] with the n-th place, counted row by row, holding the n-th of the vectors [R, E].

    Shapes do not depend on how many places there are; `check` compares concrete values.
    """
    number = jnp.cumsum(places.reshape(-1)) - 1
    rows = jnp.take(vectors.astype(x.dtype), number, axis=0, mode="clip").reshape(x.shape)
    return jnp.where(places[..., None], rows, x)


def find(ids: jax.Array | None, x: jax.Array, table: jax.Array, token: int) -> Bool[Array, "b t"]:
    """Where a text holds `token`: told by its ids [B, T] or else by its vectors [B, T, E]."""
    if ids is not None:
        return ids == token
    return (x == jnp.broadcast_to(table[token].astype(x.dtype), x.shape)).all(-1)


def check(ids: Any, token: int, vectors: int, *, what: str, where: str) -> None:
    """Compares the places in ids [B, T], where these are known, with the vectors for them.

    Raises:
      ValueError: there are not as many.
    """
    if ids is None or isinstance(ids, Tracer):
        return
    places = int(np.sum(np.asarray(ids) == token))
    if places != vectors:
        raise ValueError(
            f"{where}: input_ids hold {places} {what} tokens ({token}), but the {what}s given make "
            f"{vectors} vectors; let the processor write both, and truncate neither"
        )
