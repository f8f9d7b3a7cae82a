"""Mixtures of experts: each token goes through the few networks that a router chooses for it.

Shazeer et al. 2017, arXiv:1701.06538. No token is dropped and no expert sees tokens of others:
tokens are sorted by expert, and each expert multiplies its own.
Letters: N tokens, K experts of a token, X experts, R = N K rows, E embed, F hidden units.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import max_dim, min_dim
from jaxtyping import Array, Float, Int

from zoo.layers import linear
from zoo.layers.activation import activation
from zoo.markers import op
from zoo.spec import ArraySpec, Part, Tree, scope, stack, zeros


class Routing(NamedTuple):
    """Which experts [..., K] each token goes to, and with which weights [..., K]."""

    weights: jax.Array
    experts: jax.Array


def interleaved_specs(*, embed: int, hidden: int, experts: int) -> Tree:
    """`gate` and `up`, interleaved in one tensor of files, and `down`: (in, out), with biases."""
    into, out = ("experts", "embed", "expert_mlp"), ("experts", "expert_mlp", "embed")

    def half(start: int) -> Tree:
        part = Part(axis="two", start=start, total=2)
        weight = ArraySpec(
            shape=(experts, embed, hidden),
            axes=into,
            name="gate_up_proj",
            store="x e (f two) -> x e f",
            part=part,
        )
        bias = ArraySpec(
            shape=(experts, hidden),
            axes=into[::2],
            init=zeros,
            name="gate_up_proj_bias",
            store="x (f two) -> x f",
            part=part,
        )
        return {"weight_io": weight, "bias": bias}

    down = ArraySpec(shape=(experts, hidden, embed), axes=out, name="down_proj")
    bias = ArraySpec(shape=(experts, embed), axes=out[::2], init=zeros, name="down_proj_bias")
    return {"gate": half(0), "up": half(1), "down": {"weight_io": down, "bias": bias}}


def check(chosen: int, experts: int) -> None:
    """Checks that a token can go to so many experts.

    Raises:
      ValueError: there are fewer.
    """
    if chosen > experts:
        raise ValueError(f"num_experts_per_tok: found {chosen}, expected at most {experts} experts")


def router_specs(name: str, experts: int, embed: int, *, bias: bool = False) -> Tree:
    """`{name}.weight` [X, E], and on request `{name}.bias`: whole everywhere, to rank all."""
    return linear.specs(name, experts, embed, axes=(None, "embed"), bias=bias)


def gated_specs(
    *,
    embed: int,
    hidden: int,
    experts: int,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> Tree:
    """`gate`, `up` and `down` of every expert, stacked: each is a tensor of its own in files."""
    gate, up, down = names
    into, out = ("expert_mlp", "embed"), ("embed", "expert_mlp")
    one = {
        "gate": linear.specs(gate, hidden, embed, axes=into, bias=False),
        "up": linear.specs(up, hidden, embed, axes=into, bias=False),
        "down": linear.specs(down, embed, hidden, axes=out, bias=False),
    }
    return stack(range(experts), scope("experts.{}", one), axis="experts")


@op("softmax_top_k")
def softmax_top_k(logits: Float[Array, "... x"], *, k: int, renormalise: bool) -> Routing:
    """The `k` likeliest experts of logits [..., X], with their probabilities.

    `renormalise` divides these by their sum.
    """
    weights, experts = lax.top_k(jax.nn.softmax(logits.astype(jnp.float32), axis=-1), k)
    if renormalise:
        weights = weights / weights.sum(-1, keepdims=True)
    return Routing(weights, experts)


@op("top_k_softmax")
def top_k_softmax(logits: Float[Array, "... x"], *, k: int) -> Routing:
    """The experts with the `k` largest of logits [..., X], weighted by the softmax of these."""
    best, experts = lax.top_k(logits, k)
    return Routing(jax.nn.softmax(best.astype(jnp.float32), axis=-1), experts)


@op("group_top_k")
def group_top_k(
    logits: Float[Array, "... x"],
    correction: Float[Array, " x"],
    *,
    k: int,
    groups: int,
    kept: int,
    renormalise: bool,
    scale: float,
) -> Routing:
    """The `k` best experts of the `kept` best of `groups` groups, weighted by sigmoids of logits.

    `correction` [X] is added to rank experts, not to weigh them; a group is as good as its two
    best. The weights are divided by their sum on request and multiplied by `scale`.
    DeepSeek-AI 2024, arXiv:2412.19437.
    """
    scores = jax.nn.sigmoid(logits.astype(jnp.float32))
    rank = scores + jnp.broadcast_to(correction, scores.shape)
    grouped = rank.reshape(*rank.shape[:-1], groups, -1)
    best = lax.top_k(grouped, min(2, grouped.shape[-1]))[0].sum(-1)
    chosen = jax.nn.one_hot(lax.top_k(best, kept)[1], groups, dtype=bool).any(-2)
    rank = jnp.where(chosen[..., None], grouped, -jnp.inf).reshape(rank.shape)
    experts = lax.top_k(rank, k)[1]
    weights = jnp.take_along_axis(scores, experts, axis=-1)
    if renormalise:
        weights = weights / (weights.sum(-1, keepdims=True) + 1e-20)
    return Routing(weights * scale, experts)


def jitter(x: jax.Array, key: jax.Array | None, *, noise: float) -> jax.Array:
    """Scales every element by a random factor of 1 - `noise` to 1 + `noise`; x without a key."""
    if key is None or noise == 0:
        return x
    return x * jax.random.uniform(key, x.shape, x.dtype, 1 - noise, 1 + noise)


def mix(
    x: Float[Array, "b t e"],
    routing: Routing,
    experts: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    count: int,
) -> Float[Array, "b t e"]:
    """Weighted sum of what the chosen ones of `count` experts say of x [B, T, E].

    `experts(rows, counts)` gets rows [R, E] sorted by expert and how many [X] belong to each.
    """
    k = routing.experts.shape[-1]
    chosen = routing.experts.reshape(-1)
    order = jnp.argsort(chosen)
    rows = x.reshape(-1, x.shape[-1])[order // k]
    y = experts(rows, jnp.bincount(chosen, length=count))
    y = y[jnp.argsort(order)].reshape(-1, k, x.shape[-1])
    weights = routing.weights.reshape(-1, k).astype(x.dtype)
    return jnp.einsum("nke,nk->ne", y, weights).reshape(x.shape)


def gated(p: Tree, x: Float[Array, "b t e"], routing: Routing, *, act: str) -> jax.Array:
    """x [B, T, E] -> [B, T, E]: the sum of `down(act(gate(x)) * up(x))` of the chosen experts."""

    def experts(rows: jax.Array, counts: jax.Array) -> jax.Array:
        gate = activation(grouped_linear(p["gate"], rows, counts), name=act)
        return grouped_linear(p["down"], gate * grouped_linear(p["up"], rows, counts), counts)

    return mix(x, routing, experts, count=p["gate"]["weight"].shape[0])


def clamped(
    p: Tree, x: Float[Array, "b t e"], routing: Routing, *, alpha: float, limit: float
) -> jax.Array:
    """As `gated`, by `down(gate * sigmoid(alpha gate) * (up + 1))`.

    `gate` is kept below `limit` and `up` within plus and minus `limit`.
    """

    def experts(rows: jax.Array, counts: jax.Array) -> jax.Array:
        gate = jnp.minimum(grouped_linear(p["gate"], rows, counts), limit)
        up = jnp.clip(grouped_linear(p["up"], rows, counts), -limit, limit)
        return grouped_linear(p["down"], gate * jax.nn.sigmoid(alpha * gate) * (up + 1), counts)

    return mix(x, routing, experts, count=p["gate"]["weight_io"].shape[0])


@op("grouped_linear")
def grouped_linear(
    p: Tree, x: Float[Array, "r i"], counts: Int[Array, " x"]
) -> Float[Array, "r o"]:
    """Rows [R, in], sorted by expert, through the linear map of their expert -> [R, out].

    Weights are `weight` [X, out, in] or `weight_io` [X, in, out], a bias is [X, out]. `counts` [X]
    are the rows of each expert. Not differentiable in forward mode.
    """
    io = "weight_io" in p
    y = _product(x, p["weight_io"] if io else p["weight"], counts, 1 if io else 2)
    if "bias" not in p:
        return y
    owner = jnp.repeat(jnp.arange(counts.size), counts, total_repeat_length=x.shape[0])
    return y + p["bias"][owner]


def _product(x: jax.Array, w: jax.Array, counts: jax.Array, axis: int) -> jax.Array:
    """Contracts x [R, in] with that axis of w [X, ., .]."""
    return lax.platform_dependent(
        x,
        w,
        counts,
        cpu=lambda x, w, counts: _tiled(x, w, counts, axis),
        default=lambda x, w, counts: _ragged(x, w, counts, axis),
    )


def _ragged(x: jax.Array, w: jax.Array, counts: jax.Array, axis: int) -> jax.Array:
    numbers = lax.RaggedDotDimensionNumbers(
        dot_dimension_numbers=(((1,), (axis,)), ((), ())),
        lhs_ragged_dimensions=[0],
        rhs_group_dimensions=[0],
    )
    return lax.ragged_dot_general(x, w, counts, numbers)


_product = jax.custom_vjp(_product, nondiff_argnums=(3,))


def _forward(x: jax.Array, w: jax.Array, counts: jax.Array, axis: int):
    return _product(x, w, counts, axis), (x, w, counts)


def _backward(axis: int, kept: tuple[jax.Array, jax.Array, jax.Array], dy: jax.Array):
    x, w, counts = kept
    dx = _product(dy, w, counts, 3 - axis)
    a, b = (dy, x) if axis == 2 else (x, dy)
    dw = lax.platform_dependent(a, b, counts, cpu=_tiled_outer, default=_ragged_outer)
    return dx, dw, np.zeros(counts.shape, jax.dtypes.float0)


_product.defvjp(_forward, _backward)


def _ragged_outer(a: jax.Array, b: jax.Array, counts: jax.Array) -> jax.Array:
    """a [R, O] and b [R, I] -> [X, O, I], the sum over each expert's rows of their products."""
    numbers = lax.RaggedDotDimensionNumbers(
        dot_dimension_numbers=(((0,), (0,)), ((), ())),
        lhs_ragged_dimensions=[0],
        rhs_group_dimensions=[],
    )
    return lax.ragged_dot_general(a, b, counts, numbers)


