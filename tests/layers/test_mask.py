"""Masks as pictures: rows are queries, columns keys, # is seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.layers.mask import Mask

AT = np.arange(4)[None]


def picture(mask: np.ndarray) -> list[str]:
    """A mask [1, 1, T, S] as text."""
    return ["".join("#" if x else "." for x in row) for row in np.asarray(mask)[0, 0]]


CASES = {
    "causal": (
        Mask(queries=AT, keys=AT, causal=True),
        ["#...", "##..", "###.", "####"],
    ),
    "window": (
        Mask(queries=AT, keys=AT, causal=True, window=2),
        ["#...", "##..", ".##.", "..##"],
    ),
    "window both ways": (
        Mask(queries=AT, keys=AT, window=2),
        ["##..", "###.", ".###", "..##"],
    ),
    "window of one": (
        Mask(queries=AT, keys=AT, causal=True, window=1),
        ["#...", ".#..", "..#.", "...#"],
    ),
    "padding on the left": (
        Mask(queries=AT, keys=AT, causal=True, valid=np.array([[0, 0, 1, 1]])),
        ["....", "....", "..#.", "..##"],
    ),
    "padding on the right": (
        Mask(queries=AT, keys=AT, causal=True, valid=np.array([[1, 1, 0, 0]])),
        ["#...", "##..", "##..", "##.."],
    ),
    "prefix": (
        Mask(queries=AT, keys=AT, causal=True, prefix=np.array([2])),
        ["##..", "##..", "###.", "####"],
    ),
    "packed": (
        Mask(queries=AT, keys=AT, causal=True, query_segments=np.array([[0, 0, 1, 1]]),
             key_segments=np.array([[0, 0, 1, 1]])),
        ["#...", "##..", "..#.", "..##"],
    ),
    "one new token": (
        Mask(queries=np.array([[2]]), keys=AT, causal=True, valid=np.array([[0, 1, 1, 0]])),
        [".##."],
    ),
    "pairwise": (
        Mask(valid=np.array([[[1, 0, 0, 1], [0, 1, 1, 0]]])),
        ["#..#", ".##."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_pictures(name: str):
    mask, expected = CASES[name]
    assert picture(mask.array()) == expected


def test_no_condition_is_no_mask():
    assert Mask().array() is None
    assert Mask(queries=AT, keys=AT).array() is None


def test_causality_without_positions_is_refused():
    with pytest.raises(ValueError, match="Mask: causal and window need the positions"):
        Mask(causal=True).array()


@given(
    length=st.integers(1, 7), window=st.none() | st.integers(1, 8), causal=st.booleans(),
    keep=st.lists(st.booleans(), min_size=7, max_size=7),
)  # fmt: skip
def test_a_mask_is_the_conjunction_of_its_conditions(length, window, causal, keep):
    at = np.arange(length)[None]
    valid = np.array([keep[:length]])
    mask = Mask(valid=valid, queries=at, keys=at, causal=causal, window=window).array()
    mask = np.broadcast_to(mask, (1, 1, length, length))
    for t, s in np.ndindex(length, length):
        seen = valid[0, s] and (not causal or s <= t)
        assert mask[0, 0, t, s] == (seen and (window is None or abs(t - s) < window))
