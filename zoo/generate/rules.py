"""From scores to the next token, by pure functions on [B, V] in the order of transformers.

Letters: B batch, V vocab, L slots for ids.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.generate.config import GenerationConfig

NEVER = -jnp.inf
Rule = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class Plan(NamedTuple):
    """What a program is compiled for.

    Attributes:
      sample: draw tokens.
      penalty: there is a repetition penalty.
      ngram: no run of so many tokens twice; 0 for no such rule.
      top_k: 0 for all tokens.
      top_p: there is such a share.
      min_p: likewise.
      least: the end is forbidden at first.
      ends: ids that end a row.
      pad: id that follows an end.
      suppress: ids that never come.
      begin_suppress: ids that do not come first.
      first: id of the first token, or None.
      last: id of the last token if the text is cut, or None.
      own: further rules, `(ids [B, L], scores [B, V], length) -> scores`: what stands behind the
        first `length` ids has no meaning yet. Applied before sampling, like a `logits_processor`.
    """

    sample: bool = False
    penalty: bool = False
    ngram: int = 0
    top_k: int = 0
    top_p: bool = False
    min_p: bool = False
    least: bool = False
    ends: tuple[int, ...] = ()
    pad: int = 0
    suppress: tuple[int, ...] = ()
    begin_suppress: tuple[int, ...] = ()
    first: int | None = None
    last: int | None = None
    own: tuple[Rule, ...] = ()


class Numbers(NamedTuple):
    """What a compiled program takes as inputs; lengths count prompt and continuation.

    Attributes:
      temperature: float [].
      top_p: float [].
      min_p: float [].
      penalty: float [].
      begin: int [], length of the prompt.
      least: int [], no end before this length.
      limit: int [], the length at which every row ends.
    """

    temperature: Any
    top_p: Any
    min_p: Any
    penalty: Any
    begin: Any
    least: Any
    limit: Any


def plan(c: GenerationConfig, own: tuple[Rule, ...] = ()) -> Plan:
    """The part of the settings that a program is compiled for."""
    sample = bool(c.do_sample)
    last = c.forced_eos_token_id
    return Plan(
        sample=sample,
        penalty=c.repetition_penalty not in (None, 1),
        ngram=c.no_repeat_ngram_size or 0,
        top_k=(50 if c.top_k is None else c.top_k) if sample else 0,
        top_p=sample and c.top_p not in (None, 1),
        min_p=sample and c.min_p is not None,
        least=bool(c.ends and (c.min_length or c.min_new_tokens)),
        ends=c.ends,
        pad=c.pad or 0,
        suppress=c.suppress_tokens or (),
        begin_suppress=c.begin_suppress_tokens or (),
        first=c.forced_bos_token_id,
        last=last[0] if isinstance(last, tuple) else last,
        own=own,
    )


def numbers(c: GenerationConfig, *, begin: int, limit: int) -> Numbers:
    """The part of the settings that a program takes as inputs."""
    least = max(c.min_length or 0, begin + c.min_new_tokens if c.min_new_tokens else 0)
    floats = (c.temperature, c.top_p, c.min_p, c.repetition_penalty)
    return Numbers(
        *(np.float32(1.0 if x is None else x) for x in floats),
        *(np.int32(x) for x in (begin, least, limit)),
    )


def among(ids: tuple[int, ...], vocab: int) -> np.ndarray:
    """Bool [1, V], True for these ids."""
    chosen = np.zeros((1, vocab), bool)
    chosen[0, [i for i in ids if 0 <= i < vocab]] = True
    return chosen


def without(scores: jax.Array, removed: Any) -> jax.Array:
    """Scores [B, V] with those of removed tokens, bool [1 or B, V], at minus infinity."""
    return jnp.where(jnp.broadcast_to(removed, scores.shape), NEVER, scores)


def penalise(scores: jax.Array, seen: jax.Array, penalty: jax.Array) -> jax.Array:
    """Lowers the scores of tokens that were seen, bool [B, V]."""
    lowered = jnp.where(scores < 0, scores * penalty, scores / penalty)
    return jnp.where(seen, lowered, scores)


def no_repeats(ids: jax.Array, scores: jax.Array, length: jax.Array, *, size: int) -> jax.Array:
    """Removes tokens that would repeat a run of `size` tokens of ids [B, L]."""
    batch, slots = ids.shape
    if size > slots:
        return scores
    starts = jnp.arange(slots - size + 1)
    tail = jax.lax.dynamic_slice_in_dim(ids, jnp.maximum(length - size + 1, 0), size - 1, axis=1)
    same = jnp.broadcast_to((starts + size <= length)[None], (batch, starts.size))
    for i in range(size - 1):
        same &= ids[:, i : i + starts.size] == tail[:, i : i + 1]
    follow = ids[:, size - 1 :]
    rows = jnp.broadcast_to(jnp.arange(batch)[:, None], follow.shape)
    return scores.at[rows, jnp.where(same, follow, scores.shape[1])].set(NEVER, mode="drop")


def keep_top_k(scores: jax.Array, k: int) -> jax.Array:
    """Removes all but the k highest scores, and those equal to the lowest of them."""
    least = jax.lax.top_k(scores, min(k, scores.shape[-1]))[0][:, -1:]
    return without(scores, scores < least)


def keep_top_p(scores: jax.Array, p: jax.Array, k: int) -> jax.Array:
    """Removes the least likely tokens that sum to 1 - p; `k` scores are finite, 0 for all."""
    size = min(k, scores.shape[-1]) if k else scores.shape[-1]
    best = jax.lax.top_k(scores, size)[0] if k else -jnp.sort(-scores, axis=-1)
    probability = jax.nn.softmax(best, axis=-1)
    after = jnp.cumsum(probability[:, ::-1], axis=-1)[:, ::-1]  # of this token and the less likely
    kept = (after > 1 - p).at[:, 0].set(True)
    least = jnp.min(jnp.where(kept, best, jnp.inf), axis=-1, keepdims=True)
    return without(scores, scores < least)


def keep_min_p(scores: jax.Array, p: jax.Array) -> jax.Array:
    """Removes tokens less likely than p times the likeliest."""
    probability = jax.nn.softmax(scores, axis=-1)
    least = p * probability.max(axis=-1, keepdims=True)
    return without(scores, probability < jnp.minimum(least, probability.max(-1, keepdims=True)))


def shape(
    p: Plan, n: Numbers, ids: jax.Array, scores: jax.Array, seen: Any, length: jax.Array
) -> jax.Array:
    """Scores [B, V] after every rule that holds for greedy decoding too."""
    vocab = scores.shape[-1]

    def only(token: int, when: jax.Array) -> jax.Array:
        forced = jnp.where(among((token,), vocab), 0.0, NEVER).astype(scores.dtype)
        return jnp.where(when, jnp.broadcast_to(forced, scores.shape), scores)

    if p.penalty:
        scores = penalise(scores, seen, n.penalty)
    if p.ngram:
        scores = no_repeats(ids, scores, length, size=p.ngram)
    if p.least:
        scores = without(scores, among(p.ends, vocab) & (length < n.least))
    if p.first is not None:
        scores = only(p.first, length == 1)
    if p.last is not None:
        scores = only(p.last, length == n.limit - 1)
    if p.suppress:
        scores = without(scores, among(p.suppress, vocab))
    if p.begin_suppress:
        forced = jnp.where(n.begin == 1, 1 if p.first is not None else 0, 0)
        begin = n.begin + forced.astype(n.begin.dtype)
        scores = without(scores, among(p.begin_suppress, vocab) & (length == begin))
    for rule in p.own:
        scores = rule(ids, scores, length)
    return scores


def warp(p: Plan, n: Numbers, scores: jax.Array) -> jax.Array:
    """Scores [B, V] of the tokens that may be drawn."""
    scores = scores / n.temperature
    if p.top_k:
        scores = keep_top_k(scores, p.top_k)
    if p.top_p:
        scores = keep_top_p(scores, n.top_p, p.top_k)
    if p.min_p:
        scores = keep_min_p(scores, n.min_p)
    return scores