# XLA on CPU runs `ragged_dot` as every expert on every row. Loops over tiles of the rows of one
# expert take R / X times less; a tile is half as long again as an expert's mean share, so that
# most experts need one.


def _tile(rows: int, experts: int) -> int:
    return max_dim(8, min_dim(128, 3 * rows // (2 * experts)))


def _walk(counts: jax.Array, size: int, step: Callable, out: jax.Array) -> jax.Array:
    """Calls `step(expert, first row, number of rows, out) -> out` for each tile with rows in it."""
    ends = jnp.cumsum(counts)

    def body(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        at, out = state
        expert = jnp.searchsorted(ends, at, side="right")
        rows = jnp.minimum(ends[expert] - at, size)
        return at + rows, step(expert, at, rows, out)

    return lax.while_loop(lambda state: state[0] < ends[-1], body, (jnp.zeros_like(ends[0]), out))[
        1
    ]


def _tiled(x: jax.Array, w: jax.Array, counts: jax.Array, axis: int) -> jax.Array:
    size = _tile(x.shape[0], w.shape[0])
    padded = jnp.pad(x, ((0, size), (0, 0)))

    def step(expert: jax.Array, at: jax.Array, rows: jax.Array, out: jax.Array) -> jax.Array:
        """Writes beyond the expert's rows too: what stands there comes later and is overwritten."""
        tile = lax.dynamic_slice_in_dim(padded, at, size)
        own = lax.dynamic_index_in_dim(w, expert, keepdims=False)
        y = lax.dot_general(tile, own, (((1,), (axis - 1,)), ((), ())))
        return lax.dynamic_update_slice_in_dim(out, y, at, 0)

    out = jnp.zeros((padded.shape[0], w.shape[3 - axis]), x.dtype)
    return _walk(counts, size, step, out)[: x.shape[0]]


def _tiled_outer(a: jax.Array, b: jax.Array, counts: jax.Array) -> jax.Array:
    size = _tile(a.shape[0], counts.size)
    left, right = (jnp.pad(x, ((0, size), (0, 0))) for x in (a, b))

    def step(expert: jax.Array, at: jax.Array, rows: jax.Array, out: jax.Array) -> jax.Array:
        one, other = (lax.dynamic_slice_in_dim(x, at, size) for x in (left, right))
        one = jnp.where(jnp.arange(size)[:, None] < rows, one, jnp.zeros_like(one))
        sum_ = lax.dynamic_index_in_dim(out, expert, keepdims=False) + one.T @ other
        return lax.dynamic_update_index_in_dim(out, sum_, expert, 0)

    return _walk(counts, size, step, jnp.zeros((counts.size, a.shape[1], b.shape[1]), a.dtype))
