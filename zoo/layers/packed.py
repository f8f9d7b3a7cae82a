"""Patches of images and videos of any size in one sequence, and positions of texts around them.

A grid int [N, 3] says of each image or video how many patches it has in time, down and across; the
patches of one stand frame by frame, in blocks of `merge` x `merge` that later become one vector.
Everything follows from the grids by arithmetic, so that shapes do not depend on them and a program
serves all grids of as many patches. Wang et al. 2024, arXiv:2409.12191.
Letters: N images, R patches, B texts, T tokens.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Packed(NamedTuple):
    """Where each patch belongs, int [R].

    Attributes:
      frame: its frame, counted through all images.
      row: down in its frame.
      column: across.
    """

    frame: jax.Array
    row: jax.Array
    column: jax.Array


def unpack(grid: jax.Array, count: int, *, merge: int) -> Packed:
    """Places of `count` patches; those beyond the last image form a frame of their own."""
    time, down, across = jnp.asarray(grid).T
    ends = jnp.cumsum(time * down * across)
    at = jnp.arange(count, dtype=ends.dtype)
    image = jnp.searchsorted(ends, at, side="right")
    frames = jnp.concatenate([jnp.zeros(1, ends.dtype), jnp.cumsum(time)])
    number = jnp.minimum(image, grid.shape[0] - 1)
    area, width = (down * across)[number], across[number] // merge
    inside = at - (ends - time * down * across)[number]
    block, corner = (inside % area) // merge**2, inside % merge**2
    frame = jnp.where(image < grid.shape[0], frames[number] + inside // area, frames[-1])
    return Packed(
        frame=frame,
        row=block // width * merge + corner // merge,
        column=block % width * merge + corner % merge,
    )


def together(places: Packed, *, window: int | None = None) -> jax.Array:
    """Who may see whom, bool [1, 1, R, R]: patches of one frame, or of one window of its patches.

    `window` is the side of a window in patches.
    """
    same = places.frame[:, None] == places.frame[None, :]
    if window is not None:
        for x in (places.row // window, places.column // window):
            same &= x[:, None] == x[None, :]
    return same[None, None]


def positions(
    kinds: jax.Array,
    keep: jax.Array | None,
    grids: tuple[jax.Array | None, ...],
    *,
    merge: int,
    intervals: tuple[jax.Array | None, ...] = (None, None),
    start: jax.Array | None = None,
) -> jax.Array:
    """Positions int [3, B, T] in time, down and across; text counts on in all three alike.

    Args:
      kinds: int [B, T], 0 for text and i for tokens of the i-th of `grids`.
      keep: [B, T] with 0 for padding, which is at 0; None where there is none.
      grids: int [N, 3] of each kind, in the order of their places in the texts.
      merge: patches down and across that are one token.
      intervals: float [N], steps in time from frame to frame; one step where None.
      start: int [B], position of the first token; 0 if None.
    """
    real = jnp.ones(kinds.shape, bool) if keep is None else keep.astype(bool)
    order = jnp.arange(kinds.shape[1])[None]
    seen = jax.lax.cummax(jnp.where(real, order, -1), axis=1)
    before = jnp.concatenate([jnp.full_like(seen[:, :1], -1), seen[:, :-1]], axis=1)
    last = jnp.take_along_axis(kinds, jnp.maximum(before, 0), axis=1)
    begins = real & ((before < 0) | (last != kinds))
    rank = jnp.cumsum(real, axis=1) - 1
    inside = rank - jax.lax.cummax(jnp.where(begins, rank, -1), axis=1)

    advance = (real & (kinds == 0)).astype(jnp.int32)
    offsets = jnp.zeros((3, *kinds.shape), jnp.int32)
    back = advance  # what a token, or the first of its image, has added to the count
    for i, (grid, interval) in enumerate(zip(grids, intervals, strict=True), start=1):
        if grid is None:
            continue
        own = real & (kinds == i)
        first = own & begins
        number = jnp.cumsum(first.reshape(-1)).reshape(kinds.shape) - 1
        _, *sides = jnp.asarray(grid).T
        down, across = (jnp.take(x, number, mode="clip") // merge for x in sides)
        down, across = jnp.maximum(down, 1), jnp.maximum(across, 1)
        time = inside // (down * across)
        if interval is not None:
            step = jnp.take(interval, number, mode="clip")
            time = (time.astype(step.dtype) * step).astype(jnp.int32)
        mine = jnp.stack([time, inside // across % down, inside % across])
        offsets = jnp.where(own[None], mine, offsets)
        size = jnp.maximum(down, across)
        advance = jnp.where(first, size, advance)
        back = jnp.where(own, size, back)
    base = jnp.cumsum(advance, axis=1) - back
    if start is not None:
        base = base + start[:, None]
    return jnp.where(real[None], base[None] + offsets, 0)
