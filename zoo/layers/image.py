"""Images as sequences of patches. Letters: B batch, C channels, H height, W width, P patches."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.markers import op
from zoo.spec import ArraySpec, Tree, scope, zeros


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """A side or (height, width) -> (height, width)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def check(pixels: jax.Array, channels: int, size: tuple[int, int] | None) -> None:
    """Checks the shape of pixels.

    Raises:
      ValueError: not [B, C, H, W] of these channels and, where given, this size.
    """
    shape = tuple(pixels.shape)
    want = f"[batch, {channels}, {size[0]}, {size[1]}]" if size else f"[batch, {channels}, H, W]"
    if len(shape) != 4 or shape[1] != channels:
        raise ValueError(f"pixel_values: found shape {shape}, expected {want}")
    if size and shape[2:] != size:
        raise ValueError(
            f"pixel_values: found {shape[2]} x {shape[3]} pixels, expected {size[0]} x {size[1]}; "
            f"resize the images or pass interpolate_pos_encoding=True"
        )


def patch_specs(
    name: str, embed: int, channels: int, patch: tuple[int, int], *, bias: bool = True
) -> Tree:
    """A convolution whose stride is its size: weight `(embed, channels, height, width)`."""
    weight = ArraySpec(
        shape=(embed, channels, *patch), axes=("embed", None, None, None), name="weight"
    )
    tree = {"weight": weight}
    if bias:
        tree["bias"] = ArraySpec(shape=(embed,), axes=("embed",), init=zeros, name="bias")
    return scope(name, tree)


@op("patches")
def patches(
    p: Tree, pixels: Float[Array, "b c h w"], *, patch: tuple[int, int]
) -> Float[Array, "b p e"]:
    """Pixels [B, C, H, W] -> [B, P, E], row by row; margins that fill no patch are left out."""
    x = jax.lax.conv_general_dilated(
        pixels, p["weight"], patch, "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW")
    )
    x = x.reshape(*x.shape[:2], -1).transpose(0, 2, 1)
    return x + jnp.broadcast_to(p["bias"], x.shape) if "bias" in p else x


def interpolate_positions(
    positions: jax.Array, grid: tuple[int, int], wanted: tuple[int, int]
) -> jax.Array:
    """Positions [1, 1 + P, E] of a grid, the class token first -> of the wanted grid, bicubic."""
    if grid == wanted:
        return positions
    cls, rest = positions[:, :1], positions[:, 1:].reshape(*grid, -1)
    rows, columns = (_bicubic(a, b) for a, b in zip(grid, wanted, strict=True))
    rest = jnp.einsum("hy,wx,yxe->hwe", rows, columns, rest.astype(jnp.float32))
    rest = rest.reshape(1, -1, rest.shape[-1]).astype(positions.dtype)
    return jnp.concatenate([cls, rest], axis=1)


def _bicubic(size: int, wanted: int) -> np.ndarray:
    """The matrix [wanted, size] of bicubic interpolation (a = -0.75) between pixel centres.

    Keys 1981. Samples beyond the border repeat the border; there is no anti-aliasing.
    """
    a = -0.75
    centre = (np.arange(wanted) + 0.5) * size / wanted - 0.5
    first = np.floor(centre).astype(int)
    matrix = np.zeros((wanted, size))
    for offset in range(-1, 3):
        d = np.abs(centre - (first + offset))
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        weight = np.where(d <= 1, near, np.where(d < 2, far, 0))
        np.add.at(matrix, (np.arange(wanted), np.clip(first + offset, 0, size - 1)), weight)
    return matrix.astype(np.float32)
