"""GPT-2 decoders. Radford et al. 2019. Checkpoints: `GPT2*`.

Letters: B batch, T new tokens, S keys, E embed, N heads, D head size, V vocab, C labels.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.hint import hint
from zoo.layers import activation, attention, linear, mlp, norm, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import EMBEDDINGS, HEAD, dropout, fold, keys
from zoo.markers import block
from zoo.outputs import BaseOutput, DoubleHeadsOutput, Output
from zoo.spec import Part, Tree, scaled_normal, scope

ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
IGNORED = (r"(.*\.)?attn\.(masked_)?bias", r"(.*\.)?crossattention\.(masked_)?bias")
SUMMARIES = ("last", "first", "mean", "cls_index")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    summary_type: str = "cls_index"
    summary_use_proj: bool = True
    summary_activation: str | None = None
    summary_proj_to_labels: bool = True
    summary_first_dropout: float = 0.1
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd: {self.n_embd} is not a multiple of n_head {self.n_head}")
        if self.summary_type not in SUMMARIES:
            raise ValueError(
                f"summary_type: found {self.summary_type!r}, expected one of {', '.join(SUMMARIES)}"
            )
        activation.check(self.activation_function, where="activation_function")
        if self.summary_activation is not None:
            activation.check(self.summary_activation, where="summary_activation")

    @property
    def hidden_size(self) -> int:
        """Residual width, by the name that other architectures use."""
        return self.n_embd

    @property
    def max_position_embeddings(self) -> int:
        """Length of the position table."""
        return self.n_positions

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.n_embd // self.n_head

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all see the whole text."""
        return ("full_attention",) * self.n_layer


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    tables = {"input_ids": c.vocab_size, "token_type_ids": c.vocab_size}
    return tables | {"position_ids": c.n_positions}


def block_specs(c: Config) -> Tree:
    """One layer. `attn.c_attn` is a single tensor that q, k and v share."""
    into_residual = scaled_normal(1 / math.sqrt(2 * c.n_layer))

    def fused(i: int, axis: str) -> Tree:
        part = Part(axis="n", start=i * c.n_head, total=3 * c.n_head)
        return linear.to_heads_specs(
            "c_attn", c.n_head, c.head_dim, c.n_embd, axis=axis, bias=True, conv1d=True, part=part
        )

    attn = {
        "q": fused(0, "heads"),
        "k": fused(1, "kv_heads"),
        "v": fused(2, "kv_heads"),
        "o": linear.from_heads_specs(
            "c_proj", c.n_embd, c.n_head, c.head_dim, bias=True, conv1d=True, init=into_residual
        ),
    }
    feed = mlp.plain_specs(
        embed=c.n_embd,
        hidden=4 * c.n_embd if c.n_inner is None else c.n_inner,
        names=("c_fc", "c_proj"),
        conv1d=True,
        down_init=into_residual,
    )
    return {
        "attn_norm": norm.specs("ln_1", c.n_embd),
        "attn": scope("attn", attn),
        "mlp_norm": norm.specs("ln_2", c.n_embd),
        "mlp": scope("mlp", feed),
    }


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    one = scope("h.{}", block_specs(c))
    return {
        "embed": linear.embedding_specs("wte", c.vocab_size, c.n_embd),
        "positions": linear.embedding_specs("wpe", c.n_positions, c.n_embd, axis=None),
        "layers": layers(c.kinds, lambda kind: one),
        "norm": norm.specs("ln_f", c.n_embd),
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
    gain: jax.Array | None,
    key: jax.Array | None,
    *,
    c: Config,
) -> tuple[jax.Array, attention.KVCache | None]:
    """x [B, T, E] -> (x [B, T, E], cache). `gain` multiplies the attention scores."""
    drop = functools.partial(dropout, rate=c.resid_pdrop)
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_epsilon)
    k1, k2, k3 = keys(key, 3)
    y, cache = attention.attend(
        p["attn"],
        layer_norm(p["attn_norm"], x),
        cache,
        context,
        k1,
        scale=None if c.scale_attn_weights else 1.0,
        rate=c.attn_pdrop,
        gain=gain,
    )
    x = x + drop(y, k2)
    y = mlp.plain(p["mlp"], layer_norm(p["mlp_norm"], x), act=c.activation_function)
    return x + drop(y, k3), cache


