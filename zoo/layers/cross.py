"""Attention of a decoder on the output of an encoder. Vaswani et al. 2017, arXiv:1706.03762.

Letters: B batch, T queries, S places of the encoder's output, E embed, K kv heads, D head size.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from zoo.layers import linear, stack
from zoo.layers.attention import KVCache, attention
from zoo.layers.cache import Cache
from zoo.spec import ArraySpec, Tree, zeros


class Seen(NamedTuple):
    """What decoder layers see of an encoder's output.

    Attributes:
      layers: keys and values [B, S, K, D] for each layer, in the form of the decoder's layers.
      mask: bool [B, 1, 1, S], False for padding; None where there is none.
    """

    layers: Tree
    mask: jax.Array | None


def cache_specs(
    cache: Cache,
    kinds: Sequence[str],
    *,
    source: int,
    kv_heads: int,
    head_dim: int,
    layers: stack.Build = stack.loop,
) -> Cache:
    """A declared cache with room for an encoder's output of length `source` in every layer."""
    one = ArraySpec(
        shape=(cache.valid.shape[0], source, kv_heads, head_dim),
        axes=("batch", "length", "kv_heads", "head_dim"),
        init=zeros,
        name="cross.{}",
    )
    valid = dataclasses.replace(cache.valid, shape=(cache.valid.shape[0], source))
    both = layers(kinds, lambda kind: KVCache(one, one))
    return dataclasses.replace(cache, cross=both, source=valid)


def see(
    layers: Tree,
    output: Float[Array, "b s e"] | None,
    valid: Shaped[Array, "..."] | None,
    cache: Cache | None,
) -> tuple[Seen, Cache | None]:
    """Keys and values of an encoder's output [B, S, E], and the cache that remembers them.

    Without an output they are those that the cache remembers. Every one of `layers` holds its
    projections at `cross`; `valid` [B, S] is 1 for tokens and 0 for padding.

    Raises:
      ValueError: neither an output nor a cache, a cache with less room than the output takes, or
        a mask of pairs.
    """
    if output is None:
        if cache is None:
            raise ValueError("encoder_outputs: found nothing to decode from; pass a source text")
        return Seen(cache.cross, cache.source[:, None, None]), cache

    if valid is not None and valid.ndim != 2:
        raise ValueError(
            f"attention_mask: has shape {tuple(valid.shape)}, expected [batch, length]: a decoder "
            f"sees a place of the source or does not"
        )

    def keys_and_values(p: Tree) -> KVCache:
        return KVCache(*(linear.to_heads(p["cross"][name], output) for name in "kv"))

    found = stack.each(keys_and_values, layers)
    if cache is None:
        return Seen(found, None if valid is None else valid.astype(bool)[:, None, None]), None
    if output.shape[1] > cache.source.shape[1]:
        raise ValueError(
            f"cache: found room for {cache.source.shape[1]} places of an encoder's output, "
            f"expected {output.shape[1]}; make it with init_cache(..., source={output.shape[1]})"
        )
    shown = jnp.ones(output.shape[:2], bool) if valid is None else valid.astype(bool)
    cross = jax.tree.map(_put, cache.cross, found)
    source = _put(jnp.zeros_like(cache.source), shown)
    return Seen(cross, source[:, None, None]), dataclasses.replace(
        cache, cross=cross, source=source
    )


def _put(room: jax.Array, x: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice(room, x.astype(room.dtype), (0,) * x.ndim)


def attend(
    p: Tree,
    x: Float[Array, "b t e"],
    seen: KVCache,
    mask: Bool[Array, "#b 1 1 s"] | None,
    key: jax.Array | None = None,
    *,
    scale: float | None = None,
    rate: float = 0.0,
) -> Float[Array, "b t e"]:
    """x [B, T, E] and what a layer has `seen` -> [B, T, E]; `p` is of `attention.specs`."""
    q = linear.to_heads(p["q"], x)
    size = q.shape[-1] ** -0.5 if scale is None else scale
    y = attention(q, seen.k, seen.v, mask, None, key, scale=size, rate=rate)
    return linear.from_heads(p["o"], y)
