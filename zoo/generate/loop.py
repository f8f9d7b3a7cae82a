"""The three programs of generation: one sees the source, one fills the cache, one continues.

Each is compiled once for a number of rows and of cache slots. The cache is donated: every step
writes into the same memory. Letters: B batch, T tokens at once, L slots for ids, V vocab.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo import hint
from zoo.forward import Forward
from zoo.generate import rules
from zoo.spec import Tree


class State(NamedTuple):
    """A text on its way.

    Attributes:
      ids: int [B, L], prompt and continuation from slot 0 on.
      length: int [], how many of them there are.
      positions: int [..., B, 1], of the last token; None where the model does not take them.
      done: bool [B], rows that have ended.
      seen: bool [B, V], tokens that occurred; None without a repetition penalty.
      key: of what is drawn.
      cache: holds all but the last token.
    """

    ids: jax.Array
    length: jax.Array
    positions: jax.Array | None
    done: jax.Array
    seen: jax.Array | None
    key: jax.Array
    cache: Tree


class Names(NamedTuple):
    """What the model calls the arrays of its decoder.

    Attributes:
      ids: `input_ids` or `decoder_input_ids`.
      mask: likewise.
      positions: `position_ids`, or None.
    """

    ids: str
    mask: str
    positions: str | None


STATIC = ("forward", "names", "placement")
FLAGS = (*STATIC, "flags")


@functools.partial(jax.jit, static_argnames=FLAGS, donate_argnames=("cache",))
def look(
    params: Tree,
    cache: Tree,
    source: dict[str, jax.Array],
    start: jax.Array,
    *,
    forward: Forward,
    names: Names,
    flags: tuple[tuple[str, bool], ...],
    placement: Any,
) -> Tree:
    """The cache with what the decoder sees of the encoder's output; it holds no token yet."""
    with hint.placing(placement):
        out: Any = forward(params, **source, **{names.ids: start}, **dict(flags), cache=cache)
    return dataclasses.replace(cache, cross=out.cache.cross, source=out.cache.source)


@functools.partial(jax.jit, static_argnames=FLAGS, donate_argnames=("cache",))
def fill(
    params: Tree,
    cache: Tree,
    inputs: dict[str, jax.Array],
    *,
    forward: Forward,
    names: Names,
    flags: tuple[tuple[str, bool], ...],
    placement: Any,
) -> Tree:
    """The cache with tokens [B, T] of the prompt in it; their scores are never computed."""
    with hint.placing(placement):
        out: Any = forward(params, **inputs, **dict(flags), cache=cache)
    return out.cache


@functools.partial(jax.jit, static_argnames=(*STATIC, "plan"), donate_argnames=("state",))
def advance(
    params: Tree,
    state: State,
    numbers: rules.Numbers,
    until: jax.Array,
    *,
    forward: Forward,
    names: Names,
    plan: rules.Plan,
    placement: Any,
) -> State:
    """Adds tokens until there are `until`, or every row has ended."""

    def step(s: State) -> State:
        token = jax.lax.dynamic_slice_in_dim(s.ids, s.length - 1, 1, axis=1)
        places = {names.positions: s.positions} if names.positions else {}
        with hint.placing(placement):
            out: Any = forward(params, **{names.ids: token}, **places, cache=s.cache)
        scores = out.logits[:, -1].astype(jnp.float32)
        scores = rules.shape(plan, numbers, s.ids, scores, s.seen, s.length)
        key = s.key
        if plan.sample:
            key, now = jax.random.split(s.key)
            token = jax.random.categorical(now, rules.warp(plan, numbers, scores), axis=-1)
        else:
            token = jnp.argmax(scores, axis=-1)
        token = token.astype(s.ids.dtype)
        done = s.done
        if plan.ends:
            token = jnp.where(done, jnp.asarray(plan.pad, token.dtype), token)
            ends = jnp.asarray(plan.ends, token.dtype)
            done = done | (token[:, None] == ends[None]).any(axis=1)
        seen = s.seen
        if seen is not None:
            seen = seen.at[jnp.arange(token.shape[0]), token].set(True)
        ids = jax.lax.dynamic_update_slice_in_dim(s.ids, token[:, None], s.length, axis=1)
        after = None if s.positions is None else s.positions + 1
        return State(ids, s.length + 1, after, done, seen, key, out.cache)

    return jax.lax.while_loop(lambda s: (s.length < until) & ~s.done.all(), step, state)
