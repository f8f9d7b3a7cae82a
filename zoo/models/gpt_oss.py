"""gpt-oss decoders: mixtures of clamped experts, attention sinks, every second layer a window.

OpenAI 2025, arXiv:2508.10925. Checkpoints: `GptOss*`. Their files hold the experts in MXFP4, which
is read into bfloat16. Letters: B batch, T tokens, E embed.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax

from zoo import tasks
from zoo.layers import attention, linear, moe, norm, stack
from zoo.layers.rope import Rope
from zoo.markers import block
from zoo.models import llama
from zoo.models.llama import IGNORED, cache_specs, limits
from zoo.spec import ArraySpec, Tree, scope

__all__ = ["ALIASES", "IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]

ALIASES = {"num_experts": "num_local_experts", "experts_per_token": "num_experts_per_tok"}
INERT = ("hidden_act", "initial_context_length", "output_router_logits", "router_aux_loss_coef")
ROPE = Rope(
    rope_type="yarn",
    rope_theta=150_000.0,
    factor=32.0,
    beta_fast=32.0,
    beta_slow=1.0,
    truncate=False,
    original_max_position_embeddings=4096,
)


def upgrade(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """A file that says nothing of the rotation means that of the published models."""
    if raw.get("rope_parameters") or raw.get("rope_scaling"):
        return raw
    own = {k: v for k, v in dataclasses.asdict(ROPE).items() if v is not None}
    theta = raw.get("rope_theta")
    return {**raw, "rope_parameters": own if theta is None else own | {"rope_theta": theta}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 201088
    hidden_size: int = 2880
    intermediate_size: int = 2880
    num_hidden_layers: int = 36
    num_attention_heads: int = 64
    num_key_value_heads: int | None = 8
    head_dim: int | None = 64
    max_position_embeddings: int = 131072
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-5
    rope_parameters: Rope = ROPE
    attention_bias: bool = True
    sliding_window: int | None = 128
    layer_types: tuple[str, ...] | None = None
    num_local_experts: int = 128
    num_experts_per_tok: int = 4
    swiglu_alpha: float = 1.702
    swiglu_limit: float = 7.0
    attention_dropout: float = 0.0
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    num_labels: int = 2

    def __post_init__(self):
        if self.layer_types is None:
            kinds = ("sliding_attention", "full_attention") * self.num_hidden_layers
            object.__setattr__(self, "layer_types", kinds[: self.num_hidden_layers])
        llama.complete(self)
        llama.check_kinds(self)
        moe.check(self.num_experts_per_tok, self.num_local_experts)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer."""
        return self.layer_types or ()


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    heads, bias = c.num_attention_heads, c.attention_bias
    one = llama.block_specs(c, bias=bias, out_bias=bias)
    one["attn"]["sinks"] = ArraySpec(shape=(heads,), axes=("heads",), name="self_attn.sinks")
    sizes = {"embed": c.hidden_size, "hidden": c.intermediate_size, "experts": c.num_local_experts}
    mixture = {
        "router": moe.router_specs("router", c.num_local_experts, c.hidden_size, bias=True),
        "experts": scope("experts", moe.interleaved_specs(**sizes)),
    }
    return llama.body_specs(c, one | {"mlp": scope("mlp", mixture)}, layers)


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
    rms_norm = functools.partial(norm.rms_norm, eps=c.rms_norm_eps)
    y, cache = attention.attend(
        p["attn"], rms_norm(p["attn_norm"], x), cache, context, key, rate=c.attention_dropout
    )
    x = x + y
    y = rms_norm(p["mlp_norm"], x)
    logits = linear.linear(p["mlp"]["router"], y)
    routing = moe.top_k_softmax(logits, k=c.num_experts_per_tok)
    limits = {"alpha": c.swiglu_alpha, "limit": c.swiglu_limit}
    return x + moe.clamped(p["mlp"]["experts"], y, routing, **limits), cache


apply = llama.through(layer)
TASKS = tasks.decoder("GptOss", specs, apply, answers_prefix=None)
