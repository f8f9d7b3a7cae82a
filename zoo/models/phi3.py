"""Phi-3 and Phi-4 decoders: Llama with fused projections, dropout, and rotations of long texts.

Abdin et al. 2024, arXiv:2404.14219 and arXiv:2412.08905. Checkpoints: `Phi3*`.
Letters: B batch, T new tokens, E embed.

Texts beyond the original length take other frequencies. As in transformers' forward, a cache keeps
the keys as they were rotated; its `generate` runs the whole text again when it crosses that length.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax

from zoo import tasks
from zoo.layers import attention, mlp, norm, stack
from zoo.layers.dropout import dropout, keys
from zoo.layers.rope import DEFAULT, Rope
from zoo.markers import block
from zoo.models import llama
from zoo.models.llama import IGNORED, cache_specs, limits
from zoo.spec import Tree, scope

__all__ = ["IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]

INERT = ("embd_pdrop", "full_attn_mod", "interpolate_factor")  # transformers applies none of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 32064
    hidden_size: int = 3072
    intermediate_size: int = 8192
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 4096
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-5
    original_max_position_embeddings: int = 4096
    rope_parameters: Rope = DEFAULT
    sliding_window: int | None = None
    resid_pdrop: float = 0.0
    attention_dropout: float = 0.0
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = 32000
    tie_word_embeddings: bool = False
    num_labels: int = 2

    def __post_init__(self):
        if self.num_key_value_heads is None:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size: {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}"
            )
        original = self.original_max_position_embeddings  # wherever else it may be written
        rope = dataclasses.replace(self.rope_parameters, original_max_position_embeddings=original)
        object.__setattr__(self, "rope_parameters", rope)
        llama.complete(self, partial=True)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: the window is that of all."""
        kind = "full_attention" if self.sliding_window is None else "sliding_attention"
        return (kind,) * self.num_hidden_layers


def upgrade(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Calls rotations of long texts by their name of today."""
    raw = dict(raw)
    for key in ("rope_scaling", "rope_parameters"):
        rope = raw.get(key)
        if isinstance(rope, Mapping):
            kind = rope.get("rope_type") or rope.get("type")
            named = {k: v for k, v in rope.items() if k != "type"}
            kind = "longrope" if kind in ("su", "yarn") else kind
            raw[key] = named | ({} if kind is None else {"rope_type": kind})
    return raw


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    attn = attention.fused_specs(
        embed=c.hidden_size,
        heads=c.num_attention_heads,
        kv_heads=c.num_key_value_heads or c.num_attention_heads,
        head_dim=c.head_dim,
        names=("qkv_proj", "o_proj"),
    )
    gated = mlp.fused_specs(
        embed=c.hidden_size, hidden=c.intermediate_size, names=("gate_up_proj", "down_proj")
    )
    one = {
        "attn_norm": norm.specs("input_layernorm", c.hidden_size, bias=False),
        "attn": scope("self_attn", attn),
        "mlp_norm": norm.specs("post_attention_layernorm", c.hidden_size, bias=False),
        "mlp": scope("mlp", gated),
    }
    return llama.body_specs(c, one, layers)


@block
def layer(
    p: Tree,
    x: jax.Array,
    cache: attention.KVCache | None,
    context: attention.Context,
    key: jax.Array | None,
    *,
    c: Config,
) -> tuple[jax.Array, attention.KVCache | None]:
    """x [B, T, E] -> (x [B, T, E], cache)."""
    drop = functools.partial(dropout, rate=c.resid_pdrop)
    rms_norm = functools.partial(norm.rms_norm, eps=c.rms_norm_eps)
    k1, k2, k3 = keys(key, 3)
    y, cache = attention.attend(
        p["attn"], rms_norm(p["attn_norm"], x), cache, context, k1, rate=c.attention_dropout
    )
    x = x + drop(y, k2)
    return x + drop(mlp.gated(p["mlp"], rms_norm(p["mlp_norm"], x), act=c.hidden_act), k3), cache


apply = llama.through(layer)
TASKS = tasks.decoder("Phi3", specs, apply, answers_prefix=None)
