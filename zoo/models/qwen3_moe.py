"""Qwen3 decoders with mixtures of experts in some or all layers.

Yang et al. 2025, arXiv:2505.09388. Checkpoints: `Qwen3Moe*`. Letters: B batch, T tokens, E embed.
"""

import dataclasses
import functools

import jax

from zoo import tasks
from zoo.layers import attention, linear, mlp, moe, norm, stack
from zoo.layers.rope import DEFAULT, Rope
from zoo.markers import block
from zoo.models import llama
from zoo.models.llama import IGNORED, cache_specs, limits
from zoo.spec import Tree, scope

__all__ = ["ALIASES", "IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]

ALIASES = {"num_local_experts": "num_experts"}
INERT = ("output_router_logits", "router_aux_loss_coef")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 151936
    hidden_size: int = 2048
    intermediate_size: int = 6144
    num_hidden_layers: int = 24
    num_attention_heads: int = 32
    num_key_value_heads: int | None = 4
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_parameters: Rope = DEFAULT
    attention_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    decoder_sparse_step: int = 1
    mlp_only_layers: tuple[int, ...] | None = dataclasses.field(default=None, metadata={"least": 0})
    moe_intermediate_size: int = 768
    num_experts: int = dataclasses.field(default=128, metadata={"least": 0})
    num_experts_per_tok: int = 8
    norm_topk_prob: bool = False
    attention_dropout: float = 0.0
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    num_labels: int = 2

    def __post_init__(self):
        llama.complete(self)
        if "sparse" in self.kinds:
            moe.check(self.num_experts_per_tok, self.num_experts)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: a mixture of experts, or one network for all tokens."""
        dense, step = self.mlp_only_layers or (), self.decoder_sparse_step
        sparse = (
            self.num_experts > 0 and i not in dense and (i + 1) % step == 0
            for i in range(self.num_hidden_layers)
        )  # fmt: skip
        return tuple("sparse" if s else "dense" for s in sparse)

    @property
    def windows(self) -> dict[str, int | None]:
        """How far each kind of layer sees: the window is that of all."""
        window = self.sliding_window if self.use_sliding_window else None
        return {"sparse": window, "dense": window}


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    bias = c.attention_bias
    dense = llama.block_specs(c, bias=bias, out_bias=bias, qk_norm=True)
    width, hidden, experts = c.hidden_size, c.moe_intermediate_size, c.num_experts
    mixture = {
        "router": moe.router_specs("gate", experts, width),
        "experts": moe.gated_specs(embed=width, hidden=hidden, experts=experts),
    }
    kinds = {"dense": dense, "sparse": dense | {"mlp": scope("mlp", mixture)}}
    return llama.body_specs(c, kinds.__getitem__, layers)


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
        p["attn"],
        rms_norm(p["attn_norm"], x),
        cache,
        context,
        key,
        eps=c.rms_norm_eps,
        rate=c.attention_dropout,
    )
    x = x + y
    y = rms_norm(p["mlp_norm"], x)
    if "experts" not in p["mlp"]:
        return x + mlp.gated(p["mlp"], y, act=c.hidden_act), cache
    logits = linear.linear(p["mlp"]["router"], y)
    routing = moe.softmax_top_k(logits, k=c.num_experts_per_tok, renormalise=c.norm_topk_prob)
    return x + moe.gated(p["mlp"]["experts"], y, routing, act=c.hidden_act), cache


apply = llama.through(layer)
TASKS = tasks.decoder("Qwen3Moe", specs, apply)
