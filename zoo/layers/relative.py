"""Learned embeddings of the distance between query and key.

Shaw et al. 2018, arXiv:1803.02155; Huang et al. 2020, arXiv:2009.13658.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.spec import ArraySpec, Tree, scope


def specs(name: str, positions: int, head_dim: int) -> Tree:
    """`{name}.weight` `(2 * positions - 1, head_dim)`: one row per distance."""
    weight = ArraySpec(shape=(2 * positions - 1, head_dim), axes=(None, "head_dim"), name="weight")
    return scope(name, {"weight": weight})


def scores(
    p: Tree,
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    start: jax.Array | None,
    *,
    keys_too: bool,
) -> Float[Array, "b n t s"]:
    """q [B, T, N, D] from slot `start` on, k [B, S, N, D] -> unscaled scores [B, N, T, S].

    `keys_too` adds the product with the keys (`relative_key_query`) to that with the queries.
    """
    queries = jnp.arange(q.shape[1]) + (0 if start is None else start)
    distance = queries[:, None] - jnp.arange(k.shape[1])[None, :]
    rows = jnp.take(p["weight"], distance + p["weight"].shape[0] // 2, axis=0, mode="clip")
    y = jnp.einsum("btnd,tsd->bnts", q, rows)
    return y + jnp.einsum("bsnd,tsd->bnts", k, rows) if keys_too else y
