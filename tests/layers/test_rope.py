"""Rotations: what any of them keeps, and the parameters that each type takes."""

import jax.numpy as jnp
import numpy as np
import pytest
from families.decoders import ROPES
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers.rope import VARIANTS, Rope, parse, rotate, rotation

DIM, TRAINED = 8, 64


def turned(rope: Rope, x: np.ndarray, at: int) -> np.ndarray:
    """A head x [D] at one position, in a text whose last position is the same for all."""
    positions = jnp.asarray([[at, TRAINED - 1]])
    both = jnp.stack([x, x])[None, :, None]
    turns = rotation(rope, positions, head_dim=DIM, trained=TRAINED)
    return np.asarray(rotate(both, turns))[0, 0, 0]


@pytest.mark.parametrize("kind", VARIANTS)
def test_scores_depend_on_the_distance_only(kind: str):
    rope = parse({"rope_type": kind, **ROPES[kind]})
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, DIM)).astype(np.float32)
    for gap in (0, 1, 7):
        scores = [turned(rope, q, at + gap) @ turned(rope, k, at) for at in (0, 3, 20, 50)]
        np.testing.assert_allclose(scores, scores[0], rtol=2e-4, atol=2e-5)


@settings(max_examples=20)
@given(at=st.integers(0, TRAINED - 1), theta=st.floats(10, 1e6), seed=st.integers(0, 2**16))
def test_a_rotation_keeps_lengths_and_position_zero_turns_nothing(at, theta, seed):
    x = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    rope = Rope(rope_theta=theta)
    length = np.linalg.norm(turned(rope, x, at))
    np.testing.assert_allclose(length, np.linalg.norm(x), rtol=1e-5)
    np.testing.assert_array_equal(turned(rope, x, 0), x)


def test_scaled_types_are_the_default_where_they_do_not_scale():
    x = np.random.default_rng(0).normal(size=DIM).astype(np.float32)
    plain = turned(Rope(), x, 9)
    np.testing.assert_array_equal(turned(Rope(rope_type="dynamic", factor=4.0), x, 9), plain)
    np.testing.assert_allclose(turned(Rope(rope_type="linear", factor=1.0), x, 9), plain)
    stretched = turned(Rope(rope_type="linear", factor=3.0), x, 9)
    np.testing.assert_allclose(stretched, turned(Rope(), x, 3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rope_type": "spiral"}, "rope_type: found 'spiral', expected one of default, linear"),
        ({"rope_type": "linear"}, "rope_type 'linear' needs factor"),
        ({"rope_type": "llama3", "factor": 2.0}, "needs high_freq_factor, low_freq_factor"),
        ({"rope_type": "linear", "factor": 2.0, "beta_fast": 1.0}, "has no use for beta_fast"),
        ({"rope_type": "yarn", "factors": 2.0}, "unknown keys factors"),
        ({"rope_type": "yarn", "factor": "4"}, "factor: found '4', expected a number"),
        ({"rope_type": "yarn", "truncate": 1}, "truncate: found 1, expected true or false"),
        ({"rope_theta": True}, "rope_theta: found True, expected a number"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        parse(given)


def test_factors_of_another_number_than_the_frequencies_are_refused():
    rope = parse({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0, 2.0]})
    with pytest.raises(ValueError, match="short_factor has 1 and long_factor 2 values, expected 4"):
        rotation(rope, jnp.zeros((1, 1), int), head_dim=DIM, trained=TRAINED)


def test_both_names_of_the_type():
    assert parse({"type": "linear", "factor": 2}) == parse({"rope_type": "linear", "factor": 2.0})
    longrope = {"short_factor": [1] * 4, "long_factor": [2] * 4}
    assert parse({"type": "su", **longrope}).rope_type == "longrope"
