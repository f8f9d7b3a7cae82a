"""Images as sequences of patches. Letters: B batch, C channels, H height, W width, P patches."""

from collections.abc import Mapping, Sequence
from typing import Any

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


def check_masks(
    arrays: Mapping[str, Any], patch: tuple[int, int], *, tokens: int, where: str
) -> None:
    """Checks masks of patches, and of `tokens` before them, beside images [B, C, H, W].

    Raises:
      ValueError: a mask that does not fit the patches.
    """
    shape = tuple(arrays["pixel_values"].shape)
    count = -(-shape[2] // patch[0]) * -(-shape[3] // patch[1])
    if tokens:  # such models leave out margins that fill no patch, the others pad them
        count = (shape[2] // patch[0]) * (shape[3] // patch[1])
    wanted = {"bool_masked_pos": (shape[0], count), "attention_mask": (shape[0], count + tokens)}
    for name, want in wanted.items():
        if name in arrays and tuple(arrays[name].shape) != want:
            raise ValueError(
                f"{where}: {name} has shape {tuple(arrays[name].shape)}, expected {want} beside "
                f"images of shape {shape}; count the patches"
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
    positions: jax.Array, grid: tuple[int, int], wanted: tuple[int, int], *, tokens: int = 1
) -> jax.Array:
    """Positions [1, tokens + P, E] of a grid, class tokens first -> of the wanted grid, bicubic."""
    if grid == wanted:
        return positions
    cls, rest = positions[:, :tokens], positions[:, tokens:].reshape(*grid, -1)
    rows, columns = (_bicubic(a, b) for a, b in zip(grid, wanted, strict=True))
    rest = jnp.einsum("hy,wx,yxe->hwe", rows, columns, rest.astype(jnp.float32))
    rest = rest.reshape(1, -1, rest.shape[-1]).astype(positions.dtype)
    return jnp.concatenate([cls, rest], axis=1)


def pixels(p: Tree, x: jax.Array, *, channels: int, stride: int) -> jax.Array:
    """Patches x [B, P, E] of a square -> pixels [B, C, H, W], `stride` squared from each.

    A 1 x 1 convolution whose outputs are shuffled. Xie et al. 2021, arXiv:2111.09886.

    Raises:
      ValueError: patches of no square.
    """
    side = int(x.shape[1] ** 0.5)
    if side * side != x.shape[1]:
        raise ValueError(
            f"pixel_values: found an image of {x.shape[1]} patches, expected a square to restore; "
            f"pass as many rows as columns"
        )
    x = jnp.einsum("bte,oe->bto", x, p["weight"][:, :, 0, 0])
    x = x + jnp.broadcast_to(p["bias"], x.shape)
    x = x.reshape(x.shape[0], side, side, channels, stride, stride)
    x = x.transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(x.shape[0], channels, side * stride, side * stride)


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
