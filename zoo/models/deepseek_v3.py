"""DeepSeek-V3 decoders: latent attention, experts chosen by groups beside shared ones.

DeepSeek-AI 2024, arXiv:2412.19437. Checkpoints: `DeepseekV3*`, also R1 and V3.1. Their files hold
the weights in FP8, which is read into bfloat16, and layers that predict further tokens, which are
passed over. Letters: B batch, T tokens, E embed.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.layers import activation, attention, latent, linear, mlp, moe, norm, stack
from zoo.layers import cache as caching
from zoo.layers.rope import DEFAULT, Rope
from zoo.markers import block
from zoo.models import llama
from zoo.models.llama import limits
from zoo.spec import ArraySpec, Tree, scope, zeros

__all__ = ["ALIASES", "INERT", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]

ALIASES = {"num_local_experts": "n_routed_experts"}
INERT = frozenset(
    "aux_loss_alpha ep_size head_dim num_key_value_heads num_mtp_layers num_nextn_predict_layers "
    "output_router_logits qk_head_dim router_aux_loss_coef seq_aux".split()
)
ONLY = {"moe_layer_freq": 1, "scoring_func": "sigmoid", "topk_method": "noaux_tc"}


def upgrade(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the keys of the first files that have one value only; others are refused."""
    return {k: v for k, v in raw.items() if k not in ONLY or v != ONLY[k]}


def ignored(c: "Config") -> tuple[str, ...]:
    """Tensors that no class has: layers after the last, which predict further tokens."""
    numbers = range(c.num_hidden_layers, c.num_hidden_layers + 8)
    return (rf"(model\.)?layers\.({'|'.join(map(str, numbers))})\..*", *llama.IGNORED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 129280
    hidden_size: int = 7168
    intermediate_size: int = 18432
    moe_intermediate_size: int = 2048
    num_hidden_layers: int = 61
    num_attention_heads: int = 128
    n_shared_experts: int = 1
    n_routed_experts: int = 256
    routed_scaling_factor: float = 2.5
    kv_lora_rank: int = 512
    q_lora_rank: int | None = 1536
    qk_rope_head_dim: int = 64
    v_head_dim: int = 128
    qk_nope_head_dim: int = 128
    n_group: int = 8
    topk_group: int = 4
    num_experts_per_tok: int = 8
    first_k_dense_replace: int = dataclasses.field(default=3, metadata={"least": 0})
    norm_topk_prob: bool = True
    hidden_act: str = "silu"
    max_position_embeddings: int = 4096
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_parameters: Rope = DEFAULT
    rope_interleave: bool = True
    attention_bias: bool = False
    attention_dropout: float = 0.0
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    num_labels: int = 2

    def __post_init__(self):
        activation.check(self.hidden_act, where="hidden_act")
        if self.qk_rope_head_dim % 2:
            raise ValueError(
                f"qk_rope_head_dim: found {self.qk_rope_head_dim}, expected an even number: "
                f"dimensions to rotate in pairs"
            )
        if self.n_routed_experts % self.n_group or self.topk_group > self.n_group:
            raise ValueError(
                f"n_group: found {self.n_group}, expected groups of equal size among "
                f"n_routed_experts {self.n_routed_experts}, at least topk_group {self.topk_group}"
            )
        open_ = self.topk_group * self.n_routed_experts // self.n_group
        moe.check(self.num_experts_per_tok, open_)

    @property
    def head_dim(self) -> int:
        """Dimensions of a head that are rotated."""
        return self.qk_rope_head_dim

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: one network for all tokens, or a mixture of experts."""
        dense = min(self.first_k_dense_replace, self.num_hidden_layers)
        return ("dense",) * dense + ("sparse",) * (self.num_hidden_layers - dense)

    @property
    def windows(self) -> dict[str, int | None]:
        """How far each kind of layer sees: all."""
        return {"dense": None, "sparse": None}

    @property
    def scale(self) -> float:
        """Of the scores: a rotation stretched over longer texts sharpens them."""
        rope, size = self.rope_parameters, self.qk_nope_head_dim + self.qk_rope_head_dim
        factor, weight = rope.factor or 1.0, rope.mscale_all_dim or 0.0
        sharper = 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0
        return size**-0.5 * sharper**2


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    width, experts = c.hidden_size, c.n_routed_experts
    hidden, shared = c.moe_intermediate_size, c.moe_intermediate_size * c.n_shared_experts
    attn = latent.specs(
        embed=width,
        heads=c.num_attention_heads,
        query_rank=c.q_lora_rank,
        rank=c.kv_lora_rank,
        plain=c.qk_nope_head_dim,
        rotary=c.qk_rope_head_dim,
        value=c.v_head_dim,
        bias=c.attention_bias,
    )
    correction = ArraySpec(
        shape=(experts,),
        axes=(None,),
        init=zeros,
        name="gate.e_score_correction_bias",
        dtype=jnp.float32,
        buffer=True,
    )
    mixture = {
        "router": moe.router_specs("gate", experts, width),
        "correction": correction,
        "experts": moe.gated_specs(embed=width, hidden=hidden, experts=experts),
        "shared": scope("shared_experts", mlp.gated_specs(embed=width, hidden=shared)),
    }
    kinds = {"dense": mlp.gated_specs(embed=width, hidden=c.intermediate_size), "sparse": mixture}

    def one(kind: str) -> Tree:
        return {
            "attn_norm": norm.specs("input_layernorm", width, bias=False),
            "attn": scope("self_attn", attn),
            "mlp_norm": norm.specs("post_attention_layernorm", width, bias=False),
            "mlp": scope("mlp", kinds[kind]),
        }

    return llama.body_specs(c, one, layers)


def cache_specs(
    c: Config, batch: int, length: int, *, layers: stack.Build = stack.loop
) -> caching.Cache:
    """Latent vectors and rotated keys of `length` tokens in every layer."""
    rank, rotary = c.kv_lora_rank, c.qk_rope_head_dim
    return latent.cache_specs(
        c.kinds, batch=batch, length=length, rank=rank, rotary=rotary, layers=layers
    )


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
    y, cache = latent.attend(
        p["attn"],
        rms_norm(p["attn_norm"], x),
        cache,
        context,
        key,
        scale=c.scale,
        interleaved=c.rope_interleave,
        rate=c.attention_dropout,
    )
    x = x + y
    y = rms_norm(p["mlp_norm"], x)
    if "experts" not in p["mlp"]:
        return x + mlp.gated(p["mlp"], y, act=c.hidden_act), cache
    routed = moe.gated(p["mlp"]["experts"], y, route(p["mlp"], y, c), act=c.hidden_act)
    return x + routed + mlp.gated(p["mlp"]["shared"], y, act=c.hidden_act), cache


def route(p: Tree, x: jax.Array, c: Config) -> moe.Routing:
    """The experts of each token, ranked in float32."""
    router = jax.tree.map(lambda w: w.astype(jnp.float32), p["router"])
    return moe.group_top_k(
        linear.linear(router, x.astype(jnp.float32)),
        p["correction"],
        k=c.num_experts_per_tok,
        groups=c.n_group,
        kept=c.topk_group,
        renormalise=c.norm_topk_prob,
        scale=c.routed_scaling_factor,
    )


apply = llama.through(layer)
TASKS = tasks.decoder("DeepseekV3", specs, apply, answers_prefix=None)
