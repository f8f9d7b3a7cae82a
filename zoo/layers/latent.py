"""Multi-head latent attention: keys and values of all heads come from one small vector per token.

DeepSeek-AI 2024, arXiv:2405.04434. Only that vector and one rotated key are remembered.
Letters: B batch, T queries, S keys, E embed, N heads, D head size, R rank of the latent vector.
"""

import jax
import jax.numpy as jnp

from zoo.layers import attention, linear, norm, rope, stack
from zoo.layers import cache as caching
from zoo.layers.attention import Context, KVCache
from zoo.spec import ArraySpec, Part, Tree, zeros


def specs(
    *,
    embed: int,
    heads: int,
    query_rank: int | None,
    rank: int,
    plain: int,
    rotary: int,
    value: int,
    bias: bool,
) -> Tree:
    """Projections of heads whose keys have `plain` and `rotary` dimensions, and values `value`.

    Queries go through a latent vector of their own where there is a `query_rank`.
    """
    size, fused = plain + rotary, plain + value

    def queries(name: str, inp: int) -> Tree:
        return linear.to_heads_specs(name, heads, size, inp, axis="heads", bias=False)

    def part(start: int, width: int) -> Tree:
        part = Part(axis="d", start=start, total=fused)
        return linear.to_heads_specs(
            "kv_b_proj", heads, width, rank, axis="heads", bias=False, part=part
        )

    tree = {
        "kv_a": linear.specs(
            "kv_a_proj_with_mqa", rank + rotary, embed, axes=(None, "embed"), bias=bias
        ),
        "kv_norm": norm.specs("kv_a_layernorm", rank, bias=False, axis=None),
        "k": part(0, plain),
        "v": part(plain, value),
        "o": linear.from_heads_specs("o_proj", embed, heads, value, bias=bias),
    }
    if query_rank is None:
        return tree | {"q": queries("q_proj", embed)}
    return tree | {
        "q_a": linear.specs("q_a_proj", query_rank, embed, axes=(None, "embed"), bias=bias),
        "q_norm": norm.specs("q_a_layernorm", query_rank, bias=False, axis=None),
        "q": queries("q_b_proj", query_rank),
    }


def cache_specs(
    kinds: tuple[str, ...],
    *,
    batch: int,
    length: int,
    rank: int,
    rotary: int,
    layers: stack.Build = stack.loop,
) -> caching.Cache:
    """Latent vectors, and keys that are rotated already, of `length` tokens in every layer."""

    def one(size: int) -> ArraySpec:
        return ArraySpec(
            shape=(batch, length, 1, size),
            axes=("batch", "length", None, None),
            init=zeros,
            name="cache.{}",
        )

    both = KVCache(one(rotary), one(rank))
    return caching.specs(layers(kinds, lambda kind: both), batch=batch, length=length)


def attend(
    p: Tree,
    x: jax.Array,
    cache: KVCache | None,
    context: Context,
    key: jax.Array | None = None,
    *,
    scale: float,
    interleaved: bool,
    eps: float = 1e-6,
    rate: float = 0.0,
) -> tuple[jax.Array, KVCache | None]:
    """Self-attention: x [B, T, E] -> (y [B, T, E], cache).

    `interleaved` rotates each dimension with its neighbour, not with that half a head away.
    """
    inner = norm.rms_norm(p["q_norm"], linear.linear(p["q_a"], x), eps=eps) if "q_a" in p else x
    q, both = linear.to_heads(p["q"], inner), linear.linear(p["kv_a"], x)
    plain, rank = p["k"]["weight"].shape[-2:]
    latent = norm.rms_norm(p["kv_norm"], both[..., :rank], eps=eps)[:, :, None]
    rotated = _rotate(both[:, :, None, rank:], context, interleaved)
    q = q[..., :plain], _rotate(q[..., plain:], context, interleaved)
    if cache is not None:
        cache = attention.write(cache, rotated, latent, context.start)
        rotated, latent = cache
    run = _absorbed if cache is not None and _few(x.shape[1], p) else _expanded
    y = run(p, q, rotated.astype(x.dtype), latent.astype(x.dtype), context.mask, key, scale, rate)
    return linear.from_heads(p["o"], y), cache


def _rotate(x: jax.Array, context: Context, interleaved: bool) -> jax.Array:
    if interleaved:
        x = jnp.concatenate([x[..., 0::2], x[..., 1::2]], axis=-1)
    return x if context.rotation is None else rope.rotate(x, context.rotation)


def _few(queries: int, p: Tree) -> bool:
    """Whether so many queries are better compared with latent vectors than with expanded keys.

    Comparing costs 2 R for each query and key instead of the sizes of a key and a value, but
    nothing is expanded, which costs R times these sizes for each key.
    """
    (_, plain, rank), value = p["k"]["weight"].shape, p["v"]["weight"].shape[1]
    size = plain + value
    return not isinstance(queries, int) or queries * (2 * rank - size) <= rank * size


def _expanded(p, q, rotated, latent, mask, key, scale, rate) -> jax.Array:
    """Every head's own keys and values, made of the latent vectors."""
    k, v = (linear.to_heads(p[name], latent[:, :, 0]) for name in "kv")
    shared = jnp.broadcast_to(rotated, (*k.shape[:-1], rotated.shape[-1]))
    q, k = jnp.concatenate(q, axis=-1), jnp.concatenate([k, shared], axis=-1)
    return attention.attention(q, k, v, mask, None, key, scale=scale, rate=rate)


def _absorbed(p, q, rotated, latent, mask, key, scale, rate) -> jax.Array:
    """Queries taken to the latent space, what they find there taken to every head's values.

    All heads see the same keys there, so that they stand beside each other as more queries.
    """
    plain, turned = q
    batch, length, heads, _ = plain.shape
    plain = jnp.einsum("btnd,ndr->btnr", plain, p["k"]["weight"])
    q = jnp.concatenate([plain, turned], axis=-1).reshape(batch, length * heads, 1, -1)
    k = jnp.concatenate([latent, rotated], axis=-1)
    mask = None if mask is None else jnp.repeat(mask, heads, axis=2)
    y = attention.attention(q, k, latent, mask, None, key, scale=scale, rate=rate)
    return jnp.einsum("btnr,ndr->btnd", y.reshape(batch, length, heads, -1), p["v"]["weight"])
