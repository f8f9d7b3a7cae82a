"""Feed-forward networks: two linear maps around an activation, plain or gated."""

import jax
from jaxtyping import Array, Float

from zoo.layers import linear
from zoo.layers.activation import activation
from zoo.layers.dropout import dropout
from zoo.spec import Init, Part, Tree, normal


def plain_specs(
    *,
    embed: int,
    hidden: int,
    names: tuple[str, str],
    bias: bool = True,
    conv1d: bool = False,
    down_init: Init = normal,
) -> Tree:
    """`up` embed -> hidden and `down` back, under the checkpoint's `names`."""
    up, down = names
    return {
        "up": linear.specs(up, hidden, embed, axes=("mlp", "embed"), bias=bias, conv1d=conv1d),
        "down": linear.specs(
            down, embed, hidden, axes=("embed", "mlp"), bias=bias, conv1d=conv1d, init=down_init
        ),
    }


def plain(
    p: Tree,
    x: Float[Array, "*b e"],
    key: jax.Array | None = None,
    *,
    act: str,
    rate: float = 0.0,
) -> Float[Array, "*b e"]:
    """x [B, T, E] -> [B, T, E]; `key` switches on dropout of the hidden units at `rate`."""
    hidden = activation(linear.linear(p["up"], x), name=act)
    return linear.linear(p["down"], dropout(hidden, key, rate=rate))


def gated_specs(
    *,
    embed: int,
    hidden: int,
    bias: bool = False,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> Tree:
    """`gate`, `up` and `down` under the checkpoint's `names`. Shazeer 2020, arXiv:2002.05202."""
    gate, up, down = names
    return {
        "gate": linear.specs(gate, hidden, embed, axes=("mlp", "embed"), bias=bias),
        "up": linear.specs(up, hidden, embed, axes=("mlp", "embed"), bias=bias),
        "down": linear.specs(down, embed, hidden, axes=("embed", "mlp"), bias=bias),
    }


def fused_specs(*, embed: int, hidden: int, bias: bool = False, names: tuple[str, str]) -> Tree:
    """`gate` and `up`, the halves of one tensor, and `down`, under the checkpoint's `names`."""
    both, down = names

    def half(i: int) -> Tree:
        part = Part(axis="o", start=i * hidden, total=2 * hidden)
        return linear.specs(both, hidden, embed, axes=("mlp", "embed"), bias=bias, part=part)

    return {
        "gate": half(0),
        "up": half(1),
        "down": linear.specs(down, embed, hidden, axes=("embed", "mlp"), bias=bias),
    }


def gated(
    p: Tree,
    x: Float[Array, "*b e"],
    key: jax.Array | None = None,
    *,
    act: str,
    rate: float = 0.0,
) -> Float[Array, "*b e"]:
    """x [B, T, E] -> [B, T, E]: `down(act(gate(x)) * up(x))`, with dropout as in `plain`."""
    gate = activation(linear.linear(p["gate"], x), name=act)
    hidden = gate * linear.linear(p["up"], x)
    return linear.linear(p["down"], dropout(hidden, key, rate=rate))
