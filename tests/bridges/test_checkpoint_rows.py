"""Tensors are read a few rows at a time; what arrives does not depend on how many."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges import checkpoint, safetensors
from bridges.layout import BAND, layout
from zoo.spec import ArraySpec, Part

DTYPES = (np.float32, ml_dtypes.bfloat16, np.float16)


def fused(pattern, shape, axis, count, **sizes):
    """`count` arrays that share a tensor along one axis of the pattern."""
    axes = (None,) * len(shape)
    total = count * sizes.get(axis, 1)
    return [
        ArraySpec(
            shape=shape,
            axes=axes,
            name="w",
            store=pattern,
            part=Part(axis=axis, start=i * sizes.get(axis, 1), total=total),
        )
        for i in range(count)
    ]


def plain(shape, pattern=None, **more):
    return [ArraySpec(shape=shape, axes=(None,) * len(shape), name="w", store=pattern, **more)]


@st.composite
def families(draw):
    n, d, e = (draw(st.integers(1, 2 * BAND + 3)) for _ in range(3))
    return draw(
        st.sampled_from(
            [
                plain((n, e)),
                plain(()),
                plain((0, e)),
                plain((n, d, e), "(n d) e -> n d e"),
                plain((n, d, e), "e (n d) -> n d e"),
                plain((e, n, d), "(n d) e -> e n d"),
                plain((e, n), "n e -> e n"),
                plain((n, d), "(n d) -> n d"),
                fused("e (p n d) -> n d e", (n, d, e), "p", 3),
                fused("(p n d) e -> n d e", (n, d, e), "p", 3),
                fused("(n p d) e -> n d e", (n, d, e), "p", 3),
                fused("(p n d) -> n d", (n, d), "p", 3),
                fused("(n d) e -> n d e", (n, d, e), "n", 2, n=n),
                fused("e (n d) -> n d e", (n, d, e), "n", 2, n=n),
            ]
        )
    )


@given(family=families(), rows=st.integers(1, 300), stored=st.sampled_from(DTYPES), data=st.data())
def test_rows_do_not_matter(tmp_path_factory, family, rows, stored, data):
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    random = np.random.default_rng(0)
    shape = layout(family[0]).stored
    arrays = [random.standard_normal(s.shape).astype(stored) for s in family]
    tensor = np.empty(shape, stored)
    for s, x in zip(family, arrays, strict=True):
        layout(s).save(x, tensor)
    folder = tmp_path_factory.mktemp("rows")
    safetensors.write(folder, [("w", tensor, lambda: tensor)])
    with pytest.MonkeyPatch.context() as patch, safetensors.Checkpoint.open(folder) as source:
        patch.setattr(checkpoint, "CHUNK", rows)
        loaded = checkpoint.load(family, source, {"w": "w"}, dtype=dtype)
    for x, y in zip(arrays, loaded, strict=True):
        assert y.dtype == dtype
        assert np.asarray(y).tobytes() == x.astype(dtype).tobytes()
