"""Multi-head attention, also grouped-query.

Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245.
Letters: B batch, T queries, S keys, E embed, N query heads, K kv heads, D head size.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from zoo.layers import cache as caching
from zoo.layers import linear, norm, rope, stack
from zoo.layers.activation import capped
from zoo.layers.dropout import dropout
from zoo.layers.mask import Mask
from zoo.markers import op
from zoo.spec import ArraySpec, Part, Tree, zeros


class KVCache(NamedTuple):
    """Keys and values of one layer, [B, S, K, D]: a value that goes in and comes out.

    Layers with a window keep a ring of their last S tokens: token i is at slot i modulo S.
    """

    k: Any
    v: Any


class Context(NamedTuple):
    """What the layers of one kind share during one call.

    Attributes:
      mask: bool, broadcasts to [B, 1, T, S]; None where every query sees every key.
      rotation: of the new tokens, for models with rotary positions.
      start: the cache slot of the first new token.
      bias: added to the scaled scores, broadcasts to [B, N, T, S].
      slots: int [T], where a ring keeps each of several new tokens, past its end for those that it
        does not keep; None where they are written from `start` on.
    """

    mask: jax.Array | None = None
    rotation: rope.Rotation | None = None
    start: jax.Array | None = None
    bias: jax.Array | None = None
    slots: jax.Array | None = None


def context(
    tokens: caching.Tokens,
    *,
    causal: bool = True,
    window: int | None = None,
    rotation: rope.Rotation | None = None,
    bias: jax.Array | None = None,
) -> Context:
    """What layers share that see `window` tokens, or all: with a cache, one of `cache_specs`."""
    start, slots = tokens.start, None
    if window is not None and start is not None and tokens.valid is not None:
        size = caching.ring_size(window, tokens.valid.shape[1])
        # One token overwrites nothing it may see, so that the ring can be updated in place and then
        # read. Where the length is symbolic the other way serves one token as well.
        alone = tokens.slots.shape[1] == 1
        if alone:
            start = start % size
        else:
            kept = tokens.slots[0] > tokens.slots[0, -1] - size
            slots = jnp.where(kept, tokens.slots[0] % size, size)
        tokens = tokens.in_ring(size, written=alone)
    mask = Mask(
        valid=tokens.valid, queries=tokens.slots, keys=tokens.keys, causal=causal, window=window
    ).array()
    return Context(mask=mask, rotation=rotation, start=start, bias=bias, slots=slots)


def specs(
    *,
    embed: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    bias: bool = False,
    out_bias: bool = False,
    qk_norm: bool = False,
    from_one: bool = False,
    names: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "o_proj"),
) -> Tree:
    """Projections `q k v o` under the checkpoint's `names`, and norms of q and k on request.

    `from_one` is that of `norm.specs`.
    """
    q, k, v, o = names
    tree = {
        "q": linear.to_heads_specs(q, heads, head_dim, embed, axis="heads", bias=bias),
        "k": linear.to_heads_specs(k, kv_heads, head_dim, embed, axis="kv_heads", bias=bias),
        "v": linear.to_heads_specs(v, kv_heads, head_dim, embed, axis="kv_heads", bias=bias),
        "o": linear.from_heads_specs(o, embed, heads, head_dim, bias=out_bias),
    }
    if qk_norm:
        options = {"bias": False, "axis": "head_dim", "from_one": from_one}
        tree["q_norm"] = norm.specs("q_norm", head_dim, **options)
        tree["k_norm"] = norm.specs("k_norm", head_dim, **options)
    return tree


def fused_specs(
    *,
    embed: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    names: tuple[str, str],
    bias: bool = False,
    out_bias: bool = False,
    by_head: bool = False,
) -> Tree:
    """Projections `q k v`, one tensor in the checkpoint, and `o`, under its `names`.

    The tensor holds all queries, then all keys, then all values; or with `by_head`, for as many
    key heads as heads, the query, key and value of the first head, then those of the next.
    """
    fused, o = names
    sizes = {"q": heads, "k": kv_heads, "v": kv_heads}
    tree, start = {}, 0
    for i, (key, size) in enumerate(sizes.items()):
        part = Part(axis="n", start=start, total=heads + 2 * kv_heads)
        if by_head:
            part = Part(axis="r", start=i, total=3)
        axis = "heads" if key == "q" else "kv_heads"
        tree[key] = linear.to_heads_specs(
            fused, size, head_dim, embed, axis=axis, bias=bias, part=part
        )
        start += size
    return tree | {"o": linear.from_heads_specs(o, embed, heads, head_dim, bias=out_bias)}


def cache_specs(
    kinds: Sequence[str],
    *,
    batch: int,
    length: int,
    kv_heads: int,
    head_dim: int,
    layers: stack.Build = stack.loop,
    windows: Mapping[str, int | None] = MappingProxyType({}),
) -> caching.Cache:
    """Room for `length` tokens in every layer, or for its window where `windows` has one."""

    def of(kind: str) -> KVCache:
        window = windows.get(kind)
        room = length if window is None else caching.ring_size(window, length)
        one = ArraySpec(
            shape=(batch, room, kv_heads, head_dim),
            axes=("batch", "length", "kv_heads", "head_dim"),
            init=zeros,
            name="cache.{}",
        )
        return KVCache(one, one)

    return caching.specs(layers(kinds, of), batch=batch, length=length)


@op("attention")
def attention(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s k d"],
    v: Float[Array, "b s k f"],
    mask: Bool[Array, "#b #n #t s"] | None,
    bias: Float[Array, "#b #n #t s"] | None = None,
    key: jax.Array | None = None,
    sinks: Float[Array, " n"] | None = None,
    *,
    scale: float,
    softcap: float | None = None,
    rate: float = 0.0,
) -> Float[Array, "b t n f"]:
    """q [B, T, N, D], k [B, S, K, D] and v [B, S, K, F] -> [B, T, N, F].

    `mask` is True where a query may attend and broadcasts to [B, N, T, S]; `bias` is added to the
    scaled scores; `key` switches on dropout of the probabilities at `rate`. A query that may
    attend to nothing attends to everything equally and passes its gradient on, as in transformers:
    the mask is added, and swallows the score. `sinks` are scores of a key without a value.
    """
    groups = q.shape[2] // k.shape[2]
    if groups > 1:
        k, v = jnp.repeat(k, groups, axis=2), jnp.repeat(v, groups, axis=2)
    q, k, v = q.transpose(0, 2, 1, 3), k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)
    scores = jnp.einsum("bntd,bnds->bnts", q * scale, k, preferred_element_type=jnp.float32)
    if bias is not None:
        scores = scores + jnp.broadcast_to(bias.astype(scores.dtype), scores.shape)
    if softcap is not None:
        scores = capped(scores, softcap)
    if mask is not None:
        scores = scores + jnp.where(mask, 0.0, jnp.finfo(scores.dtype).min).astype(scores.dtype)
    highest = scores.max(-1, keepdims=True)
    if sinks is not None:
        sink = jnp.broadcast_to(sinks.astype(scores.dtype)[:, None, None], highest.shape)
        highest = jnp.maximum(highest, sink)
    highest = jax.lax.stop_gradient(highest)
    weights = jnp.exp(scores - highest)
    total = weights.sum(-1, keepdims=True)
    if sinks is not None:
        total = total + jnp.exp(sink - highest)
    weights = dropout(weights.astype(v.dtype), key, rate=rate)
    y = jnp.einsum("bnts,bnsd->bntd", weights, v) / total.astype(v.dtype)
    return y.transpose(0, 2, 1, 3)


def attend(
    p: Tree,
    x: jax.Array,
    cache: KVCache | None,
    context: Context,
    key: jax.Array | None = None,
    *,
    scale: float | None = None,
    softcap: float | None = None,
    eps: float = 1e-6,
    rate: float = 0.0,
    gain: jax.Array | None = None,
    bias: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> tuple[jax.Array, KVCache | None]:
    """Self-attention: x [B, T, E] -> (y [B, T, E], cache).

    Without a cache S = T; with one S is its length, and T more for several tokens beside a ring.
    `eps` is that of the norms of q and k, where the tree holds them. `gain` is a
    scalar on the scores beside the static `scale`; `bias(q, k)` is added to the scaled scores in
    place of `context.bias`.
    """
    q, k, v = (linear.to_heads(p[name], x) for name in "qkv")
    if "q_norm" in p:
        q, k = norm.rms_norm(p["q_norm"], q, eps=eps), norm.rms_norm(p["k_norm"], k, eps=eps)
    if context.rotation is not None:
        q, k = rope.rotate(q, context.rotation), rope.rotate(k, context.rotation)
    if cache is not None:
        (k, v), cache = remember(cache, k, v, context)
    if gain is not None:
        q = q * gain.astype(q.dtype)
    y = attention(
        q,
        k,
        v,
        context.mask,
        bias(q, k) if bias else context.bias,
        key,
        p.get("sinks"),
        scale=q.shape[-1] ** -0.5 if scale is None else scale,
        softcap=softcap,
        rate=rate,
    )
    return linear.from_heads(p["o"], y), cache


def remember(
    cache: KVCache, k: jax.Array, v: jax.Array, context: Context
) -> tuple[KVCache, KVCache]:
    """New keys and values [B, T, K, D] -> those that queries may see, and the cache for later.

    Queries see a ring as it was, then all new tokens: in the ring the last would have overwritten
    what the first may see.
    """
    new = KVCache(k.astype(cache.k.dtype), v.astype(cache.v.dtype))
    if context.slots is None:
        cache = write(cache, *new, context.start)
        return cache, cache
    seen = (jnp.concatenate(pair, axis=1) for pair in zip(cache, new, strict=True))
    kept = (x.at[:, context.slots].set(y, mode="drop") for x, y in zip(cache, new, strict=True))
    return KVCache(*seen), KVCache(*kept)


def write(cache: KVCache, k: jax.Array, v: jax.Array, start: jax.Array | None) -> KVCache:
    """Puts new keys and values [B, T, K, D] into the cache from slot `start` on."""
    at = (0, 0 if start is None else start, 0, 0)
    return KVCache(
        jax.lax.dynamic_update_slice(cache.k, k.astype(cache.k.dtype), at),
        jax.lax.dynamic_update_slice(cache.v, v.astype(cache.v.dtype), at),
    )
