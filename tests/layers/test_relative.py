"""Buckets of distances against those of T5 and DeBERTa, at every distance that can round."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position
from transformers.models.t5.modeling_t5 import T5Attention

from zoo.layers import relative


@pytest.mark.parametrize("both_sides", [True, False])
@pytest.mark.parametrize(("count", "longest"), [(32, 128), (32, 64), (8, 9), (12, 300), (64, 1000)])
def test_buckets_are_those_of_t5(count: int, longest: int, both_sides: bool):
    distance = np.arange(-2 * longest, 2 * longest + 1)
    theirs = T5Attention._relative_position_bucket(
        torch.from_numpy(distance),
        bidirectional=both_sides,
        num_buckets=count,
        max_distance=longest,
    )
    ours = relative.bucket(
        jnp.asarray(distance), count=count, longest=longest, both_sides=both_sides
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("count", "longest"), [(256, 512), (7, 40), (5, 30), (2, 9), (3, 9), (32, 128), (64, 2048)]
)
def test_signed_buckets_are_those_of_deberta(count: int, longest: int):
    distance = np.arange(-3 * longest, 3 * longest + 1)
    theirs = make_log_bucket_position(torch.from_numpy(distance), count, longest).numpy()
    ours = relative.signed_bucket(jnp.asarray(distance), count=count, longest=longest)
    clip = lambda x: np.clip(x, -count, count - 1)  # noqa: E731
    np.testing.assert_array_equal(clip(np.asarray(ours)), clip(theirs))


def test_a_bias_is_the_row_of_its_distance():
    p = {"weight": jnp.arange(12.0).reshape(6, 2)}
    at = jnp.asarray([[0, 1, 2]])
    y = relative.bias(p, at, at, count=6, longest=3, both_sides=True)
    assert y.shape == (1, 2, 3, 3)
    np.testing.assert_array_equal(y[0, 1], [[1, 9, 11], [3, 1, 9], [5, 3, 1]])


def test_buckets_that_never_grow_are_refused():
    with pytest.raises(ValueError, match="found 32 buckets up to a distance of 16, expected"):
        relative.bucket(jnp.arange(3), count=32, longest=16, both_sides=False)
    with pytest.raises(ValueError, match="found 32 buckets up to a distance of 16, expected"):
        relative.signed_bucket(jnp.arange(3), count=32, longest=16)
