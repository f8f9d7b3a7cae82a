"""Caches of layers with a window: a ring of its length, whatever the chunks of the text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export

import zoo
from zoo import spec
from zoo.layers import attention, rope
from zoo.layers import cache as caching

EMBED, HEADS, KV_HEADS, HEAD_DIM, BATCH = 8, 4, 2, 6, 2
KIND = "sliding_attention"
PARAMS = spec.init(
    jax.random.key(0),
    attention.specs(embed=EMBED, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD_DIM),
    std=1.0,
)


def attend(x, mask, cache, window):
    """One layer with rotary positions: x [B, T, E] -> (y, cache)."""
    tokens, cache = caching.place(x.shape[1], attention_mask=mask, position_ids=None, cache=cache)
    turns = rope.rotation(rope.DEFAULT, tokens.positions, head_dim=HEAD_DIM, trained=64)
    context = attention.context(tokens, window=window, rotation=turns)
    y, kept = attention.attend(PARAMS, x, cache and cache.layers[0], context)
    return y, cache and cache.__class__(layers=(kept,), valid=cache.valid, length=cache.length)


def empty(window: int | None, length: int) -> caching.Cache:
    """A cache of `length` tokens."""
    return spec.init(
        jax.random.key(0),
        attention.cache_specs(
            (KIND,), batch=BATCH, length=length, kv_heads=KV_HEADS, head_dim=HEAD_DIM,
            windows={KIND: window},
        ),
    )  # fmt: skip


@st.composite
def texts(draw):
    chunks = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    left = draw(st.integers(0, sum(chunks) - 1))
    return chunks, left, draw(st.integers(1, 14)), draw(st.integers(0, 3)), draw(st.integers(0, 99))


@settings(max_examples=12, deadline=None)
@given(texts())
def test_any_chunking_of_a_text_gives_the_same(problem):
    chunks, left, window, spare, seed = problem
    length = sum(chunks)
    x = np.random.default_rng(seed).normal(size=(BATCH, length, EMBED)).astype(np.float32)
    mask = np.ones((BATCH, length), np.int32)
    mask[1, :left] = 0
    with jax.disable_jit():
        whole, _ = attend(x, mask, None, window)
        cache, pieces, at = empty(window, length + spare), [], 0
        assert cache.layers[0].k.shape[1] == min(window, length + spare)
        for size in chunks:
            part = slice(at, at + size)
            y, cache = attend(x[:, part], mask[:, part], cache, window)
            pieces.append(y)
            at += size
    assert cache is not None
    assert int(cache.length) == length
    found = np.concatenate(pieces, axis=1)
    np.testing.assert_allclose(found[mask == 1], whole[mask == 1], rtol=1e-4, atol=1e-5)


def tokens(*slots: int) -> caching.Tokens:
    """New tokens at these slots of nine, of which the fourth holds padding."""
    at = jnp.array([slots])
    valid = jnp.arange(9)[None] != 3
    return caching.Tokens(
        positions=at, slots=at, keys=jnp.arange(9)[None], valid=valid, start=at[0, 0]
    )


def test_a_ring_holds_the_last_tokens_each_at_its_number_modulo_the_size():
    cache = attention.KVCache(jnp.zeros((1, 3, 1, 1)), jnp.zeros((1, 3, 1, 1)))
    new = jnp.arange(2.0, 7.0).reshape(1, 5, 1, 1)
    seen, kept = attention.remember(
        cache, new, -new, attention.context(tokens(*range(2, 7)), window=3)
    )
    np.testing.assert_array_equal(seen.k.ravel(), [0, 0, 0, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(kept.k.ravel(), [6, 4, 5])
    np.testing.assert_array_equal(kept.v.ravel(), [-6, -4, -5])


def test_one_token_is_written_before_it_is_read():
    cache = attention.KVCache(jnp.ones((1, 3, 1, 1)), jnp.ones((1, 3, 1, 1)))
    new, context = jnp.full((1, 1, 1, 1), 7.0), attention.context(tokens(4), window=3)
    seen, kept = attention.remember(cache, new, new, context)
    np.testing.assert_array_equal(seen.k.ravel(), [1, 7, 1])
    assert seen is kept
    np.testing.assert_array_equal(context.mask, [[[[False, True, True]]]])


def test_what_a_ring_holds_is_told_by_number():
    before, after = (tokens(4, 5).in_ring(3, written=written) for written in (False, True))
    np.testing.assert_array_equal(before.keys, [[3, 1, 2, 4, 5]])
    np.testing.assert_array_equal(before.valid, [[False, True, True, True, True]])
    np.testing.assert_array_equal(after.keys, [[3, 4, 5]])
    first = tokens(0).in_ring(3, written=False)
    np.testing.assert_array_equal(first.keys, [[-3, -2, -1, 0]])
    np.testing.assert_array_equal(first.valid, [[False, False, False, True]])


@pytest.mark.parametrize("layers", ["loop", "stacked"])
def test_each_kind_of_layer_has_the_room_it_needs(layers: str):
    model = zoo.from_config(
        {
            "model_type": "qwen2", "vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24,
            "use_sliding_window": True, "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        layers=layers,
    )  # fmt: skip
    sizes = {x.shape[-3] for x in jax.tree.leaves(model.init_cache(1, 12).layers)}
    assert sizes == {5, 12}
    assert {x.shape[-3] for x in jax.tree.leaves(model.init_cache(1, 4).layers)} == {4}


def test_one_program_serves_every_step():
    traced = []

    @jax.jit
    def step(x, cache):
        traced.append(x)
        return attend(x, None, cache, 3)

    cache = empty(3, 9)
    for _ in range(5):
        _, cache = step(jnp.ones((BATCH, 1, EMBED)), cache)
    assert len(traced) == 1


def test_a_program_for_any_number_of_tokens():
    """With T symbolic, one token takes the way of several and comes to the same."""

    def step(x, layers, valid, length):
        cache = caching.Cache(layers=layers, valid=valid, length=length)
        y, cache = attend(x, None, cache, 3)
        return y, cache and cache.layers

    (size,) = export.symbolic_shape("t", constraints=["t <= 9"])
    cache = empty(3, 9)
    state = (cache.layers, cache.valid, cache.length)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    x = jax.ShapeDtypeStruct((BATCH, size, EMBED), jnp.float32)
    program = export.export(jax.jit(step))(x, *shapes)
    for count in (1, 2, 5):
        new = np.random.default_rng(count).normal(size=(BATCH, count, EMBED)).astype(np.float32)
        for found, wanted in zip(
            jax.tree.leaves(program.call(new, *state)),
            jax.tree.leaves(step(new, *state)),
            strict=True,
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
