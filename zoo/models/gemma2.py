"""Gemma 2 decoders. Team Gemma 2024, arXiv:2408.00118. Checkpoints: `Gemma2*`.

Norms before and after each sublayer, scores and logits bent into a range, every second layer with a
window. Letters: B batch, T new tokens, E embed.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.layers import attention, linear, mlp, norm, stack
from zoo.layers.rope import DEFAULT, Rope
from zoo.markers import block
from zoo.models import llama
from zoo.models.llama import IGNORED, cache_specs, limits
from zoo.spec import Tree, scope

__all__ = ["IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]

INERT = ("cache_implementation", "hidden_act")  # the activation is hidden_activation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 256000
    hidden_size: int = 2304
    intermediate_size: int = 9216
    num_hidden_layers: int = 26
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 256
    hidden_activation: str = "gelu_pytorch_tanh"
    max_position_embeddings: int = 8192
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_parameters: Rope = DEFAULT
    attention_bias: bool = False
    attention_dropout: float = 0.0
    query_pre_attn_scalar: int | float = 256
    sliding_window: int | None = 4096
    layer_types: tuple[str, ...] | None = None
    final_logit_softcapping: float | None = 30.0
    attn_logit_softcapping: float | None = 50.0
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        complete(self, period=2)

    @property
    def hidden_act(self) -> str:
        """The activation, by the name that other decoders use."""
        return self.hidden_activation

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer."""
        return self.layer_types or ()


def complete(c: Any, *, period: int) -> None:
    """Fills in the kind of each layer, the last of every `period` seeing all, and checks sizes.

    Raises:
      ValueError: sizes or `layer_types` that do not fit, or caps that are not above 0.
    """
    if c.layer_types is None:
        kinds = ["full_attention" if not (i + 1) % period else "sliding_attention"
                 for i in range(c.num_hidden_layers)]  # fmt: skip
        object.__setattr__(c, "layer_types", tuple(kinds))
    llama.complete(c)
    llama.check_kinds(c)
    for name in ("final_logit_softcapping", "attn_logit_softcapping", "query_pre_attn_scalar"):
        if (value := getattr(c, name)) is not None and value <= 0:
            raise ValueError(f"{name}: found {value}, expected a number above 0")


def block_specs(c: Any, *, qk_norm: bool = False) -> Tree:
    """One layer: four norms, whose scales are stored as their distance from one."""
    attn = attention.specs(
        embed=c.hidden_size,
        heads=c.num_attention_heads,
        kv_heads=c.num_key_value_heads,
        head_dim=c.head_dim,
        bias=c.attention_bias,
        out_bias=c.attention_bias,
        qk_norm=qk_norm,
        from_one=True,
    )
    norms = functools.partial(norm.specs, size=c.hidden_size, bias=False, from_one=True)
    gated = mlp.gated_specs(embed=c.hidden_size, hidden=c.intermediate_size)
    return {
        "attn_norm": norms("input_layernorm"),
        "attn": scope("self_attn", attn),
        "attn_out_norm": norms("post_attention_layernorm"),
        "mlp_norm": norms("pre_feedforward_layernorm"),
        "mlp": scope("mlp", gated),
        "mlp_out_norm": norms("post_feedforward_layernorm"),
    }


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    return llama.body_specs(c, block_specs(c), layers, from_one=True)


@block
def layer(
    p: Tree,
    x: jax.Array,
    cache: attention.KVCache | None,
    context: attention.Context,
    key: jax.Array | None,
    *,
    c: Any,
) -> tuple[jax.Array, attention.KVCache | None]:
    """x [B, T, E] -> (x [B, T, E], cache)."""
    rms_norm = functools.partial(norm.rms_norm, eps=c.rms_norm_eps)
    y, cache = attention.attend(
        p["attn"],
        rms_norm(p["attn_norm"], x),
        cache,
        context,
        key,
        scale=c.query_pre_attn_scalar**-0.5,
        softcap=c.attn_logit_softcapping,
        eps=c.rms_norm_eps,
        rate=c.attention_dropout,
    )
    x = x + rms_norm(p["attn_out_norm"], y)
    y = mlp.gated(p["mlp"], rms_norm(p["mlp_norm"], x), act=c.hidden_activation)
    return x + rms_norm(p["mlp_out_norm"], y), cache


def embed(
    c: Any, p: Tree, ids: jax.Array | None, vectors: jax.Array | None, key: jax.Array | None
) -> jax.Array:
    """Ids int [B, T] -> x [B, T, E], scaled by a root that is rounded to the weights' dtype."""
    x = linear.embed_text(p, ids, vectors, padding_idx=c.pad_token_id)
    if ids is None:
        return x
    return x * jnp.float32(c.hidden_size**0.5).astype(x.dtype)


apply = llama.through(layer, embed=embed)
TASKS = tasks.decoder(
    "Gemma2", specs, apply, answers_prefix=None, cap=lambda c: c.final_logit_softcapping
)
