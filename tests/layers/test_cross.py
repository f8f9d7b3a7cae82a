"""Attention on an encoder's output: from a cache, from a longer cache, in both forms of layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import spec
from zoo.layers import attention, cross, stack

KINDS = ("decoder",) * 3
SIZES = {"kv_heads": 2, "head_dim": 4}
rng = np.random.default_rng(0)
X = rng.normal(size=(2, 5, 6)).astype(np.float32)
SOURCE = rng.normal(size=(2, 7, 6)).astype(np.float32)
VALID = np.array([[1] * 7, [0, 0, 1, 1, 1, 1, 0]])


def layers(build):
    one = attention.specs(embed=6, heads=4, **SIZES, bias=True, out_bias=True)
    specs = build(KINDS, lambda kind: spec.scope("layers.{}", {"cross": one}))
    return spec.init(jax.random.key(1), specs, std=0.5)


def decode(layers, seen):
    def step(kind, p, x, cache, i, key):
        p, one = p
        return x + cross.attend(p["cross"], x, one, seen.mask), None

    return stack.run(step, KINDS, stack.paired(layers, seen.layers), jnp.asarray(X))[0]


def empty(build, source):
    cache = attention.cache_specs(KINDS, batch=2, length=9, **SIZES, layers=build)
    specs = cross.cache_specs(cache, KINDS, source=source, **SIZES, layers=build)
    return spec.init(jax.random.key(0), specs)


@pytest.mark.parametrize("build", [stack.loop, stack.stacked])
@pytest.mark.parametrize("valid", [None, VALID])
@pytest.mark.parametrize("room", [7, 10])
def test_what_a_cache_remembers_is_what_was_seen(build, valid, room):
    p = layers(build)
    seen, none = cross.see(p, SOURCE, valid, None)
    assert none is None
    first, cache = cross.see(p, SOURCE, valid, empty(build, room))
    later, same = cross.see(p, None, None, cache)
    assert same is cache
    expected = decode(p, seen)
    np.testing.assert_allclose(decode(p, first), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(decode(p, later), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(decode(layers(stack.loop), cross.see(
        layers(stack.loop), SOURCE, valid, None)[0]), expected, rtol=1e-5, atol=1e-6)  # fmt: skip


def test_padding_of_a_source_is_not_seen():
    p = layers(stack.loop)
    other = np.where(VALID[..., None] == 1, SOURCE, 9.0).astype(np.float32)
    both = [decode(p, cross.see(p, source, VALID, None)[0]) for source in (SOURCE, other)]
    np.testing.assert_array_equal(*both)


def test_nothing_to_see_is_refused():
    with pytest.raises(ValueError, match="encoder_outputs: found nothing to decode from; pass"):
        cross.see(layers(stack.loop), None, None, None)
    with pytest.raises(ValueError, match=r"found room for 6 places .*, expected 7; make it with"):
        cross.see(layers(stack.loop), SOURCE, None, empty(stack.loop, 6))
