"""The likeliest next token, again and again, from a cache that stays on the device.

Letters: B batch, T tokens of the prompts, N new tokens.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo import hint
from zoo.forward import Forward
from zoo.model import Model
from zoo.pipelines.rows import bucket
from zoo.spec import Tree


def greedy(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos: Sequence[int] = (),
    pad: int = 0,
    on_tokens: Callable[[list[int]], None] | None = None,
) -> list[list[int]]:
    """Continues prompts of any lengths; a row ends with one of `eos`, which it keeps.

    `on_tokens` is called with the B tokens of every step.
    """
    ends = np.array([len(prompt) for prompt in prompts], np.int32)
    room = bucket(int(ends.max()) - 1) if ends.max() > 1 else 0
    ids = np.full((len(prompts), room + 1), pad, np.int32)
    mask = np.zeros(ids.shape, np.int32)
    for i, prompt in enumerate(prompts):
        ids[i, room + 1 - len(prompt) :] = prompt
        mask[i, room + 1 - len(prompt) :] = 1
    positions = np.maximum(np.cumsum(mask, 1, dtype=np.int32) - 1, 0)

    placement = hint.current()
    step = functools.partial(_step, forward=model.forward, placement=placement)
    cache = model.init_cache(len(prompts), bucket(room + max_new_tokens))
    if room:
        fill = functools.partial(_fill, forward=model.forward, placement=placement)
        cache = fill(model.params, cache, ids[:, :room], mask[:, :room], positions[:, :room])
    token, at, seen = jnp.asarray(ids[:, room:]), positions[:, room:], mask[:, room:]
    out: list[list[int]] = [[] for _ in prompts]
    done = np.zeros(len(prompts), bool)
    for n in range(max_new_tokens):
        token, cache = step(model.params, cache, token, seen, at + np.int32(n))
        found = np.asarray(token)[:, 0].tolist()
        for i, one in enumerate(found):
            if not done[i]:
                out[i].append(one)
                done[i] = one in eos
        if on_tokens is not None:
            on_tokens(found)
        if done.all():
            break
    return out


@functools.partial(jax.jit, static_argnames=("forward", "placement"), donate_argnames=("cache",))
def _fill(params, cache, ids, mask, positions, *, forward: Forward, placement: Any) -> Tree:
    """The cache with the prompts [B, T] in it; their logits are never computed."""
    with hint.placing(placement):
        out: Any = forward(
            params, input_ids=ids, attention_mask=mask, position_ids=positions, cache=cache
        )
    return out.cache


@functools.partial(jax.jit, static_argnames=("forward", "placement"), donate_argnames=("cache",))
def _step(params, cache, ids, mask, positions, *, forward: Forward, placement: Any) -> Any:
    """The token after one token [B, 1], and the cache."""
    with hint.placing(placement):
        out: Any = forward(
            params, input_ids=ids, attention_mask=mask, position_ids=positions, cache=cache
        )
    return jnp.argmax(out.logits[:, -1:], axis=-1).astype(jnp.int32), out.cache
