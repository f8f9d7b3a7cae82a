"""Loading and saving a layout undo each other, also for parts of a fused tensor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges import checkpoint
from bridges.header import CheckpointError
from bridges.layout import Layout, layout
from zoo.spec import ArraySpec, Part

SIZE = st.integers(1, 4)


def declared(shape, store=None, part=None, name="w") -> ArraySpec:
    return ArraySpec(shape=shape, axes=(None,) * len(shape), store=store, part=part, name=name)


def loaded(form: Layout, file: np.ndarray, rows: int = 2) -> np.ndarray:
    """What of a stored tensor is in memory, read some rows at a time."""
    out = np.full(form.shape, -1)
    pieces = file.reshape(form.factored[0], -1)
    for start in range(0, len(pieces), rows):
        form.load(pieces[start : start + rows], start, out)
    return out


@st.composite
def patterns(draw):
    """A rearrangement of up to four axes, some of them joined in the file."""
    memory = ["n", "d", "e", "f"][: draw(st.integers(1, 4))]
    stored, groups = draw(st.permutations(memory)), []
    while stored:
        k = draw(st.integers(1, len(stored)))
        groups.append(stored[:k])
        stored = stored[k:]
    left = " ".join(f"({' '.join(g)})" if len(g) > 1 else g[0] for g in groups)
    shape = tuple(draw(SIZE) for _ in memory)
    return declared(shape, f"{left} -> {' '.join(memory)}"), groups


@given(patterns(), SIZE)
def test_saving_undoes_loading(pattern, rows):
    spec, groups = pattern
    form = layout(spec)
    size = dict(zip(spec.store.split("-> ")[1].split(), spec.shape, strict=True))
    assert form.stored == tuple(int(np.prod([size[a] for a in g])) for g in groups)
    file = np.arange(spec.size).reshape(form.stored)
    inside, out = loaded(form, file, rows), np.full_like(file, -1)
    assert inside.shape == spec.shape
    form.save(inside, out)
    np.testing.assert_array_equal(out, file)
    assert not form.is_view or np.array_equal(inside.ravel(), file.ravel())


@given(heads=SIZE, size=SIZE, embed=SIZE, transposed=st.booleans())
def test_parts_cover_a_fused_tensor(heads, size, embed, transposed):
    store = "e (n d) -> n d e" if transposed else "(n d) e -> n d e"
    parts = [
        declared((heads, size, embed), store, Part(axis="n", start=i * heads, total=3 * heads))
        for i in range(3)
    ]
    forms = [layout(p) for p in parts]
    file = np.arange(3 * heads * size * embed).reshape(forms[0].stored)
    arrays = [loaded(form, file) for form in forms]
    thirds = np.split(file, 3, axis=1 if transposed else 0)
    for x, third in zip(arrays, thirds, strict=True):
        x = x.reshape(-1, embed)
        np.testing.assert_array_equal(x.T if transposed else x, third)
    tensors = list(checkpoint.tensors(parts, arrays))
    assert [name for name, _, _ in tensors] == ["w"]
    np.testing.assert_array_equal(tensors[0][2](), file)


@given(heads=SIZE, size=SIZE, embed=SIZE, place=st.integers(0, 2))
def test_a_part_along_an_axis_that_memory_does_not_name(heads, size, embed, place):
    part = Part(axis="three", start=place, total=3)
    spec = declared((heads, size, embed), "(n three d) e -> n d e", part)
    form = layout(spec)
    file = np.arange(3 * heads * size * embed).reshape(form.stored)
    inside = loaded(form, file)
    np.testing.assert_array_equal(inside, file.reshape(heads, 3, size, embed)[:, place])
    out = np.full_like(file, -1)
    form.save(inside, out)
    kept = out.reshape(heads, 3, size, embed)[:, place]
    np.testing.assert_array_equal(kept, inside)
    assert (out >= 0).sum() == inside.size


def test_without_a_pattern_memory_and_file_are_alike():
    form = layout(declared((2, 3)))
    assert form.is_view
    assert form.stored == (2, 3)


def test_a_pattern_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r"w: pattern 'a b -> b a' does not fit shape \(2, 3, 4\)"):
        layout(declared((2, 3, 4), "a b -> b a"))


def test_missing_parts_are_refused():
    part = Part(axis="n", start=0, total=2)
    spec = declared((1, 3), "n d -> n d", part)
    with pytest.raises(CheckpointError, match="w: the model holds 3 of 6 elements"):
        list(checkpoint.tensors([spec], [np.ones((1, 3))]))
