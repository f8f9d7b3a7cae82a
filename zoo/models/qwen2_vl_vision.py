"""The tower of Qwen2-VL, and what towers that descend from it share.

Wang et al. 2024, arXiv:2409.12191. Letters: N images, R patches, E embed.

Functions whose `c` is not a `Config` take that of another tower.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from zoo.layers import activation, attention, linear, mlp, norm, packed, stack
from zoo.layers.rope import Rope, axial
from zoo.markers import block
from zoo.spec import ArraySpec, Part, Tree, scope

EPS = 1e-6  # of the norms; no config names it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    depth: int = 32
    embed_dim: int = 1280
    hidden_size: int = 3584
    hidden_act: str = "quick_gelu"
    mlp_ratio: int = 4
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2
    initializer_range: float = 0.02
    rope_theta: float = 10_000.0

    def __post_init__(self):
        check(self, self.embed_dim)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all see whole frames."""
        return ("frame",) * self.depth

    @property
    def out(self) -> int:
        """Width of what comes out."""
        return self.hidden_size


def check(c: Any, width: int) -> None:
    """Checks what the towers share.

    Raises:
      ValueError: heads that do not divide, or that cannot be rotated by rows and columns, or an
        unknown activation.
    """
    if width % (4 * c.num_heads):
        raise ValueError(
            f"num_heads: found {c.num_heads} over a width of {width}, expected heads that are a "
            f"multiple of 4 wide: pairs to rotate by row and by column"
        )
    activation.check(c.hidden_act, where="hidden_act")


def attn_specs(width: int, heads: int) -> Tree:
    """Attention of a tower, its three projections in one tensor."""

    def project(i: int) -> Tree:
        part = Part(axis="n", start=i * heads, total=3 * heads)
        size = width // heads
        return linear.to_heads_specs("qkv", heads, size, width, axis="heads", bias=True, part=part)

    out = linear.from_heads_specs("proj", width, heads, width // heads, bias=True)
    return {"q": project(0), "k": project(1), "v": project(2), "o": out}


def tower_specs(c: Any, width: int, one: Tree, layers: stack.Build, *, bias: bool) -> Tree:
    """A tower of this width around layers declared as `one`; `bias` is that of its last norm."""
    patch = (c.in_channels, c.temporal_patch_size, c.patch_size, c.patch_size)
    merged = width * c.spatial_merge_size**2
    return {
        "patches": {
            "weight": ArraySpec(
                shape=(width, *patch),
                axes=("embed", None, None, None, None),
                name="patch_embed.proj.weight",
            )
        },
        "layers": layers(c.kinds, lambda kind: scope("blocks.{}", one)),
        "merger": {
            "norm": norm.specs("merger.ln_q", width, bias=bias),
            "up": linear.specs("merger.mlp.0", merged, merged, axes=("mlp", "embed")),
            "down": linear.specs("merger.mlp.2", c.out, merged, axes=("embed", "mlp")),
        },
    }


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the tower."""
    width = c.embed_dim
    plain = mlp.plain_specs(embed=width, hidden=width * c.mlp_ratio, names=("fc1", "fc2"))
    one = {
        "attn_norm": norm.specs("norm1", width),
        "attn": scope("attn", attn_specs(width, c.num_heads)),
        "mlp_norm": norm.specs("norm2", width),
        "mlp": scope("mlp", plain),
    }
    return tower_specs(c, width, one, layers, bias=True)


@block
def layer(p: Tree, x: jax.Array, context: attention.Context, *, c: Any) -> jax.Array:
    """x [1, R, E] -> [1, R, E]: norms come before each sublayer."""
    layer_norm = functools.partial(norm.layer_norm, eps=EPS)
    y, _ = attention.attend(p["attn"], layer_norm(p["attn_norm"], x), None, context)
    x = x + y
    return x + mlp.plain(p["mlp"], layer_norm(p["mlp_norm"], x), act=c.hidden_act)


def look(
    c: Any,
    p: Tree,
    pixels: jax.Array,
    grid: jax.Array,
    *,
    layer: Callable = layer,
    last: Callable = norm.layer_norm,
    window: int | None = None,
) -> jax.Array:
    """Patches [R, C * pixels] of grids int [N, 3] -> vectors [R / merge^2, E] for the text.

    `layer` is called as that of this file, and `last` as a norm; layers of kind "window" see
    `window` patches down and across.
    """
    weight = p["patches"]["weight"]
    x = pixels.astype(weight.dtype)
    x = jnp.einsum("rp,ep->re", x, weight.reshape(weight.shape[0], -1))[None]
    places = packed.unpack(grid, pixels.shape[0], merge=c.spatial_merge_size)
    at = jnp.stack([places.row, places.column])[:, None]
    size = x.shape[-1] // c.num_heads
    turns = axial(Rope(rope_theta=c.rope_theta), at, head_dim=size)
    sides = {"frame": None, "window": window}
    contexts = {
        kind: attention.Context(mask=packed.together(places, window=sides[kind]), rotation=turns)
        for kind in sorted(set(c.kinds))
    }
    x, _, _ = stack.run(
        lambda kind, p, x, cache, i, key: (layer(p, x, contexts[kind], c=c), None),
        c.kinds,
        p["layers"],
        x,
    )
    x = last(p["merger"]["norm"], x[0], eps=EPS)
    x = x.reshape(-1, x.shape[-1] * c.spatial_merge_size**2)
    return mlp.plain(p["merger"], x, act="gelu")
