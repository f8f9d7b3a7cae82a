"""Mixtures of experts: equal to every expert on every token, weighted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import spec
from zoo.layers import moe

EMBED, HIDDEN, ROWS = 12, 20, 60
CUTS = st.lists(st.integers(0, ROWS), min_size=4, max_size=4)


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def close(x, y) -> None:
    for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * max(1, np.abs(b).max()))


def one_by_one(x: jax.Array, w: jax.Array, counts: jax.Array) -> jax.Array:
    owner = jnp.searchsorted(jnp.cumsum(counts), jnp.arange(ROWS), side="right")
    return jnp.einsum("ri,roi->ro", x, w[owner])


def grouped(x: jax.Array, w: jax.Array, counts: jax.Array) -> jax.Array:
    """Some in either layout of the weights."""
    half = HIDDEN // 2
    ends = {"weight": w[:, :half]}, {"weight_io": w[:, half:].transpose(0, 2, 1)}
    return jnp.concatenate([moe.grouped_linear(p, x, counts) for p in ends], axis=1)


@functools.partial(jax.jit, static_argnums=0)
def pulled(fn, x, w, counts, dy):
    """The function and its gradients."""
    y, back = jax.vjp(lambda x, w: fn(x, w, counts), x, w)
    return y, back(dy)


@settings(max_examples=40, deadline=None)
@given(cuts=CUTS, seed=st.integers(0, 99))
def test_rows_go_through_the_map_of_their_expert(cuts: list[int], seed: int):
    counts = jnp.asarray(np.diff([0, *sorted(cuts), ROWS]), jnp.int32)
    x, w = normal(seed, ROWS, EMBED), normal(seed + 1, len(counts), HIDDEN, EMBED)
    dy = normal(seed + 2, ROWS, HIDDEN)
    close(pulled(grouped, x, w, counts, dy), pulled(one_by_one, x, w, counts, dy))


@pytest.mark.parametrize("axis", [1, 2])
def test_accelerators_compute_the_same(axis: int):
    """What is lowered elsewhere than on CPU, run here."""
    counts = jnp.asarray([3, 0, 9, 1], jnp.int32)
    x, w = normal(0, 13, EMBED), normal(1, 4, *((HIDDEN, EMBED) if axis == 2 else (EMBED, HIDDEN)))
    y = moe._tiled(x, w, counts, axis)
    close(moe._ragged(x, w, counts, axis), y)
    close(moe._ragged_outer(y, x, counts), moe._tiled_outer(y, x, counts))


def test_biases_are_those_of_the_expert():
    counts, b = jnp.asarray([2, 0, 3], jnp.int32), normal(1, 3, HIDDEN)
    tree = {"weight": jnp.zeros((3, HIDDEN, EMBED)), "bias": b}
    y = moe.grouped_linear(tree, normal(0, 5, EMBED), counts)
    np.testing.assert_array_equal(y, b[np.array([0, 0, 2, 2, 2])])


def dense(p, x, routing: moe.Routing) -> jax.Array:
    """Every expert on every token, weighted; zero where it is not chosen."""
    gate, up = (jnp.einsum("bte,xfe->btxf", x, p[n]["weight"]) for n in ("gate", "up"))
    y = jnp.einsum("btxf,xef->btxe", jax.nn.silu(gate) * up, p["down"]["weight"])
    hot = jax.nn.one_hot(routing.experts, y.shape[2]) * routing.weights[..., None]
    return jnp.einsum("btxe,btx->bte", y, hot.sum(-2))


@functools.partial(jax.jit, static_argnums=(0, 1))
def mixed(mix, routing: tuple[int, bool], p, x, router, dy):
    """Routing and mixing, and the gradients of all that goes in."""
    k, renormalise = routing

    def run(p, x, router):
        return mix(p, x, moe.softmax_top_k(x @ router, k=k, renormalise=renormalise))

    y, back = jax.vjp(run, p, x, router)
    return y, back(dy)


def sparse(p, x, routing: moe.Routing) -> jax.Array:
    return moe.gated(p, x, routing, act="silu")


@settings(max_examples=30, deadline=None)
@given(
    routing=st.sampled_from([(1, False), (2, True), (5, False), (5, True)]),
    skew=st.floats(0, 3),
    seed=st.integers(0, 99),
)
def test_equal_to_the_dense_form(routing: tuple[int, bool], skew: float, seed: int):
    """Whether some experts get most tokens, and up to all of them for each."""
    specs = moe.gated_specs(embed=EMBED, hidden=HIDDEN, experts=5)
    p = spec.init(jax.random.key(seed), specs, std=0.5)
    x, router = normal(seed, 2, 33, EMBED) + skew, normal(seed + 1, EMBED, 5)
    given = p, x, router, normal(seed + 2, *x.shape)
    close(mixed(sparse, routing, *given), mixed(dense, routing, *given))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), renormalise=st.booleans())
def test_groups_are_ranked_before_experts(seed: int, renormalise: bool):
    """Against a loop over tokens: corrected scores choose, plain ones weigh."""
    logits, correction = np.asarray(normal(seed, 9, 12)), np.asarray(normal(seed + 1, 12))
    found = moe.group_top_k(
        jnp.asarray(logits), jnp.asarray(correction),
        k=3, groups=4, kept=2, renormalise=renormalise, scale=2.5,
    )  # fmt: skip
    for row, experts, weights in zip(logits, found.experts, found.weights, strict=True):
        scores = 1 / (1 + np.exp(-row))
        rank = (scores + correction).reshape(4, 3)
        best = np.argsort(-np.sort(rank)[:, 1:].sum(1))[:2]
        open_ = [e for e in range(12) if e // 3 in best]
        wanted = sorted(open_, key=lambda e: -rank[e // 3, e % 3])[:3]
        assert list(experts) == wanted
        share = scores[wanted].sum() if renormalise else 1
        np.testing.assert_allclose(weights, 2.5 * scores[wanted] / share, rtol=1e-5)


def test_more_experts_of_a_token_than_there_are():
    with pytest.raises(ValueError, match="num_experts_per_tok: found 9, expected at most 8"):
        moe.check(9, 8)
