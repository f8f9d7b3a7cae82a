"""Normalisation over the last axis, computed in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.markers import op
from zoo.spec import ArraySpec, Init, Tree, ones, scope, zeros


def specs(
    name: str, size: int, *, bias: bool = True, axis: str | None = "embed", init: Init = ones
) -> Tree:
    """`{name}.weight` and, on request, `{name}.bias`, each `(size,)`."""
    tree = {"weight": ArraySpec(shape=(size,), axes=(axis,), init=init, name="weight")}
    if bias:
        tree["bias"] = ArraySpec(shape=(size,), axes=(axis,), init=zeros, name="bias")
    return scope(name, tree)


def _row(p: jax.Array, like: jax.Array) -> jax.Array:
    return jnp.broadcast_to(p.astype(like.dtype), like.shape)


@op("layer_norm")
def layer_norm(p: Tree, x: Float[Array, "... e"], *, eps: float) -> Float[Array, "... e"]:
    """x [..., E] -> [..., E]. Ba et al. 2016, arXiv:1607.06450."""
    y = x.astype(jnp.float32)
    y = y - jnp.mean(y, -1, keepdims=True)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + eps)
    y = y * _row(p["weight"], y)
    if "bias" in p:
        y = y + _row(p["bias"], y)
    return y.astype(x.dtype)


@op("rms_norm")
def rms_norm(p: Tree, x: Float[Array, "... e"], *, eps: float) -> Float[Array, "... e"]:
    """x [..., E] -> [..., E]. Zhang and Sennrich 2019, arXiv:1910.07467.

    As in the Llama checkpoints' code, the scale is applied after rounding to the dtype of `x`.
    """
    y = x.astype(jnp.float32)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + eps)
    return _row(p["weight"], x) * y.astype(x.dtype)


@op("instance_norm")
def instance_norm(p: Tree, x: Float[Array, "b t e"], *, eps: float) -> Float[Array, "b t e"]:
    """x [B, T, E] -> [B, T, E], each channel over all of its steps: a group norm of one channel.

    Wu and He 2018, arXiv:1803.08494.
    """
    y = x.astype(jnp.float32)
    y = y - jnp.mean(y, 1, keepdims=True)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, 1, keepdims=True) + eps)
    return (y * _row(p["weight"], y) + _row(p["bias"], y)).astype(x.dtype)
