"""Rules on scores, each against transformers' logits processor on random scores and texts."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as theirs

from zoo.generate import rules
from zoo.generate.buckets import padded, room

VOCAB, SLOTS = 23, 17
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Ids [2, SLOTS], scores [2, VOCAB] and how many ids there are."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 5, (2, SLOTS)).astype(np.int32)
    return ids, rng.normal(0, 3, (2, VOCAB)).astype(np.float32), int(rng.integers(1, SLOTS))


def same(found, processor, ids: np.ndarray, scores: np.ndarray, length: int) -> None:
    text = torch.from_numpy(ids[:, :length]).long()
    expected = processor(text, torch.from_numpy(scores.copy())).numpy()
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@settings(max_examples=30)
@given(SEEDS, st.sampled_from([0.5, 1.3, 4.0]))
def test_repetition_penalty(seed: int, penalty: float):
    ids, scores, length = drawn(seed)
    seen = np.zeros((2, VOCAB), bool)
    np.put_along_axis(seen, ids[:, :length], True, axis=1)
    found = rules.penalise(jnp.asarray(scores), jnp.asarray(seen), jnp.float32(penalty))
    same(found, theirs.RepetitionPenaltyLogitsProcessor(penalty), ids, scores, length)


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 4))
def test_no_repeats(seed: int, size: int):
    ids, scores, length = drawn(seed)
    found = rules.no_repeats(jnp.asarray(ids), jnp.asarray(scores), jnp.int32(length), size=size)
    same(found, theirs.NoRepeatNGramLogitsProcessor(size), ids, scores, length)


@settings(max_examples=30)
@given(SEEDS, st.integers(1, VOCAB + 4))
def test_top_k(seed: int, k: int):
    ids, scores, length = drawn(seed)
    found = rules.keep_top_k(jnp.asarray(scores), k)
    same(found, theirs.TopKLogitsWarper(k), ids, scores, length)


@settings(max_examples=30)
@given(SEEDS, st.floats(1 / 64, 63 / 64, width=32), st.sampled_from([0, 7]))
def test_top_p(seed: int, p: float, k: int):
    ids, scores, length = drawn(seed)
    if k:
        scores = np.asarray(rules.keep_top_k(jnp.asarray(scores), k))
    found = rules.keep_top_p(jnp.asarray(scores), jnp.float32(p), k)
    same(found, theirs.TopPLogitsWarper(p), ids, scores, length)


@settings(max_examples=30)
@given(SEEDS, st.floats(0, 1, width=32))
def test_min_p(seed: int, p: float):
    ids, scores, length = drawn(seed)
    found = rules.keep_min_p(jnp.asarray(scores), jnp.float32(p))
    same(found, theirs.MinPLogitsWarper(p), ids, scores, length)


@given(st.integers(0, 5000), st.integers(1, 5000))
def test_a_cache_has_room_for_prompt_and_continuation(prompt: int, new: int):
    slots, piece = room(prompt, new)
    assert padded(prompt, piece) + new <= slots
    assert slots <= max(16, 2 * (prompt + new))
    assert padded(prompt, piece) - prompt < piece


@pytest.mark.parametrize("new", [1, 20, 300])
def test_prompts_share_few_sizes(new: int):
    assert len({room(prompt, new) for prompt in range(1000)}) <= 14
