"""Convolutions and pooling over images, channels last in memory and `OIHW` in the weights.

Letters: B batch, H height, W width, I input channels, O output channels, C channels.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.markers import op
from zoo.spec import ArraySpec, Init, Tree, normal, scope, zeros


def he_normal(key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
    """N(0, sqrt(2 / fan-out)), of weights `OIHW` before a relu.

    He et al. 2015, arXiv:1502.01852.
    """
    fan_out = shape[0] * math.prod(shape[2:])
    return normal(key, shape, dtype, math.sqrt(2 / fan_out))


def specs(
    name: str,
    out: int,
    inp: int,
    size: int | tuple[int, int],
    *,
    axes: tuple[str | None, str | None] = ("mlp", "embed"),
    bias: bool = True,
    groups: int = 1,
    init: Init = normal,
) -> Tree:
    """`{name}.weight` `(out, inp / groups, *size)` and, on request, `{name}.bias`."""
    kernel = (size, size) if isinstance(size, int) else size
    weight = ArraySpec(
        shape=(out, inp // groups, *kernel), axes=(*axes, None, None), init=init, name="weight"
    )
    tree = {"weight": weight}
    if bias:
        tree["bias"] = ArraySpec(shape=(out,), axes=axes[:1], init=zeros, name="bias")
    return scope(name, tree)


@op("conv")
def conv(
    p: Tree,
    x: Float[Array, "b h w i"],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Float[Array, "b h2 w2 o"]:
    """x [B, H, W, I] -> [B, H', W', O], as PyTorch pads; adds a bias where the tree holds one.

    A window of one pixel is a matrix product, which XLA on CPU runs faster when it is told so.
    """
    weight = p["weight"]
    if weight.shape[2:] == (1, 1) and not padding and groups == 1:
        y = jnp.einsum("bhwi,oi->bhwo", x[:, ::stride, ::stride], weight[:, :, 0, 0])
    else:
        y = jax.lax.conv_general_dilated(
            x,
            weight,
            (stride, stride),
            [(padding, padding)] * 2,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
            feature_group_count=groups,
        )
    return y + jnp.broadcast_to(p["bias"], y.shape) if "bias" in p else y


@op("max_pool")
def max_pool(
    x: Float[Array, "b h w c"], *, size: int, stride: int, padding: int
) -> Float[Array, "b h2 w2 c"]:
    """x [B, H, W, C] -> [B, H', W', C], the largest of every window."""
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    window, steps = (1, size, size, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, steps, sides)


def last(x: Float[Array, "b c h w"]) -> Float[Array, "b h w c"]:
    """Channels first, as images and outputs have them, to channels last."""
    return x.transpose(0, 2, 3, 1)


def first(x: Float[Array, "b h w c"]) -> Float[Array, "b c h w"]:
    """Channels last to channels first."""
    return x.transpose(0, 3, 1, 2)
