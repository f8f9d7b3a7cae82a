"""SpecAugment: as many spans as asked for, of the right length, in what is not padding."""

import jax
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import conv1d
from zoo.layers.augment import Spans, hide, spans


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9),
    share=st.floats(0, 1),
    length=st.integers(1, 6),
    least=st.integers(0, 4),
)
def test_spans_are_whole_and_inside(seed, share, length, least):
    counts = np.array([24, 17, 5, 1], np.int32)
    hidden = np.asarray(
        spans(jax.random.key(seed), 4, 24, Spans(share, length, least), jax.numpy.asarray(counts))
    )
    for row, count in zip(hidden, counts, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]]).astype(int)))
        assert (np.diff(edges)[::2] >= length).all()
        assert not row[count:].any()
        room = max(count - length + 1, 0)
        most = min(max(int(share * count / length) + 1, least), 24 // length, room)
        fewest = min(max(int(share * count / length), least), 24 // length, room)
        assert min(fewest, 1) * length <= row.sum() <= most * length


def test_hidden_steps_are_filled_and_hidden_channels_are_zero():
    x, fill = jax.numpy.ones((2, 9, 12)), jax.numpy.full((12,), 5.0)
    given = np.arange(18).reshape(2, 9) % 4 == 0
    none = Spans(0.0, 3, 0)
    y = np.asarray(hide(x, fill, given, None, time=none, channels=none))
    assert (y[given] == 5).all()
    assert (y[~given] == 1).all()
    y = np.asarray(hide(x, fill, None, jax.random.key(0), time=none, channels=Spans(0.5, 3, 1)))
    assert set(np.unique(y)) == {0, 1}
    assert (y == y[:, :1]).all()


def test_a_normed_convolution_is_that_of_torch():
    rng = np.random.default_rng(0)
    g, v = rng.normal(size=(1, 1, 5)), rng.normal(size=(6, 2, 5))
    x, bias = rng.normal(size=(2, 11, 4)), rng.normal(size=6)
    p = {k: jax.numpy.asarray(y, "float32") for k, y in {"g": g, "v": v, "bias": bias}.items()}
    ours = conv1d.conv1d(
        p, jax.numpy.asarray(x, "float32"), stride=2, padding=(3, 1), dilation=2, groups=2
    )
    weight = torch._weight_norm(torch.tensor(v), torch.tensor(g), 2)
    padded = torch.nn.functional.pad(torch.tensor(x).mT, (3, 1))
    theirs = torch.nn.functional.conv1d(
        padded, weight, torch.tensor(bias), stride=2, dilation=2, groups=2
    )
    np.testing.assert_allclose(ours, theirs.mT, rtol=1e-5, atol=1e-5)
    assert ours.shape[1] == conv1d.lengths(11 + 4, (9,), (2,))
