"""Normalisation, of a vector over its axis or of a channel over a batch, computed in float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.markers import op
from zoo.spec import ArraySpec, Init, Tree, ones, scope, zeros


def specs(
    name: str,
    size: int,
    *,
    bias: bool = True,
    axis: str | None = "embed",
    init: Init = ones,
    from_one: bool = False,
) -> Tree:
    """`{name}.weight` and, on request, `{name}.bias`, each `(size,)`.

    `from_one` declares a scale that is stored as its distance from one, as Gemma's are.
    """
    tree = {"weight": ArraySpec(shape=(size,), axes=(axis,), init=init, name="weight")}
    if from_one:
        tree = {"weight_from_one": dataclasses.replace(tree["weight"], init=zeros)}
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

    As in the Llama checkpoints' code, the scale is applied after rounding to the dtype of `x`; as
    in Gemma's, before, where the tree holds it as its distance from one.
    """
    y = x.astype(jnp.float32)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + eps)
    if "weight_from_one" in p:
        return (y * (1 + _row(p["weight_from_one"], y))).astype(x.dtype)
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


def batch_specs(name: str, size: int, *, frozen: bool = False) -> Tree:
    """Scale and shift of every channel, and what was seen of it: mean, variance, number of batches.

    All of it is state that nothing trains where the norm is `frozen`, which counts no batches.
    """

    def row(init: Init, name: str, buffer: bool) -> ArraySpec:
        return ArraySpec(shape=(size,), axes=(None,), init=init, name=name, buffer=buffer)

    tree = {
        "weight": row(ones, "weight", frozen),
        "bias": row(zeros, "bias", frozen),
        "mean": row(zeros, "running_mean", True),
        "var": row(ones, "running_var", True),
    }
    if not frozen:
        tree["count"] = ArraySpec(
            shape=(), axes=(), init=zeros, name="num_batches_tracked", dtype=np.int64, buffer=True
        )
    return scope(name, tree)


@op("batch_norm")
def batch_norm(p: Tree, x: Float[Array, "*b c"], *, eps: float = 1e-5) -> Float[Array, "*b c"]:
    """x [..., C] -> [..., C] by the running statistics.

    Ioffe and Szegedy 2015, arXiv:1502.03167.
    """
    y = x.astype(jnp.float32)
    scale = p["weight"].astype(y.dtype) * jax.lax.rsqrt(p["var"].astype(y.dtype) + eps)
    shift = p["bias"].astype(y.dtype) - p["mean"].astype(y.dtype) * scale
    return (y * _row(scale, y) + _row(shift, y)).astype(x.dtype)


@op("batch_norm_train")
def batch_norm_train(
    p: Tree, x: Float[Array, "*b c"], *, eps: float = 1e-5, momentum: float = 0.1
) -> tuple[Float[Array, "*b c"], Tree]:
    """x [..., C] -> [..., C] by its own statistics, and the running ones after this batch.

    Those are a tree like `p` without scale and shift, to be put into the parameters by
    `spec.merge`. The running variance is that of a population, the one applied that of the batch.

    Raises:
      ValueError: one value per channel, which has no variance.
    """
    n = x.size // x.shape[-1]
    if n == 1:
        raise ValueError(
            f"batch_norm: found one value for each of {x.shape[-1]} channels, expected more to "
            f"take statistics of; train on larger batches or images"
        )
    y = x.astype(jnp.float32)
    axes = tuple(range(y.ndim - 1))
    mean = y.mean(axes)
    y = y - _row(mean, y)
    var = (y * y).mean(axes)
    scale = p["weight"].astype(y.dtype) * jax.lax.rsqrt(var + eps)
    y = y * _row(scale, y) + _row(p["bias"], y)

    def after(old: jax.Array, new: jax.Array) -> jax.Array:
        return jax.lax.stop_gradient(old + momentum * (new.astype(old.dtype) - old))

    seen = {"mean": after(p["mean"], mean), "var": after(p["var"], var * (n / (n - 1)))}
    seen |= {"count": p["count"] + 1, "weight": None, "bias": None}
    return y.astype(x.dtype), seen


@op("group_norm")
def group_norm(
    p: Tree, x: Float[Array, "b *s c"], *, groups: int, eps: float = 1e-5
) -> Float[Array, "b *s c"]:
    """x [B, ..., C] -> [B, ..., C], each group of channels over all places of a row.

    Wu and He 2018, arXiv:1803.08494.
    """
    y = x.astype(jnp.float32).reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    y = y - jnp.mean(y, (1, 3), keepdims=True)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, (1, 3), keepdims=True) + eps)
    y = y.reshape(x.shape)
    return (y * _row(p["weight"], y) + _row(p["bias"], y)).astype(x.dtype)
