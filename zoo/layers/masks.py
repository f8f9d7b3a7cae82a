"""Masks of objects from vectors of objects: attention over a map, made finer by earlier maps.

Carion et al. 2020, arXiv:2005.12872. Letters: B batch, Q queries, N heads, H height, W width, E
embed, C channels.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from zoo.layers import activation, conv, grid, linear, norm
from zoo.spec import Tree, uniform

GROUPS = 8  # of channels in a norm


def attention_specs(name: str, embed: int, heads: int) -> Tree:
    """Projections of queries and of places."""

    def one(part: str) -> Tree:
        return linear.to_heads_specs(
            f"{name}.{part}", heads, embed // heads, embed, axis="heads", bias=True
        )

    return {"q": one("q_linear"), "k": one("k_linear")}


def attend(
    p: Tree, x: Float[Array, "b q e"], places: Float[Array, "b h w e"], valid: Bool[Array, "b h w"]
) -> Float[Array, "b q h w n"]:
    """Queries x [B, Q, E] over a map [B, H, W, E] -> shares [B, Q, H, W, N].

    Those of a query add up to one over places and heads; places that are not `valid` get none.
    """
    b, h, w, e = places.shape
    q = linear.to_heads(p["q"], x)
    k = linear.to_heads(p["k"], places.reshape(b, h * w, e))
    scores = jnp.einsum("bqnd,bsnd->bqsn", q * q.shape[-1] ** -0.5, k).astype(jnp.float32)
    seen = valid.reshape(b, 1, h * w, 1)
    least = jnp.finfo(scores.dtype).min
    scores = scores + jnp.broadcast_to(jnp.where(seen, 0.0, least), scores.shape)
    shape = scores.shape
    shares = jax.nn.softmax(scores.reshape(*shape[:2], -1), axis=-1)
    return shares.reshape(b, shape[1], h, w, shape[3]).astype(x.dtype)


def specs(name: str, *, inputs: int, embed: int, channels: Sequence[int]) -> Tree:
    """Convolutions from `inputs` channels to one, joined by maps of `channels`, smallest first."""
    widths = (inputs, *(embed // 2**i for i in range(1, 5)))
    before = (inputs, *widths[:-1])

    def unit(name: str, out: int, inp: int, size: int) -> Tree:
        init = uniform(math.sqrt(3 / (inp * size * size)))
        return conv.specs(name, out, inp, size, axes=(None, None), init=init)

    return {
        "convs": tuple(
            {
                "conv": unit(f"{name}.lay{i + 1}", out, inp, 3),
                "norm": norm.specs(f"{name}.gn{i + 1}", out, axis=None),
            }
            for i, (out, inp) in enumerate(zip(widths, before, strict=True))
        ),
        "adapters": tuple(
            unit(f"{name}.adapter{i + 1}", out, inp, 1)
            for i, (out, inp) in enumerate(zip(widths[1:4], channels, strict=True))
        ),
        "out": unit(f"{name}.out_lay", 1, widths[-1], 3),
    }


def masks(
    p: Tree,
    places: Float[Array, "b h w e"],
    shares: Float[Array, "b q h w n"],
    maps: Sequence[jax.Array],
    *,
    act: str,
) -> Float[Array, "b q h2 w2"]:
    """A map and the shares of its places -> masks [B, Q, H', W'] as fine as the last of `maps`."""
    b, queries = shares.shape[:2]

    def unit(q: Tree, x: jax.Array) -> jax.Array:
        x = conv.conv(q["conv"], x, padding=1)
        x = norm.group_norm(q["norm"], x, groups=min(GROUPS, x.shape[-1]))
        return activation.activation(x, name=act)

    x = jnp.broadcast_to(places[:, None], (b, queries, *places.shape[1:]))
    x = jnp.concatenate([x, shares], axis=-1)
    x = x.reshape(b * queries, *x.shape[2:])
    first, second, *later = p["convs"]
    x = unit(second, unit(first, x))
    for q, adapter, fine in zip(later, p["adapters"], maps, strict=True):
        fine = conv.conv(adapter, fine)  # the same for every query of an image
        sides = (fine.shape[1], fine.shape[2])
        x = grid.resize(x, sides)
        x = unit(q, x + jnp.repeat(fine, queries, axis=0))
    x = conv.conv(p["out"], x, padding=1)
    return x.reshape(b, queries, *x.shape[1:3])