def apply(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    token_type_ids: jax.Array | None = None,
    position_ids: jax.Array | None = None,
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
      token_type_ids: int [B, T], rows of the token embedding that are added.
      position_ids: int [B, T] or [T]; the count of slots if absent.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      cache: of `cache_specs`, or what an earlier call returned.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    x = linear.embed_text(params["embed"], input_ids, inputs_embeds)
    tokens, advanced = caching.place(
        x.shape[1],
        attention_mask=attention_mask,
        position_ids=position_ids,
        cache=cache,
        table=c.n_positions,
    )
    x = x + jnp.broadcast_to(linear.embedding(params["positions"], tokens.positions), x.shape)
    if token_type_ids is not None:
        x = x + linear.embedding(params["embed"], token_type_ids)
    x = dropout(x, fold(dropout_key, EMBEDDINGS), rate=c.embd_pdrop)
    x = hint(x, "batch", "length", None)

    context = attention.context(tokens)

    def step(kind, p, x, cache, i, key):
        gain = 1 / (jnp.asarray(i, jnp.float32) + 1) if c.scale_attn_by_inverse_layer_idx else None
        return layer(p, x, cache, context, gain, key, c=c)

    return stack.body(
        step,
        c.kinds,
        params["layers"],
        x,
        last=functools.partial(norm.layer_norm, params["norm"], eps=c.layer_norm_epsilon),
        cache=advanced,
        key=dropout_key,
        collect=output_hidden_states,
    )


def summary_specs(c: Config) -> Tree:
    """The head that scores a choice. `GPT2DoubleHeadsModel` always has one label."""
    size = 1 if c.summary_proj_to_labels else c.n_embd
    summary = linear.specs("multiple_choice_head.summary", size, c.n_embd, axes=(None, "embed"))
    tied = {} if c.tie_word_embeddings else {"lm": tasks.lm_head_specs(c)}
    return tied | ({"summary": summary} if c.summary_use_proj else {})


def double_heads(c: Config, params: Tree, **inputs: Any) -> Output:
    """Inputs [B, choices, T] -> logits of tokens and of choices.

    `mc_token_ids` [B, choices] says which token of each choice is classified; the last if absent.
    Summaries other than `cls_index` are over the tokens of each choice, where transformers takes
    them over the choices; for inputs [B, T] the two agree.
    """
    at = inputs.pop("mc_token_ids", None)
    main = next(x for n in ("input_ids", "inputs_embeds") if (x := inputs.get(n)) is not None)
    shape = main.shape[: 3 if inputs.get("input_ids") is not None else -1]
    per_choice = [n for n, x in inputs.items() if getattr(x, "ndim", 0) >= len(shape) > 2]
    flat = {n: inputs[n].reshape(-1, *inputs[n].shape[2:]) for n in per_choice}
    body = apply(c, params, **inputs | flat)
    x = body.last_hidden_state.reshape(*shape, -1)

    p = params["embed"] if c.tie_word_embeddings else params["head"]["lm"]
    picked = _summary_token(c, x, at)
    key = fold(inputs.get("dropout_key"), HEAD)
    picked = dropout(picked, key, rate=c.summary_first_dropout)
    if "summary" in params["head"]:
        picked = linear.linear(params["head"]["summary"], picked)
    if c.summary_activation is not None:
        picked = activation.activation(picked, name=c.summary_activation)
    return DoubleHeadsOutput(
        logits=linear.linear(p, x),
        mc_logits=picked[..., 0] if picked.shape[-1] == 1 else picked,
        hidden_states=body.hidden_states and (*body.hidden_states[:-1], x),
    )


def _summary_token(c: Config, x: jax.Array, at: jax.Array | None) -> jax.Array:
    """x [..., T, E] -> [..., E]."""
    if c.summary_type == "mean":
        return x.mean(-2)
    if c.summary_type == "first":
        return x[..., 0, :]
    if c.summary_type == "last" or at is None:
        return x[..., -1, :]
    return jnp.take_along_axis(x, at[..., None, None], axis=-2)[..., 0, :]


_DECODER = tasks.decoder(
    "GPT2", specs, apply, prefix="transformer", embed_name="wte", token_name="classifier"
)

TASKS = {
    "GPT2Model": _DECODER["GPT2Model"],
    "GPT2LMHeadModel": _DECODER["GPT2ForCausalLM"],
    "GPT2ForSequenceClassification": _DECODER["GPT2ForSequenceClassification"],
    "GPT2ForTokenClassification": _DECODER["GPT2ForTokenClassification"],
    "GPT2ForQuestionAnswering": _DECODER["GPT2ForQuestionAnswering"],
    "GPT2DoubleHeadsModel": tasks.headed(
        "multiple-choice",
        specs,
        apply,
        prefix="transformer",
        head_specs=summary_specs,
        head=lambda c, params, body, inputs: body,
        extra=("mc_token_ids",),
    )._replace(apply=double_heads, tied=_DECODER["GPT2ForCausalLM"].tied),
}
