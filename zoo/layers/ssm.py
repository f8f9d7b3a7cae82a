"""State spaces: a causal convolution, then a recurrence whose decay each token chooses.

Mamba 2, or SSD. Dao and Gu 2024, arXiv:2405.21060. Of every head, with a step dt > 0 and a < 0:

    state[t] = exp(dt[t] a) state[t - 1] + b[t] (dt[t] x[t])'
    y[t] = c[t] state[t] + skip x[t]

Letters: B batch, T tokens, M chunks, t s places in a chunk, E embed, N heads, D head size, G groups
of heads that share b and c, R heads of a group, Z state size, C channels, K taps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.layers import activation, linear, norm, stack
from zoo.layers import cache as caching
from zoo.markers import op
from zoo.spec import ArraySpec, Init, Part, Tree, normal, ones, scope, zeros

CHUNK = 64  # tokens; how the sum is cut changes its rounding only


class State(NamedTuple):
    """What a layer remembers of all tokens before: its size does not depend on their number.

    Attributes:
      conv: the last K - 1 inputs of the convolutions `x b c`, each [B, K - 1, C].
      ssm: float32 [B, Z, N, D].
    """

    conv: Tree
    ssm: Any


class Inits(NamedTuple):
    """Initial values of what is drawn otherwise than other weights."""

    conv: Init = normal
    out: Init = normal
    rate: Init = normal
    step: Init = normal


NORMAL = Inits()


def _widths(heads: int, head_dim: int, groups: int, state: int) -> dict[str, int]:
    """Rows of the fused projection, in their order."""
    inner, shared = heads * head_dim, groups * state
    return {"gate": inner, "x": inner, "b": shared, "c": shared, "dt": heads}


AXES = {"gate": "heads", "x": "heads", "b": None, "c": None, "dt": "heads"}


def _rows(
    shape: tuple[int, ...], axes: tuple[str | None, ...], start: int, total: int, **options: Any
) -> ArraySpec:
    """Some rows of a tensor that several arrays share."""
    letters = " ".join("feg"[: len(shape)])
    part = Part(axis="f", start=start, total=total)
    return ArraySpec(shape=shape, axes=axes, store=f"{letters} -> {letters}", part=part, **options)


def specs(
    *,
    embed: int,
    heads: int,
    head_dim: int,
    groups: int,
    state: int,
    taps: int,
    bias: bool = False,
    conv_bias: bool = True,
    inits: Inits = NORMAL,
) -> Tree:
    """Mamba 2's mixer. Both `in_proj` and `conv1d` are tensors that several arrays share."""
    widths = _widths(heads, head_dim, groups, state)
    inner, total = heads * head_dim, sum(widths.values())
    channels = inner + 2 * groups * state
    into, conv, start = {}, {}, 0
    for key, width in widths.items():
        rows = {"weight": _rows((width, embed), (AXES[key], "embed"), start, total, name="weight")}
        if bias:
            rows["bias"] = _rows((width,), (AXES[key],), start, total, name="bias", init=zeros)
        into[key] = scope("in_proj", rows)
        if key in "xbc":
            shape, axes, at = (width, 1, taps), (AXES[key], None, None), start - inner
            rows = {"weight": _rows(shape, axes, at, channels, name="weight", init=inits.conv)}
            if conv_bias:
                rows["bias"] = _rows(shape[:1], axes[:1], at, channels, name="bias", init=zeros)
            conv[key] = scope("conv1d", rows)
        start += width
    return {
        "in": into,
        "conv": conv,
        "step": _per_head(heads, "dt_bias", inits.step),
        "rate": _per_head(heads, "A_log", inits.rate),
        "skip": _per_head(heads, "D", ones),
        "norm": norm.specs("norm", inner, bias=False, axis="heads"),
        "out": linear.specs(
            "out_proj", embed, inner, axes=("embed", "heads"), bias=bias, init=inits.out
        ),
    }


def _per_head(heads: int, name: str, init: Init) -> ArraySpec:
    return ArraySpec(shape=(heads,), axes=("heads",), init=init, name=name)


