"""Norms, embeddings, dropout, pooling, bicubic positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import image, linear, norm
from zoo.layers.dropout import dropout, keys
from zoo.layers.pooling import MODES, Pooling, pool

KEY = jax.random.key(0)


@settings(max_examples=20)
@given(shift=st.floats(-30, 30), scale=st.floats(0.1, 10), seed=st.integers(0, 2**16))
def test_layer_norm_ignores_shift_and_scale(shift, scale, seed):
    x = np.random.default_rng(seed).normal(size=(2, 16)).astype(np.float32)
    p = {"weight": np.ones(16, np.float32), "bias": np.zeros(16, np.float32)}
    moved = (x * scale + shift).astype(np.float32)
    ours, other = norm.layer_norm(p, x, eps=0.0), norm.layer_norm(p, moved, eps=0.0)
    np.testing.assert_allclose(ours, other, atol=3e-4)
    np.testing.assert_allclose(np.mean(ours, -1), 0, atol=1e-5)


def test_norms_are_those_of_torch():
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((3, 16), 16, 16))
    at = [torch.from_numpy(v) for v in (x, w, b)]
    theirs = torch.nn.functional.layer_norm(at[0], (16,), at[1], at[2], eps=1e-3)
    ours = norm.layer_norm({"weight": w, "bias": b}, x, eps=1e-3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    theirs = torch.nn.functional.rms_norm(at[0], (16,), at[1], eps=1e-3)
    np.testing.assert_allclose(
        norm.rms_norm({"weight": w}, x, eps=1e-3), theirs, rtol=1e-5, atol=1e-6
    )


def test_norms_of_half_precision_are_computed_in_single():
    x = jnp.asarray(np.random.default_rng(0).normal(100, 0.5, (2, 64)), jnp.bfloat16)
    p = {"weight": jnp.ones(64, jnp.bfloat16)}
    exact = norm.rms_norm({"weight": jnp.ones(64)}, x.astype(jnp.float32), eps=1e-6)
    y = norm.rms_norm(p, x, eps=1e-6)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8)


def test_the_padding_row_gets_no_gradient():
    p = {"weight": jnp.ones((5, 3))}
    ids = jnp.asarray([[0, 2, 2, 4]])
    of = lambda p, padding: linear.embedding(p, ids, padding_idx=padding).sum()  # noqa: E731
    assert jax.grad(of)(p, None)["weight"].sum(1).tolist() == [3, 0, 6, 0, 3]
    assert jax.grad(of)(p, 2)["weight"].sum(1).tolist() == [3, 0, 0, 0, 3]


def test_dropout_without_key_or_rate_is_the_identity():
    x = jnp.arange(6.0)
    assert np.array_equal(dropout(x, None, rate=0.5), x)
    assert np.array_equal(dropout(x, KEY, rate=0.0), x)
    assert keys(None, 3) == (None, None, None)
    assert len({k.tobytes() for k in np.asarray(jax.random.key_data(jnp.stack(keys(KEY, 3))))}) == 3


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_at_its_rate_and_keeps_the_mean(rate: float):
    n = 200_000
    y = np.asarray(dropout(jnp.ones(n), KEY, rate=rate))
    spread = 5 * (rate * (1 - rate) / n) ** 0.5  # five standard deviations
    assert abs((y == 0).mean() - rate) < spread
    assert abs(y.mean() - 1) < spread / (1 - rate)
    assert np.allclose(y[y != 0], 1 / (1 - rate))


@pytest.mark.parametrize("mode", MODES)
def test_pooling_does_not_see_padding(mode: str):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 3, 4)).astype(np.float32)
    alone = pool(x, None, how=Pooling(modes=(mode,)))
    padded = np.concatenate([x, rng.normal(9, 1, (1, 2, 4)).astype(np.float32)], axis=1)
    mask = np.array([[1, 1, 1, 0, 0]])
    np.testing.assert_allclose(pool(padded, mask, how=Pooling(modes=(mode,))), alone, rtol=1e-6)
    if mode != "weightedmean":  # which counts from the first slot
        left = np.roll(padded, 2, axis=1)
        np.testing.assert_allclose(
            pool(left, mask[:, ::-1], how=Pooling(modes=(mode,))), alone, rtol=1e-6
        )


def test_pooled_vectors_are_joined_and_scaled_to_length_one():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    y = pool(x, None, how=Pooling(modes=("mean", "max"), normalize=True))
    assert y.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), 1, rtol=1e-6)


@settings(max_examples=15)
@given(st.tuples(*[st.integers(1, 6)] * 4))
def test_positions_are_resized_as_torch_does(sizes):
    height, width, tall, wide = sizes
    table = np.random.default_rng(0).normal(size=(1, 1 + height * width, 3)).astype(np.float32)
    ours = image.interpolate_positions(table, (height, width), (tall, wide))
    grid = torch.from_numpy(table[:, 1:].reshape(1, height, width, 3)).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.interpolate(grid, (tall, wide), mode="bicubic")
    theirs = theirs.permute(0, 2, 3, 1).reshape(1, tall * wide, 3)
    np.testing.assert_array_equal(ours[:, 0], table[:, 0])
    np.testing.assert_allclose(ours[:, 1:], theirs, rtol=1e-4, atol=1e-5)
