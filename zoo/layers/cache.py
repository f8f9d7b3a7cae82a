"""Where new tokens stand: positions, cache slots and what has been seen before.

Letters: B batch, T new tokens, S slots, R slots of a ring.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import min_dim

from zoo.spec import ArraySpec, Tree, zeros


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Cache:
    """Everything a decoder remembers: a value that goes in and comes out.

    Attributes:
      layers: one entry per layer, in the form of the model's layers.
      valid: bool [B, S], slots that hold a token which is not padding.
      length: int [], slots filled so far, the same for every row.
      cross: what decoder layers see of the encoder's output, one entry per layer; None without an
        encoder.
      source: bool [B, S'], which places of the encoder's output are no padding.
      shift: int [B], how far positions are ahead of slots, where images take up fewer positions
        than slots; None for models that count slots.
    """

    layers: Tree
    valid: Any
    length: Any
    cross: Tree = None
    source: Any = None
    shift: Any = None


def specs(layers: Tree, *, batch: int, length: int) -> Cache:
    """Declarations of a cache of `length` slots around those of its layers."""
    valid = ArraySpec(shape=(batch, length), axes=("batch", "length"), init=zeros, dtype=bool)
    count = ArraySpec(shape=(), axes=(), init=zeros, dtype=jnp.int32)
    return Cache(layers=layers, valid=valid, length=count)


class Tokens(NamedTuple):
    """Places of T new tokens among S keys.

    Attributes:
      positions: int [1 or B, T], for position embeddings; or [A, B, T], along several axes.
      slots: int [1, T], order of the new tokens among the keys.
      keys: int [1, S], order of the keys.
      valid: bool or int [B, S], keys that are not padding; None where all are.
      start: int [], slot of the first new token; None without a cache.
    """

    positions: jax.Array
    slots: jax.Array
    keys: jax.Array
    valid: jax.Array | None
    start: jax.Array | None

    def in_ring(self, size: int, *, written: bool) -> "Tokens":
        """The same where the keys are those of a ring of `size` slots.

        Slot r holds the last token whose number is r modulo `size`: with `written` the new ones
        too, otherwise they follow behind the ring.
        """
        last = self.slots[:, -1:] if written else self.slots[:, :1] - 1
        keys = last - (last - jnp.arange(size)[None]) % size  # below 0 where there was none yet
        keys = keys if written else jnp.concatenate([keys, self.slots], axis=1)
        if self.valid is None:
            raise ValueError("Tokens: found no cache, expected one beside a ring")
        valid = jnp.take(self.valid, jnp.maximum(keys[0], 0), axis=1) & (keys >= 0)
        return self._replace(keys=keys, valid=valid)


def ring_size(window: int, length: int) -> int:
    """Slots that a layer needs which sees `window` tokens of at most `length`."""
    return min_dim(window, length)


def place(
    length: int,
    *,
    attention_mask: jax.Array | None,
    position_ids: jax.Array | None,
    cache: Cache | None,
    table: int | None = None,
) -> tuple[Tokens, Cache | None]:
    """Places `length` new tokens and returns the cache with its bookkeeping advanced.

    With a cache, `attention_mask` [B, T] speaks of the new tokens only: the cache remembers the
    rest. Positions count slots unless `position_ids` says otherwise. `table` is the number of
    learned positions, where there is such a table.

    Raises:
      ValueError: more tokens than the table has positions.
    """
    if table is not None and isinstance(length, int) and position_ids is None and length > table:
        raise ValueError(
            f"input_ids: {length} tokens, expected at most max_position_embeddings {table}; "
            f"truncate the text"
        )
    new = jnp.arange(length)[None]
    if cache is None:
        return Tokens(_positions(position_ids, new), new, new, attention_mask, None), None
    slots = new + cache.length
    keys = jnp.arange(cache.valid.shape[1])[None]
    seen = jnp.ones((cache.valid.shape[0], length), bool)
    if attention_mask is not None:
        seen = attention_mask.astype(bool)
    valid = jax.lax.dynamic_update_slice(cache.valid, seen, (0, cache.length))
    advanced = dataclasses.replace(cache, valid=valid, length=cache.length + length)
    positions = slots
    if cache.shift is not None:
        positions = slots + cache.shift[:, None]
    positions = _positions(position_ids, positions)
    if cache.shift is not None:
        highest = positions.max(axis=(*range(positions.ndim - 2), -1))
        shift = jnp.broadcast_to(highest + 1 - advanced.length, cache.shift.shape)
        advanced = dataclasses.replace(advanced, shift=shift)
    return Tokens(positions, slots, keys, valid, cache.length), advanced


def _positions(given: jax.Array | None, default: jax.Array) -> jax.Array:
    if given is None:
        return default
    return given[None] if given.ndim == 1 else given