def cache_specs(
    kinds: Sequence[str],
    *,
    batch: int,
    length: int,
    heads: int,
    head_dim: int,
    groups: int,
    state: int,
    taps: int,
    layers: stack.Build = stack.loop,
) -> caching.Cache:
    """A state per layer; `length` is that of the bookkeeping only."""
    widths = _widths(heads, head_dim, groups, state)

    def room(shape: tuple[int, ...], *axes: str | None, **options: Any) -> ArraySpec:
        return ArraySpec(
            shape=(batch, *shape), axes=("batch", *axes), init=zeros, name="cache.{}", **options
        )

    one = State(
        conv={key: room((taps - 1, widths[key]), None, AXES[key]) for key in "xbc"},
        ssm=room((state, heads, head_dim), None, "heads", "head_dim", dtype=jnp.float32),
    )
    return caching.specs(layers(kinds, lambda kind: one), batch=batch, length=length)


@op("causal_conv")
def causal_conv(p: Tree, x: Float[Array, "b s c"]) -> Float[Array, "b t c"]:
    """x [B, K - 1 + T, C] -> [B, T, C]: each channel by its own K taps, the last on the newest."""
    taps = p["weight"].shape[-1]
    length = x.shape[1] - taps + 1
    y = jnp.zeros((x.shape[0], length, x.shape[2]), x.dtype)
    for k in range(taps):
        y = y + x[:, k : k + length] * p["weight"][None, None, :, 0, k]
    return y + p["bias"][None, None] if "bias" in p else y


@op("state_space_scan")
def scan(
    x: Float[Array, "b t n d"],
    dt: Float[Array, "b t n"],
    a: Float[Array, " n"],
    b: Float[Array, "b t g z"],
    c: Float[Array, "b t g z"],
    state: Float[Array, "b z n d"],
    *,
    chunk: int = CHUNK,
) -> tuple[Float[Array, "b t n d"], Float[Array, "b z n d"]]:
    """The recurrence of the whole text, without the skip -> (y [B, T, N, D], state after it).

    Within chunks it is an attention without softmax, whose weights decay with the distance; from
    chunk to chunk the state is carried. With chunks of one token it is the recurrence itself.
    """
    (batch, length, heads, head_dim), (groups, size) = x.shape, b.shape[2:]
    each = heads // groups
    chunk = min(chunk, length) if isinstance(length, int) else chunk

    def chunks(y: jax.Array, *shape: int) -> jax.Array:
        """[B, T, ...] -> [B, M, t, ...]; a step of zero neither decays nor adds."""
        y = jnp.pad(y, ((0, 0), (0, -length % chunk), *((0, 0),) * (y.ndim - 2)))
        return y.reshape(batch, -1, chunk, *shape)

    decay = chunks(dt * a[None, None], heads).transpose(0, 1, 3, 2)  # its logarithm
    x = chunks(x * dt[..., None], groups, each, head_dim)
    b, c = chunks(b, groups, size), chunks(c, groups, size)
    # What decays between two places is a sum over those between, here a product with a triangle.
    # The difference of two running sums would lose what both of them hold.
    after = jnp.tril(jnp.ones((chunk, chunk), jnp.float32))
    after_s = jnp.broadcast_to(jnp.tril(after, -1), (*decay.shape, chunk)) * decay[..., None]
    between = jnp.einsum("ti,bmnis->bmnts", after, after_s, precision="highest")
    between = jnp.exp(between) * jnp.broadcast_to(after, between.shape)
    since = jnp.exp(jnp.einsum("ti,bmni->bmtn", after, decay, precision="highest"))
    since = since.reshape(batch, -1, chunk, groups, each, 1)

    seen = jnp.einsum("bmtgz,bmsgz->bmgts", c, b)[:, :, :, None]
    weights = seen * between.reshape(batch, -1, groups, each, chunk, chunk)
    y = jnp.einsum("bmgrts,bmsgrd->bmtgrd", weights, x)

    left = between[..., -1, :].transpose(0, 1, 3, 2).reshape(since.shape)
    added = jnp.einsum("bmsgz,bmsgrd->mbzgrd", b, x * left)
    kept = since[:, :, -1].swapaxes(0, 1)[:, :, None]

    def step(state: jax.Array, item: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        added, kept = item
        return state * kept + added, state

    state = state.reshape(batch, size, groups, each, head_dim)
    state, before = jax.lax.scan(step, state, (added, kept))
    y = y + jnp.einsum("bmtgz,mbzgrd->bmtgrd", c, before) * since
    y = y.reshape(batch, -1, heads, head_dim)[:, :length]
    return y, state.reshape(batch, size, heads, head_dim)


@op("gated_rms_norm")
def gated_norm(
    p: Tree, x: Float[Array, "... f"], gate: Float[Array, "... f"], *, eps: float, groups: int
) -> Float[Array, "... f"]:
    """x [..., N D] by the silu of its gate, then the norm of every group of heads for itself."""
    y = x.astype(jnp.float32) * jax.nn.silu(gate.astype(jnp.float32))
    y = y.reshape(*y.shape[:-1], groups, -1)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + eps)
    y = y.reshape(gate.shape).astype(gate.dtype)
    return y * jnp.broadcast_to(p["weight"].astype(y.dtype), y.shape)


