"""State spaces: the scan is the recurrence however it is cut, and a state stands for a text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import spec
from zoo.layers import ssm, stack

HEADS, HEAD_DIM, GROUPS, STATE, TAPS, EMBED, LENGTH = 4, 3, 2, 5, 4, 6, 11
SIZES = dict(heads=HEADS, head_dim=HEAD_DIM, groups=GROUPS, state=STATE, taps=TAPS)


@pytest.fixture(scope="module", autouse=True)
def _quick_compiler():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def drawn(length, seed=0, pace=1.0):
    """Arguments of a scan of two rows; `pace` stretches the steps, and with them the decay."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, length, HEADS, HEAD_DIM))
    dt = pace * rng.exponential(size=(2, length, HEADS)) ** 3
    a = -rng.exponential(size=HEADS)
    b, c = rng.normal(size=(2, 2, length, GROUPS, STATE))
    state = rng.normal(size=(2, STATE, HEADS, HEAD_DIM))
    return [v.astype(np.float32) for v in (x, dt, a, b, c, state)]


def recurrence(x, dt, a, b, c, state):
    """As the docstring of the module has it, token by token, in float64."""
    x, dt, a, b, c, state = (v.astype(np.float64) for v in (x, dt, a, b, c, state))
    b, c = (np.repeat(v, HEADS // GROUPS, axis=2) for v in (b, c))
    y = np.empty_like(x)
    for t in range(x.shape[1]):
        added = np.einsum("bnz,bn,bnd->bznd", b[:, t], dt[:, t], x[:, t])
        state = np.exp(dt[:, t] * a)[:, None, :, None] * state + added
        y[:, t] = np.einsum("bnz,bznd->bnd", c[:, t], state)
    return y, state


def close(found, expected, bound=1e-5):
    assert found.shape == expected.shape
    assert np.abs(np.asarray(found) - expected).max() <= bound * np.abs(expected).max()


@settings(max_examples=20)
@given(
    length=st.integers(1, 40),
    chunk=st.integers(1, 48),
    seed=st.integers(0, 99),
    pace=st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_the_scan_is_the_recurrence_for_any_chunk_and_length(length, chunk, seed, pace):
    given = drawn(length, seed, pace)
    y, state = ssm.scan(*given, chunk=chunk)
    expected = recurrence(*given)
    close(y, expected[0])
    close(state, expected[1])


def test_a_long_memory_survives_a_chunk_that_forgets_much():
    """Two running sums of thousands, subtracted, would not know what lies between."""
    x, dt, a, b, c, state = drawn(64)
    a[:] = -1
    dt[:, :40], dt[:, 40:] = 500, 0.01
    y, after = ssm.scan(x, dt, a, b, c, state, chunk=64)
    expected = recurrence(x, dt, a, b, c, state)
    close(y[:, 40:], expected[0][:, 40:], 1e-6)
    close(after, expected[1], 1e-6)


@pytest.mark.parametrize("pace", [1e-6, 1.0, 1e6])
def test_gradients_are_finite_and_those_of_the_recurrence(pace):
    given = [jnp.asarray(v) for v in drawn(12, pace=pace)]

    def plain(x, dt, a, b, c, state):
        b, c = (jnp.repeat(v, HEADS // GROUPS, axis=2) for v in (b, c))

        def step(state, item):
            x, dt, b, c = item
            kept = jnp.exp(dt * a[None])[:, None, :, None] * state
            state = kept + jnp.einsum("bnz,bn,bnd->bznd", b, dt, x)
            return state, jnp.einsum("bnz,bznd->bnd", c, state)

        texts = jax.tree.map(lambda v: v.swapaxes(0, 1), (x, dt, b, c))
        state, y = jax.lax.scan(step, state, texts)
        return y.swapaxes(0, 1), state

    def gradients(run):
        def functional(*given):
            return sum(jnp.vdot(jnp.cos(jnp.arange(x.size)), x.reshape(-1)) for x in run(*given))

        return jax.grad(functional, tuple(range(6)))(*given)

    found, expected = gradients(lambda *v: ssm.scan(*v, chunk=5)), gradients(plain)
    for x, y in zip(found, expected, strict=True):
        assert np.isfinite(x).all()
        assert np.abs(x - y).max() <= 1e-4 * np.abs(y).max()


def params(**options):
    specs = ssm.specs(embed=EMBED, **SIZES, **options)
    return spec.tree_map(
        lambda s: np.random.default_rng(len(s.shape)).normal(0, 0.5, s.shape).astype(np.float32),
        specs,
    )


def empty(batch=3, length=LENGTH):
    return spec.init(
        jax.random.key(0), ssm.cache_specs(["state_space"], batch=batch, length=length, **SIZES)
    ).layers[0]


def mixed(p, x, state=None, valid=None, limit=(0.0, float("inf"))):
    return ssm.mix(
        p, x, state, valid, heads=HEADS, groups=GROUPS, act="silu", eps=1e-5, limit=limit
    )


@settings(max_examples=8)
@given(cuts=st.lists(st.integers(1, LENGTH - 1), max_size=4), bias=st.booleans())
def test_a_text_in_pieces_is_the_whole_text(cuts, bias):
    """With padding, biases, which padding passes on too, and limits of the step."""
    p, rng = params(bias=bias), np.random.default_rng(1)
    x = rng.normal(size=(3, LENGTH, EMBED)).astype(np.float32)
    valid = (np.arange(LENGTH) >= np.array([0, 3, 7])[:, None]).astype(np.int32)
    whole, none = mixed(p, x, valid=valid, limit=(0.3, 0.9))
    assert none is None
    state, pieces = empty(), []
    for low, high in zip([0, *sorted(set(cuts))], [*sorted(set(cuts)), LENGTH], strict=True):
        y, state = mixed(p, x[:, low:high], state, valid[:, low:high], limit=(0.3, 0.9))
        pieces.append(y)
    close(np.concatenate(pieces, axis=1), np.asarray(whole))


def test_padding_on_the_left_changes_nothing():
    p, rng = params(bias=False, conv_bias=False), np.random.default_rng(1)
    x = rng.normal(size=(3, LENGTH, EMBED)).astype(np.float32)
    valid = np.ones((3, LENGTH), np.int32)
    valid[:, :4] = 0
    padded, _ = mixed(p, x, valid=valid)
    close(padded[:, 4:], np.asarray(mixed(p, x[:, 4:])[0]))


@pytest.mark.parametrize("layers", [stack.loop, stack.stacked])
def test_a_state_does_not_grow_with_the_text(layers):
    def sizes(length):
        cache = ssm.cache_specs(["a", "a"], batch=2, length=length, layers=layers, **SIZES)
        return [s.shape for s in spec.leaves(cache.layers)], cache.valid.shape

    few, many = sizes(10), sizes(100_000)
    assert few[0] == many[0]
    assert few[1] == (2, 10)
    assert many[1] == (2, 100_000)


@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_the_convolution_is_that_of_torch(taps, bias):
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((2, 9, 6), (6, 1, taps), 6))
    p = {"weight": w, "bias": b} if bias else {"weight": w}
    at = torch.from_numpy(x).transpose(1, 2)
    theirs = torch.nn.functional.conv1d(
        at, torch.from_numpy(w), torch.from_numpy(b) if bias else None, groups=6
    )
    np.testing.assert_allclose(ssm.causal_conv(p, x), theirs.transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_the_gate_comes_before_the_norm_of_each_group():
    rng = np.random.default_rng(0)
    x, gate, w = (rng.normal(size=s).astype(np.float32) for s in ((2, 3, 8), (2, 3, 8), 8))
    both = x * gate / (1 + np.exp(-gate))
    halves = both.reshape(2, 3, 2, 4)
    halves = halves / np.sqrt((halves**2).mean(-1, keepdims=True) + 0.1)
    found = ssm.gated_norm({"weight": w}, x, gate, eps=0.1, groups=2)
    np.testing.assert_allclose(found, halves.reshape(2, 3, 8) * w, rtol=1e-5, atol=1e-6)
