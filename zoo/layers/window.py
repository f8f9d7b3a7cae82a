"""Attention inside windows of an image, plain or shifted. Liu et al. 2021, arXiv:2103.14030.

Letters: B batch, H height, W width, C channels, S side of a window, T = S * S tokens.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.spec import ArraySpec, zeros

APART = -100.0  # added to scores between parts of a window that are no neighbours in the image


def bias_specs(name: str, side: int, heads: int) -> ArraySpec:
    """A row for every distance between two places of a window, a column for every head."""
    shape = ((2 * side - 1) ** 2, heads)
    return ArraySpec(shape=shape, axes=(None, "heads"), init=zeros, name=name)


def bias(table: Float[Array, "r n"], side: int) -> Float[Array, "1 n t t"]:
    """The table as what is added to scores [1, N, T, T]."""
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")).reshape(2, -1)
    down, across = at[:, :, None] - at[:, None, :] + side - 1
    rows = table[(down * (2 * side - 1) + across).reshape(-1)]
    return rows.reshape(1, side**2, side**2, -1).transpose(0, 3, 1, 2)


def apart(height: int, width: int, side: int, shift: int) -> np.ndarray:
    """What a shift by `shift` puts side by side: [windows, 1, T, T] of zero or `APART`."""
    regions = [
        (np.arange(size) >= size - side).astype(int) + (np.arange(size) >= size - shift)
        for size in (height, width)
    ]
    numbers = 3 * regions[0][:, None] + regions[1][None, :]
    parts = numbers.reshape(height // side, side, width // side, side).swapaxes(1, 2)
    parts = parts.reshape(-1, side**2)
    differ = parts[:, None, :] != parts[:, :, None]
    return np.where(differ, APART, 0.0).astype(np.float32)[:, None]


def split(x: Float[Array, "b h w c"], side: int) -> Float[Array, "bw t c"]:
    """x [B, H, W, C] of whole windows -> [B * windows, T, C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c)
    return x.swapaxes(2, 3).reshape(-1, side**2, c)


def join(x: Float[Array, "bw t c"], height: int, width: int, side: int) -> Float[Array, "b h w c"]:
    """The inverse of `split`."""
    x = x.reshape(-1, height // side, width // side, side, side, x.shape[-1])
    return x.swapaxes(2, 3).reshape(-1, height, width, x.shape[-1])


def pad(x: jax.Array, side: int) -> jax.Array:
    """x [B, H, W, C] with zeros below and to the right, to a multiple of `side`."""
    below, right = -x.shape[1] % side, -x.shape[2] % side
    return jnp.pad(x, ((0, 0), (0, below), (0, right), (0, 0)))


def merged(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c4"]:
    """x [B, H, W, C] -> [B, H / 2, W / 2, 4 C]: four neighbours side by side, column by column."""
    x = pad(x, 2)
    parts = [x[:, row::2, column::2] for column in range(2) for row in range(2)]
    return jnp.concatenate(parts, axis=-1)


def check(side: int, sides: tuple[int, int], *, whole: bool) -> None:
    """Checks a map against its windows.

    Raises:
      ValueError: a map smaller than a window, unless it is padded to one (`whole`).
    """
    if min(sides) < side and not whole:
        raise ValueError(
            f"pixel_values: found a map of {sides[0]} x {sides[1]} in one of the stages, expected "
            f"at least window_size {side}; pass larger images"
        )


def shift(side: int, sides: tuple[int, int], *, whole: bool) -> int:
    """By how much windows over a map are shifted: not at all where one is as large as the map."""
    return side // 2 if min(sides) > side or whole else 0