def mix(
    p: Tree,
    x: jax.Array,
    state: State | None,
    valid: jax.Array | None,
    begun: jax.Array | None = None,
    *,
    heads: int,
    groups: int,
    act: str,
    eps: float,
    limit: tuple[float, float],
) -> tuple[jax.Array, State | None]:
    """x [B, T, E] -> (y [B, T, E], state after it).

    Without a state it is that of an empty text, and none is returned. `valid` [B, T] is zero for
    padding, which adds nothing but lets the state decay, and whose biases the convolution sees;
    `begun` [T] is false where there is not even padding. Steps dt are kept within `limit`.
    """
    was = _empty(p, x, heads=heads, groups=groups) if state is None else state
    x = _masked(x, valid)
    flow = {key: linear.linear(p["in"][key], x) for key in p["in"]}
    conv, inner = {}, {}
    for key, weights in p["conv"].items():
        new = flow[key] if begun is None else jnp.where(begun[None, :, None], flow[key], 0)
        y = jnp.concatenate([was.conv[key].astype(x.dtype), new], axis=1)
        conv[key] = y[:, x.shape[1] :].astype(was.conv[key].dtype)
        y = _masked(activation.activation(causal_conv(weights, y), name=act), valid)
        y = y.astype(jnp.float32)
        inner[key] = y.reshape(*y.shape[:2], heads if key == "x" else groups, -1)

    rate, step, skip = (p[name].astype(jnp.float32) for name in ("rate", "step", "skip"))
    dt = jax.nn.softplus(flow["dt"].astype(jnp.float32) + step[None, None])
    dt = jnp.clip(dt, *limit)
    y, after = scan(inner["x"], dt, -jnp.exp(rate), inner["b"], inner["c"], was.ssm)
    y = y + inner["x"] * skip[None, None, :, None]
    gate = flow["gate"]
    y = gated_norm(p["norm"], y.reshape(gate.shape), gate, eps=eps, groups=groups)
    y = linear.linear(p["out"], y)
    return y, None if state is None else State(conv=conv, ssm=after)


def _empty(p: Tree, x: jax.Array, *, heads: int, groups: int) -> State:
    """The state before the first token."""
    weights = {key: conv["weight"] for key, conv in p["conv"].items()}
    conv = {
        key: jnp.zeros((x.shape[0], w.shape[-1] - 1, w.shape[0]), x.dtype)
        for key, w in weights.items()
    }
    shape = (x.shape[0], len(weights["b"]) // groups, heads, len(weights["x"]) // heads)
    return State(conv=conv, ssm=jnp.zeros(shape, jnp.float32))


def _masked(x: jax.Array, valid: jax.Array | None) -> jax.Array:
    return x if valid is None else x * valid[..., None].astype(x.dtype)
