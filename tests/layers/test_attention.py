"""Attention against the textbook in numpy, and what holds for any input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import attention as attentions
from zoo.layers.attention import KVCache, attention


def naive(q, k, v, mask=None, bias=None, *, scale, softcap=None):
    """One query at a time, in float64."""
    out = np.zeros(q.shape, np.float64)
    groups = q.shape[2] // k.shape[2]
    for b, t, n in np.ndindex(q.shape[:3]):
        scores = k[b, :, n // groups].astype(np.float64) @ q[b, t, n] * scale
        if bias is not None:
            scores = scores + bias[b, n, t]
        if softcap:
            scores = softcap * np.tanh(scores / softcap)
        seen = np.ones(len(scores), bool) if mask is None else mask[b, 0, t]
        if seen.any():
            scores = np.where(seen, scores, -np.inf)
            weights = np.exp(scores - scores.max())
        else:
            weights = np.ones(len(scores))
        out[b, t, n] = weights / weights.sum() @ v[b, :, n // groups]
    return out


@st.composite
def problems(draw):
    kv = draw(st.sampled_from([1, 2]))
    sizes = draw(st.tuples(*[st.sampled_from([1, 2]), *[st.sampled_from([1, 3, 5])] * 2]))
    return (*sizes, kv, kv * draw(st.sampled_from([1, 3])), draw(st.integers(0, 2**16)))


@settings(max_examples=15)
@given(problem=problems(), masked=st.booleans(), biased=st.booleans(), capped=st.booleans())
def test_the_textbook(problem, masked, biased, capped):
    b, t, s, kv, n, seed = problem
    rng = np.random.default_rng(seed)
    q, k, v = (
        rng.normal(size=(b, length, heads, 4)).astype(np.float32)
        for length, heads in ((t, n), (s, kv), (s, kv))
    )
    mask = rng.random((b, 1, t, s)) < 0.6 if masked else None
    bias = rng.normal(size=(b, n, t, s)).astype(np.float32) if biased else None
    options = {"scale": 0.7, "softcap": 2.0 if capped else None}
    ours = attention(q, k, v, mask, bias, **options)
    np.testing.assert_allclose(ours, naive(q, k, v, mask, bias, **options), rtol=1e-5, atol=1e-5)


def test_weights_of_a_query_sum_to_one():
    rng = np.random.default_rng(0)
    q, k = (rng.normal(size=(2, 5, 3, 4)).astype(np.float32) * 4 for _ in "qk")
    mask = np.tril(np.ones((1, 1, 5, 5), bool))
    out = attention(q, k, np.ones_like(k), mask, scale=1.0)
    np.testing.assert_allclose(out, np.ones_like(k), rtol=1e-6)


@pytest.mark.parametrize("size", [1e3, 1e4])
def test_large_scores_stay_finite_with_their_gradients(size: float):
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(1, 4, 1, 4)).astype(np.float32) for _ in "qkv")
    mask = np.tril(np.ones((1, 1, 4, 4), bool))
    loss = lambda q, k, v: attention(q * size, k, v, mask, scale=1.0).sum()  # noqa: E731
    for grad in jax.grad(loss, argnums=(0, 1, 2))(q, k, v):
        assert np.isfinite(grad).all()


def test_the_order_of_keys_does_not_matter():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 5, 3, 4)).astype(np.float32) for _ in "qkv")
    order = rng.permutation(5)
    one = attention(q, k, v, None, scale=0.5)
    two = attention(q, k[:, order], v[:, order], None, scale=0.5)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_a_cache_keeps_what_is_written_from_a_slot_on():
    empty = KVCache(jnp.zeros((1, 6, 2, 3)), jnp.zeros((1, 6, 2, 3)))
    new = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) + 1
    cache = attentions.write(empty, new, -new, jnp.int32(3))
    np.testing.assert_array_equal(cache.k[:, 3:5], new)
    np.testing.assert_array_equal(cache.v[:, 3:5], -new)
    assert not np.any(cache.k[:, [0, 1, 2, 5]])
