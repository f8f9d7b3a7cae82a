"""Mixtral decoders: Mistral with a mixture of experts in every layer.

Jiang et al. 2024, arXiv:2401.04088. Checkpoints: `Mixtral*`. Letters: B batch, T tokens, E embed.
"""

import dataclasses
import functools

import jax

from zoo import tasks
from zoo.layers import attention, linear, moe, norm, stack
from zoo.layers.dropout import keys
from zoo.layers.rope import Rope
from zoo.markers import block
from zoo.models import llama
from zoo.models.llama import IGNORED, cache_specs, limits
from zoo.spec import Tree, scope

__all__ = ["ALIASES", "IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]

ALIASES = {"num_experts": "num_local_experts"}
INERT = ("output_router_logits", "router_aux_loss_coef")
ROPE = Rope(rope_theta=1e6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 14336
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = 8
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 131072
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-5
    rope_parameters: Rope = ROPE
    sliding_window: int | None = None
    num_local_experts: int = 8
    num_experts_per_tok: int = 2
    router_jitter_noise: float = 0.0
    attention_dropout: float = 0.0
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    num_labels: int = 2

    def __post_init__(self):
        llama.complete(self)
        moe.check(self.num_experts_per_tok, self.num_local_experts)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: the window is that of all."""
        kind = "full_attention" if self.sliding_window is None else "sliding_attention"
        return (kind,) * self.num_hidden_layers


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    sizes = {"embed": c.hidden_size, "hidden": c.intermediate_size, "experts": c.num_local_experts}
    router = moe.router_specs("gate", c.num_local_experts, c.hidden_size)
    experts = moe.gated_specs(**sizes, names=("w1", "w3", "w2"))
    one = llama.block_specs(c, bias=False, out_bias=False)
    one["mlp"] = scope("block_sparse_moe", {"router": router, "experts": experts})
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
    rms_norm = functools.partial(norm.rms_norm, eps=c.rms_norm_eps)
    first, second = keys(key, 2)
    y, cache = attention.attend(
        p["attn"], rms_norm(p["attn_norm"], x), cache, context, first, rate=c.attention_dropout
    )
    x = x + y
    y = moe.jitter(rms_norm(p["mlp_norm"], x), second, noise=c.router_jitter_noise)
    logits = linear.linear(p["mlp"]["router"], y)
    routing = moe.softmax_top_k(logits, k=c.num_experts_per_tok, renormalise=True)
    return x + moe.gated(p["mlp"]["experts"], y, routing, act=c.hidden_act), cache


apply = llama.through(layer)
TASKS = tasks.decoder("Mixtral", specs, apply, answers_prefix="model")
