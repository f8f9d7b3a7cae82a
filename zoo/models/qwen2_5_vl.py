"""Qwen2.5-VL: Qwen2-VL with windows in its tower, and videos that know the time.

Bai et al. 2025, arXiv:2502.13923. Checkpoints: `Qwen2_5_VL*`.
"""

import dataclasses
import functools
from typing import Any

import jax

from zoo.layers import attention, mlp, norm, stack
from zoo.markers import block
from zoo.models import qwen2_vl
from zoo.models import qwen2_vl_vision as tower
from zoo.models.qwen2_vl import (
    IGNORED,
    INERT,
    TextConfig,
    cache_specs,
    check_inputs,
    limits,
    positions,
    upgrade,
)
from zoo.spec import Tree, scope

__all__ = [
    "IGNORED", "INERT", "TASKS", "Config", "apply", "cache_specs", "check_inputs", "limits",
    "positions", "upgrade",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The tower."""

    depth: int = 32
    hidden_size: int = 3584
    hidden_act: str = "silu"
    intermediate_size: int = 3420
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2
    tokens_per_second: int = 4
    window_size: int = 112
    out_hidden_size: int = 3584
    fullatt_block_indexes: tuple[int, ...] = dataclasses.field(
        default=(7, 15, 23, 31), metadata={"least": 0}
    )
    initializer_range: float = 0.02
    rope_theta: float = 10_000.0

    def __post_init__(self):
        tower.check(self, self.hidden_size)
        if not self.window:
            raise ValueError(
                f"window_size: {self.window_size} pixels hold no merged patch of "
                f"{self.spatial_merge_size} x {self.patch_size}"
            )

    @property
    def window(self) -> int:
        """Side of a window in patches, a multiple of those that are merged."""
        merge = self.spatial_merge_size
        return self.window_size // merge // self.patch_size * merge

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: some see whole frames, the others windows."""
        whole = self.fullatt_block_indexes
        return tuple("frame" if i in whole else "window" for i in range(self.depth))

    @property
    def out(self) -> int:
        """Width of what comes out."""
        return self.out_hidden_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    text_config: TextConfig = dataclasses.field(default_factory=TextConfig)
    vision_config: VisionConfig = dataclasses.field(default_factory=VisionConfig)
    image_token_id: int = 151655
    video_token_id: int = 151656
    tie_word_embeddings: bool = False

    hidden_size = qwen2_vl.Config.hidden_size
    initializer_range = qwen2_vl.Config.initializer_range


def vision_specs(c: VisionConfig, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the tower."""
    width = c.hidden_size
    one = {
        "attn_norm": norm.specs("norm1", width, bias=False),
        "attn": scope("attn", tower.attn_specs(width, c.num_heads)),
        "mlp_norm": norm.specs("norm2", width, bias=False),
        "mlp": scope("mlp", mlp.gated_specs(embed=width, hidden=c.intermediate_size, bias=True)),
    }
    return tower.tower_specs(c, width, one, layers, bias=False)


@block
def vision_layer(p: Tree, x: jax.Array, context: attention.Context, *, c: Any) -> jax.Array:
    """x [1, R, E] -> [1, R, E]: norms come before each sublayer."""
    rms_norm = functools.partial(norm.rms_norm, eps=tower.EPS)
    y, _ = attention.attend(p["attn"], rms_norm(p["attn_norm"], x), None, context)
    x = x + y
    return x + mlp.gated(p["mlp"], rms_norm(p["mlp_norm"], x), act=c.hidden_act)


def look(c: VisionConfig, p: Tree, pixels: jax.Array, grid: jax.Array) -> jax.Array:
    """Patches [R, C * pixels] of grids int [N, 3] -> vectors [R / merge^2, E] for the text."""
    return tower.look(c, p, pixels, grid, layer=vision_layer, last=norm.rms_norm, window=c.window)


apply = qwen2_vl.through(look)
TASKS = qwen2_vl.classes("Qwen2_5_VL", vision_specs, apply)
