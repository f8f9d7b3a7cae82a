"""SpecAugment: spans of a recording that a model does not get to see in training.

Park et al. 2019, arXiv:1904.08779. Letters: B batch, T places.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zoo.layers.dropout import keys


class Spans(NamedTuple):
    """How much is hidden.

    Attributes:
      share: of all places, if spans did not overlap.
      length: places of a span.
      least: number of spans.
    """

    share: float
    length: int
    least: int


def spans(
    key: jax.Array, batch: int, places: int, how: Spans, counts: jax.Array | None = None
) -> jax.Array:
    """Random spans -> bool [B, T], True where hidden.

    `counts` int [B] are the places of each row that are not padding. As in transformers, the
    number of spans is rounded up or down at random, for all rows alike. A row that holds no whole
    span stays as it is.
    """
    share, length, least = how
    rounding, order = jax.random.split(key)
    count = jnp.full((batch,), places) if counts is None else counts
    wanted = share * count.astype(jnp.float32) / length + jax.random.uniform(rounding)
    wanted = jnp.clip(jnp.maximum(wanted.astype(jnp.int32), least), 0, places // length)
    room = jnp.maximum(count - (length - 1), 0)  # places where a span may begin
    at = jnp.arange(places)
    drawn = jax.random.uniform(order, (batch, places))
    drawn = jnp.where(at[None] < room[:, None], drawn, 2.0)
    rank = jnp.argsort(jnp.argsort(drawn, axis=1), axis=1)
    begun = jnp.cumsum(rank < jnp.minimum(wanted, room)[:, None], axis=1)
    ended = jnp.pad(begun, ((0, 0), (length, 0)))[:, :places]
    return begun > ended


def hide(
    x: jax.Array,
    fill: jax.Array,
    hidden: jax.Array | None,
    key: jax.Array | None,
    *,
    time: Spans,
    channels: Spans,
    counts: jax.Array | None = None,
) -> jax.Array:
    """x [B, T, C] with `fill` [C] at the steps `hidden` [B, T], else with a key at random ones.

    With a key channels too are hidden at random, as zeros.
    """
    batch, steps, size = x.shape
    k1, k2 = keys(key, 2)
    if hidden is None and k1 is not None and time.share > 0:
        hidden = spans(k1, batch, steps, time, counts)
    if hidden is not None:
        x = jnp.where(hidden.astype(bool)[..., None], jnp.broadcast_to(fill, x.shape), x)
    if k2 is not None and channels.share > 0:
        silent = spans(k2, batch, size, channels)
        x = jnp.where(silent[:, None], jnp.zeros_like(x), x)
    return x
