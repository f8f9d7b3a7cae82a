"""BLOOM decoders: biases by distance in place of positions. BigScience 2022, arXiv:2211.05100.

Checkpoints: `Bloom*`. Letters: B batch, T new tokens, S keys, E embed, N heads.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax

from zoo import tasks
from zoo.hint import hint
from zoo.layers import alibi, attention, linear, mlp, norm, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import dropout, keys
from zoo.markers import block
from zoo.models.llama import limits
from zoo.outputs import BaseOutput
from zoo.spec import Tree, scope

__all__ = ["IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]

ALIASES = {
    "n_embed": "hidden_size",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
IGNORED = ()
INERT = (  # of how the training program summed and fused
    "attention_softmax_in_fp32",
    "bias_dropout_fusion",
    "masked_softmax_fusion",
    "n_inner",
    "offset_alibi",
    "seq_length",
    "skip_bias_add",
    "skip_bias_add_qkv",
    "unk_token_id",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 250880
    hidden_size: int = 64
    n_layer: int = 2
    n_head: int = 8
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    apply_residual_connection_post_layernorm: bool = False
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    classifier_dropout: float | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        if self.hidden_size % self.n_head:
            raise ValueError(
                f"hidden_size: {self.hidden_size} is not a multiple of n_head {self.n_head}"
            )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.n_head

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all see the whole text."""
        return ("full_attention",) * self.n_layer


def upgrade(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Drops `slow_but_exact` where it changes nothing: in one part, with its bias, a sum is itself.

    In several parts transformers leaves the bias out, which is refused.
    """
    exact = raw.get("pretraining_tp", 1) == 1
    return {k: v for k, v in raw.items() if k != "slow_but_exact" or not exact}


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    attn = attention.fused_specs(
        embed=c.hidden_size,
        heads=c.n_head,
        kv_heads=c.n_head,
        head_dim=c.head_dim,
        names=("query_key_value", "dense"),
        bias=True,
        out_bias=True,
        by_head=True,
    )
    names = ("dense_h_to_4h", "dense_4h_to_h")
    feed = mlp.plain_specs(embed=c.hidden_size, hidden=4 * c.hidden_size, names=names)
    one = {
        "attn_norm": norm.specs("input_layernorm", c.hidden_size),
        "attn": scope("self_attention", attn),
        "mlp_norm": norm.specs("post_attention_layernorm", c.hidden_size),
        "mlp": scope("mlp", feed),
    }
    return {
        "embed": linear.embedding_specs("word_embeddings", c.vocab_size, c.hidden_size),
        "embed_norm": norm.specs("word_embeddings_layernorm", c.hidden_size),
        "layers": layers(c.kinds, lambda kind: scope("h.{}", one)),
        "norm": norm.specs("ln_f", c.hidden_size),
    }


def cache_specs(
    c: Config, batch: int, length: int, *, layers: stack.Build = stack.loop
) -> caching.Cache:
    """Keys and values of `length` tokens in every layer."""
    return attention.cache_specs(
        c.kinds,
        batch=batch,
        length=length,
        kv_heads=c.n_head,
        head_dim=c.head_dim,
        layers=layers,
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
    """x [B, T, E] -> (x [B, T, E], cache). What is added may be the input or its norm."""
    normed = c.apply_residual_connection_post_layernorm
    drop = functools.partial(dropout, rate=c.hidden_dropout)
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_epsilon)
    k1, k2, k3 = keys(key, 3)
    n = layer_norm(p["attn_norm"], x)
    y, cache = attention.attend(p["attn"], n, cache, context, k1, rate=c.attention_dropout)
    x = (n if normed else x) + drop(y, k2)
    n = layer_norm(p["mlp_norm"], x)
    y = mlp.plain(p["mlp"], n, act="gelu_pytorch_tanh")
    return (n if normed else x) + drop(y, k3), cache


def apply(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    inputs_embeds: jax.Array | None = None,
    cache: caching.Cache | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of tokens that have seen what came before them.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_ids: int [B, T].
      attention_mask: [B, T] with 1 for tokens and 0 for padding on either side, or [B, T, S].
      inputs_embeds: [B, T, E] in place of `input_ids`.
      cache: of `cache_specs`, or what an earlier call returned.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    x = linear.embed_text(params["embed"], input_ids, inputs_embeds)
    x = norm.layer_norm(params["embed_norm"], x, eps=c.layer_norm_epsilon)
    x = hint(x, "batch", "length", None)
    tokens, advanced = caching.place(
        x.shape[1], attention_mask=attention_mask, position_ids=None, cache=cache
    )
    bias = alibi.bias(tokens.valid, tokens.keys.shape[1], c.n_head)
    context = attention.context(tokens, bias=bias)
    return stack.body(
        lambda kind, p, x, cache, i, key: layer(p, x, cache, context, key, c=c),
        c.kinds,
        params["layers"],
        x,
        last=functools.partial(norm.layer_norm, params["norm"], eps=c.layer_norm_epsilon),
        cache=advanced,
        key=dropout_key,
        collect=output_hidden_states,
    )


TASKS = tasks.decoder(
    "Bloom",
    specs,
    apply,
    prefix="transformer",
    embed_name="word_embeddings",
    token_name="classifier",
)
