"""GPT-NeoX decoders, such as Pythia. Black et al. 2022, arXiv:2204.06745. Checkpoints: `GPTNeoX*`.

A part of each head is rotated, and attention and MLP may read the same input. Letters: B batch, T
new tokens, E embed.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax

from zoo import tasks
from zoo.layers import attention, linear, mlp, norm, stack
from zoo.layers.dropout import dropout, keys
from zoo.layers.rope import Rope
from zoo.markers import block
from zoo.models import llama
from zoo.models.llama import cache_specs, limits
from zoo.spec import Tree, scope

__all__ = ["IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]

IGNORED = (r"(.*\.)?attention\.(masked_)?bias", r"(.*\.)?rotary_emb\.inv_freq")
ROPE = Rope(partial_rotary_factor=0.25)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 50432
    hidden_size: int = 6144
    intermediate_size: int = 24576
    num_hidden_layers: int = 44
    num_attention_heads: int = 64
    hidden_act: str = "gelu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    rope_parameters: Rope = ROPE
    use_parallel_residual: bool = True
    attention_bias: bool = True
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    classifier_dropout: float = 0.1
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    num_labels: int = 2

    def __post_init__(self):
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size: {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}"
            )
        llama.complete(self, partial=True)

    @property
    def num_key_value_heads(self) -> int:
        """As many as heads, by the name that other decoders use."""
        return self.num_attention_heads

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all see the whole text."""
        return ("full_attention",) * self.num_hidden_layers


def upgrade(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrites `rotary_pct` and `rotary_emb_base` as parameters of the rotation."""
    raw = dict(raw)
    part, theta = raw.pop("rotary_pct", None), raw.pop("rotary_emb_base", None)
    key = "rope_scaling" if raw.get("rope_scaling") else "rope_parameters"
    rope = raw.get(key) or {}
    if isinstance(rope, Mapping):
        given = {k: v for k, v in rope.items() if v is not None}
        theta = {} if theta is None else {"rope_theta": theta}
        part = ROPE.partial_rotary_factor if part is None else part
        raw[key] = {"partial_rotary_factor": part} | theta | given
    return raw


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    attn = attention.fused_specs(
        embed=c.hidden_size,
        heads=c.num_attention_heads,
        kv_heads=c.num_attention_heads,
        head_dim=c.head_dim,
        names=("query_key_value", "dense"),
        bias=c.attention_bias,
        out_bias=c.attention_bias,
        by_head=True,
    )
    names = ("dense_h_to_4h", "dense_4h_to_h")
    feed = mlp.plain_specs(embed=c.hidden_size, hidden=c.intermediate_size, names=names)
    one = {
        "attn_norm": norm.specs("input_layernorm", c.hidden_size),
        "attn": scope("attention", attn),
        "mlp_norm": norm.specs("post_attention_layernorm", c.hidden_size),
        "mlp": scope("mlp", feed),
    }
    return {
        "embed": linear.embedding_specs("embed_in", c.vocab_size, c.hidden_size),
        "layers": layers(c.kinds, lambda kind: scope("layers.{}", one)),
        "norm": norm.specs("final_layer_norm", c.hidden_size),
    }


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
    drop = functools.partial(dropout, rate=c.hidden_dropout)
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_eps)
    k1, k2, k3 = keys(key, 3)
    y, cache = attention.attend(
        p["attn"], layer_norm(p["attn_norm"], x), cache, context, k1, rate=c.attention_dropout
    )
    after = x + drop(y, k2)
    x = x if c.use_parallel_residual else after
    y = mlp.plain(p["mlp"], layer_norm(p["mlp_norm"], x), act=c.hidden_act)
    return after + drop(y, k3), cache


def embed(
    c: Config, p: Tree, ids: jax.Array | None, vectors: jax.Array | None, key: jax.Array | None
) -> jax.Array:
    """Ids int [B, T], or the vectors that stand in for them -> x [B, T, E]."""
    return dropout(linear.embed_text(p, ids, vectors), key, rate=c.hidden_dropout)


def last(c: Config, p: Tree, x: jax.Array) -> jax.Array:
    """The norm after the last layer."""
    return norm.layer_norm(p, x, eps=c.layer_norm_eps)


apply = llama.through(layer, embed=embed, last=last)
TASKS = tasks.decoder(
    "GPTNeoX",
    specs,
    apply,
    prefix="gpt_neox",
    answers_prefix="gpt_neox",
    embed_name="embed_in",
    lm_name="embed_out",
    token_name="classifier",
)
