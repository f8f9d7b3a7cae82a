"""Convolutions over time. Letters: B batch, T steps, U steps after striding, C channels in, O out.

Weights keep the order of the checkpoint, `(out, in / groups, width)`; arrays have channels last.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.markers import op
from zoo.spec import ArraySpec, Init, Tree, normal, ones, scope, zeros


def kaiming(key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
    """N(0, sqrt(2 / fan in)). He et al. 2015, arXiv:1502.01852."""
    return normal(key, shape, dtype, math.sqrt(2 / math.prod(shape[1:])))


def specs(
    name: str,
    out: int,
    inp: int,
    width: int,
    *,
    groups: int = 1,
    bias: bool = True,
    init: Init = kaiming,
) -> Tree:
    """`{name}.weight` `(out, inp / groups, width)` and, on request, `{name}.bias`."""
    shape = (out, inp // groups, width)
    tree = {"weight": ArraySpec(shape=shape, axes=("embed", None, None), init=init, name="weight")}
    if bias:
        tree["bias"] = ArraySpec(shape=(out,), axes=("embed",), init=zeros, name="bias")
    return scope(name, tree)


def normed_specs(name: str, out: int, inp: int, width: int, *, groups: int) -> Tree:
    """A weight as direction `v` and, for every place of the window, length `g`; and a bias."""
    tree = specs(name, out, inp, width, groups=groups)
    weight = tree.pop("weight")
    stem = f"{name}.parametrizations.weight.original"
    return tree | {
        "g": ArraySpec(shape=(1, 1, width), axes=(None,) * 3, init=ones, name=f"{stem}0"),
        "v": ArraySpec(shape=weight.shape, axes=weight.axes, init=kaiming, name=f"{stem}1"),
    }


@op("weight_norm")
def weight_norm(g: Float[Array, "#o #i k"], v: Float[Array, "o i k"]) -> Float[Array, "o i k"]:
    """Lengths and directions -> a weight. Salimans and Kingma 2016, arXiv:1602.07868."""
    length = jnp.sqrt(jnp.sum(v * v, axis=(0, 1), keepdims=True))
    return v * jnp.broadcast_to(g / length, v.shape)


@op("conv1d")
def conv1d(
    p: Tree,
    x: Float[Array, "b t c"],
    *,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    dilation: int = 1,
    groups: int = 1,
) -> Float[Array, "b u o"]:
    """x [B, T, C] -> [B, U, O]; `padding` is so many zeros before and after."""
    weight = weight_norm(p["g"], p["v"]) if "v" in p else p["weight"]
    y = jax.lax.conv_general_dilated(
        x,
        weight,
        (stride,),
        (padding,),
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "OIW", "NWC"),
        feature_group_count=groups,
    )
    return y + jnp.broadcast_to(p["bias"], y.shape) if "bias" in p else y


def lengths(count: Any, widths: Sequence[int], strides: Sequence[int]) -> Any:
    """Steps that are left of `count` after convolutions without padding, one after another."""
    for width, stride in zip(widths, strides, strict=True):
        count = (count - width) // stride + 1
    return count
