"""Learned weights for the distance between query and key: vectors, or scalars by bucket.

Shaw et al. 2018, arXiv:1803.02155; Huang et al. 2020, arXiv:2009.13658; Raffel et al. 2019,
arXiv:1910.10683; He et al. 2020, arXiv:2006.03654.
Letters: B batch, T queries, S keys, N heads, D head size.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from zoo.spec import ArraySpec, Tree, scope

FARTHEST = 1 << 20  # tokens; no text is longer, and tables of buckets stay small


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


def bias_specs(name: str, count: int, heads: int) -> Tree:
    """`{name}.weight` `(count, heads)`: what each head adds to scores in each bucket."""
    weight = ArraySpec(shape=(count, heads), axes=(None, "heads"), name="weight")
    return scope(name, {"weight": weight})


def bias(
    p: Tree,
    queries: Integer[Array, "b t"],
    keys: Integer[Array, "b s"],
    *,
    count: int,
    longest: int,
    both_sides: bool,
) -> Float[Array, "b n t s"]:
    """Where queries [1 or B, T] and keys [1 or B, S] stand -> a bias on scores."""
    distance = keys[:, None, :] - queries[:, :, None]
    rows = bucket(distance, count=count, longest=longest, both_sides=both_sides)
    return jnp.take(p["weight"], rows, axis=0, mode="clip").transpose(0, 3, 1, 2)


def bucket(
    distance: Integer[Array, "*shape"], *, count: int, longest: int, both_sides: bool
) -> Integer[Array, "*shape"]:
    """Distances (key minus query, in tokens) -> buckets below `count`.

    Half of the buckets hold one distance each, the others ever more, up to the distance `longest`;
    the last holds all beyond. With `both_sides` later keys have a second half of buckets to
    themselves; without, they share that of distance zero.

    Raises:
      ValueError: `longest` lies within the buckets of one distance each.
    """
    count = count // 2 if both_sides else count
    exact = count // 2
    if not 0 < exact < longest:
        raise ValueError(
            f"relative positions: found {count} buckets up to a distance of {longest}, expected at "
            f"least 2 and a distance beyond {exact}; correct the number or the distance"
        )
    # A table, so that no backend's logarithm decides where a bucket begins.
    far = np.arange(min(longest, FARTHEST) + 1)
    ratio = np.log(np.maximum(far, exact).astype(np.float32) / exact) / math.log(longest / exact)
    grown = exact + (ratio * (count - exact)).astype(np.int32)
    table = np.where(far < exact, far, np.minimum(grown, count - 1)).astype(np.int32)
    steps = jnp.abs(distance) if both_sides else jnp.maximum(-distance, 0)
    near = jnp.take(jnp.asarray(table), jnp.minimum(steps, far[-1]), axis=0)
    return near + jnp.where(distance > 0, count, 0) if both_sides else near


def signed_buckets(count: int, longest: int) -> np.ndarray:
    """Distances of any sign fall into buckets from `-count` to `count`: those of 0, 1, 2, ...

    Up to half of `count` a bucket holds one distance, beyond ever more, up to `longest`. The last
    entry is that of all greater distances.

    Raises:
      ValueError: `longest` lies within the buckets of one distance each.
    """
    exact = count // 2
    if not 0 < exact < longest - 1:
        raise ValueError(
            f"relative positions: found {count} buckets up to a distance of {longest}, expected at "
            f"least 2 and a distance beyond {exact + 1}; correct the number or the distance"
        )
    # From this distance on every bucket is at least `count`; with `exact` 1, one holds them all.
    last = math.ceil(exact * ((longest - 1) / exact) ** (exact / max(exact - 1, 1))) + 1
    far = np.arange(min(last, FARTHEST) + 1)
    ratio = np.log(np.maximum(far, exact).astype(np.float32) / np.float32(exact))
    ratio = ratio / np.log(np.float32((longest - 1) / exact))
    grown = np.ceil(ratio * (exact - 1)).astype(np.int32) + exact
    return np.where(far <= exact, far, np.minimum(grown, count)).astype(np.int32)


def signed_bucket(
    distance: Integer[Array, "*shape"], *, count: int, longest: int
) -> Integer[Array, "*shape"]:
    """Distances (query minus key, in tokens) -> their `signed_buckets`."""
    table = signed_buckets(count, longest)
    near = jnp.minimum(jnp.abs(distance), len(table) - 1)
    return jnp.sign(distance) * jnp.take(jnp.asarray(table), near, axis=0)


def disentangled(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    rows: Integer[Array, "t s"],
    *,
    keys: Float[Array, "r n d"] | None,
    queries: Float[Array, "r n d"] | None,
) -> Float[Array, "b n t s"]:
    """Unscaled scores of contents with distances, whose vectors are `rows` of R.

    He et al. 2020, arXiv:2006.03654: queries with the `keys` of distances, keys with the `queries`
    of distances, or both.
    """
    y = jnp.zeros((q.shape[0], q.shape[2], q.shape[1], k.shape[1]), q.dtype)
    if keys is not None:
        scores = jnp.einsum("btnd,rnd->bntr", q, keys)
        y = y + jnp.take_along_axis(scores, rows[None, None], axis=-1)
    if queries is not None:
        scores = jnp.einsum("bsnd,rnd->bnsr", k, queries)
        y = y + jnp.take_along_axis(scores, rows.T[None, None], axis=-1).swapaxes(-1, -2)
    return y
