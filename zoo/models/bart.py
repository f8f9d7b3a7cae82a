"""BART encoder-decoders. Lewis et al. 2019, arXiv:1910.13461. Checkpoints: `Bart*`.

Letters: B batch, T tokens of a stack, S places of the source, E embed, V vocab, C labels.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from zoo import seq2seq, tasks
from zoo.hint import hint
from zoo.layers import activation, attention, cross, linear, mlp, norm, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import EMBEDDINGS, dropout, fold, keys, layer_drop
from zoo.layers.mask import Mask
from zoo.markers import block
from zoo.outputs import BaseOutput, LogitsOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from zoo.spec import ArraySpec, Tree, scope, zeros

ALIASES = {
    "hidden_size": "d_model",
    "num_attention_heads": "encoder_attention_heads",
    "num_hidden_layers": "encoder_layers",
}
INERT = frozenset({"is_encoder_decoder", "classif_dropout", "force_bos_token_to_be_generated"})
# Options of the first files, which later ones and transformers 5 take for granted.
SETTLED = {
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "extra_pos_embeddings": 2,
    "normalize_before": False,
    "normalize_embedding": True,
    "static_position_embeddings": False,
}
IGNORED = (r"(.*\.)?(encoder|decoder)\.version",)
SAME = (("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),)
OFFSET = 2  # rows of the table of positions before the first
EPS = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 50265
    max_position_embeddings: int = 1024
    encoder_layers: int = 12
    encoder_ffn_dim: int = 4096
    encoder_attention_heads: int = 16
    decoder_layers: int = 12
    decoder_ffn_dim: int = 4096
    decoder_attention_heads: int = 16
    encoder_layerdrop: float = 0.0
    decoder_layerdrop: float = 0.0
    activation_function: str = "gelu"
    d_model: int = 1024
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    init_std: float = 0.02
    classifier_dropout: float = 0.0
    scale_embedding: bool = False
    pad_token_id: int | None = 1
    eos_token_id: int | tuple[int, ...] | None = 2
    decoder_start_token_id: int | None = 2
    tie_word_embeddings: bool = True
    num_labels: int = 3

    def __post_init__(self):
        for part in ("encoder", "decoder"):
            heads = self.of(part, "attention_heads")
            if self.d_model % heads:
                raise ValueError(
                    f"d_model: {self.d_model} is not a multiple of {part}_attention_heads {heads}"
                )
        activation.check(self.activation_function, where="activation_function")

    hidden_size = property(lambda c: c.d_model)
    initializer_range = property(lambda c: c.init_std)

    def of(self, part: str, name: str) -> Any:
        """A field that the `encoder` and the `decoder` each have."""
        return getattr(self, f"{part}_{name}")

    def kinds(self, part: str) -> tuple[str, ...]:
        """Kind of each layer of the `encoder` or `decoder`: all alike."""
        return (part,) * self.of(part, "layers")


def upgrade(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leaves out options of the first files where they say what has become the rule."""
    return {k: v for k, v in raw.items() if k not in SETTLED or v != SETTLED[k]}


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    ids, places = c.vocab_size, c.max_position_embeddings
    tables = {"input_ids": ids, "decoder_input_ids": ids}
    return tables | {"position_ids": places, "decoder_position_ids": places}


check_inputs = seq2seq.check_ends


def block_specs(c: Config, part: str) -> Tree:
    """One layer of the `encoder` or `decoder`."""
    heads = c.of(part, "attention_heads")
    attn = functools.partial(
        attention.specs,
        embed=c.d_model,
        heads=heads,
        kv_heads=heads,
        head_dim=c.d_model // heads,
        bias=True,
        out_bias=True,
        names=("q_proj", "k_proj", "v_proj", "out_proj"),
    )
    hidden = c.of(part, "ffn_dim")
    tree = {
        "attn": scope("self_attn", attn()),
        "attn_norm": norm.specs("self_attn_layer_norm", c.d_model),
        "mlp": mlp.plain_specs(embed=c.d_model, hidden=hidden, names=("fc1", "fc2")),
        "mlp_norm": norm.specs("final_layer_norm", c.d_model),
    }
    if part == "decoder":
        tree["cross"] = scope("encoder_attn", attn())
        tree["cross_norm"] = norm.specs("encoder_attn_layer_norm", c.d_model)
    return tree


def stack_specs(c: Config, part: str, layers: stack.Build) -> Tree:
    """The `encoder` or `decoder`."""
    one = scope("layers.{}", block_specs(c, part))
    rows = c.max_position_embeddings + OFFSET
    tree = {
        "positions": linear.embedding_specs("embed_positions", rows, c.d_model, axis=None),
        "norm": norm.specs("layernorm_embedding", c.d_model),
        "layers": layers(c.kinds(part), lambda kind: one),
    }
    return scope(part, tree)


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body. Untied, each part has a table; the shared one is not read."""
    tree = {
        "embed": linear.embedding_specs("shared", c.vocab_size, c.d_model),
        "encoder": stack_specs(c, "encoder", layers),
        "decoder": stack_specs(c, "decoder", layers),
    }
    for part in () if c.tie_word_embeddings else ("encoder", "decoder"):
        name = f"{part}.embed_tokens"
        tree[part]["embed"] = linear.embedding_specs(name, c.vocab_size, c.d_model)
    return tree


def decoder_specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of a decoder alone, which keeps what it would see an encoder with."""
    return {
        "embed": linear.embedding_specs("decoder.embed_tokens", c.vocab_size, c.d_model),
        "decoder": stack_specs(c, "decoder", layers),
    }


def cache_specs(
    c: Config,
    batch: int,
    length: int,
    *,
    layers: stack.Build = stack.loop,
    source: int | None = None,
) -> caching.Cache:
    """Room in every layer for `length` tokens and an encoder's output of length `source`."""
    heads, kinds = c.decoder_attention_heads, c.kinds("decoder")
    sizes: Any = {"kv_heads": heads, "head_dim": c.d_model // heads, "layers": layers}
    own = attention.cache_specs(kinds, batch=batch, length=length, **sizes)
    return own if source is None else cross.cache_specs(own, kinds, source=source, **sizes)


@block
def layer(
    p: Tree,
    x: jax.Array,
    cache: attention.KVCache | None,
    context: attention.Context,
    seen: cross.Seen | None,
    key: jax.Array | None,
    *,
    c: Config,
) -> tuple[jax.Array, attention.KVCache | None]:
    """x [B, T, E] -> (x [B, T, E], cache); `seen` is what this layer of a decoder sees."""
    drop = functools.partial(dropout, rate=c.dropout)
    layer_norm = functools.partial(norm.layer_norm, eps=EPS)
    k1, k2, k3, k4, k5, k6 = keys(key, 6)
    y, cache = attention.attend(p["attn"], x, cache, context, k1, rate=c.attention_dropout)
    x = layer_norm(p["attn_norm"], x + drop(y, k2))
    if seen is not None:
        y = cross.attend(p["cross"], x, seen.layers, seen.mask, k3, rate=c.attention_dropout)
        x = layer_norm(p["cross_norm"], x + drop(y, k4))
    act, rate = c.activation_function, c.activation_dropout
    y = mlp.plain(p["mlp"], x, k5, act=act, rate=rate)
    return activation.finite(layer_norm(p["mlp_norm"], x + drop(y, k6))), cache


def run(
    c: Config,
    params: Tree,
    part: str,
    *,
    input_ids: jax.Array | None,
    attention_mask: jax.Array | None,
    inputs_embeds: jax.Array | None,
    position_ids: jax.Array | None = None,
    seen: cross.Seen | None = None,
    cache: caching.Cache | None = None,
    output_hidden_states: bool,
    dropout_key: jax.Array | None,
) -> BaseOutput:
    """The `encoder`, or the `decoder` and what it has `seen`, if anything: vectors of tokens."""
    p = params[part]
    table, pad = p.get("embed", params["embed"]), c.pad_token_id
    x = linear.embed_text(table, input_ids, inputs_embeds, padding_idx=pad)
    if c.scale_embedding and inputs_embeds is None:
        x = x * math.sqrt(c.d_model)
    tokens, advanced = caching.place(
        x.shape[1],
        attention_mask=attention_mask,
        position_ids=position_ids,
        cache=cache,
        table=c.max_position_embeddings,
    )
    places = linear.embedding(p["positions"], tokens.positions + OFFSET)
    x = norm.layer_norm(p["norm"], x + jnp.broadcast_to(places, x.shape), eps=EPS)
    x = dropout(x, fold(dropout_key, EMBEDDINGS), rate=c.dropout)
    x = hint(x, "batch", "length", None)

    causal = part == "decoder"
    mask = Mask(valid=tokens.valid, queries=tokens.slots, keys=tokens.keys, causal=causal)
    context = attention.Context(mask=mask.array(), start=tokens.start)

    def step(kind, p, x, cache, i, key):
        p, own = p if seen is not None else (p, None)
        one = None if seen is None else seen._replace(layers=own)
        y, cache = layer(p, x, cache, context, one, key, c=c)
        return layer_drop(x, y, key, rate=c.of(part, "layerdrop")), cache

    x, kept, inner = stack.run(
        step,
        c.kinds(part),
        p["layers"] if seen is None else stack.paired(p["layers"], seen.layers),
        x,
        cache=cache and cache.layers,
        key=dropout_key,
        collect=output_hidden_states,
    )
    return BaseOutput(
        last_hidden_state=x,
        cache=advanced and dataclasses.replace(advanced, layers=kept),
        hidden_states=None if inner is None else (*inner, x),
    )


encode, apply = seq2seq.encoder(run), seq2seq.joined(run)


def decode(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    position_ids: jax.Array | None = None,
    inputs_embeds: jax.Array | None = None,
    encoder_hidden_states: jax.Array | None = None,
    encoder_attention_mask: jax.Array | None = None,
    cache: caching.Cache | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """The decoder alone: vectors of tokens that have seen what came before them.

    Args:
      c: the architecture.
      params: the tree that `decoder_specs` declares.
      input_ids: int [B, T].
      attention_mask: [B, T] with 1 for tokens and 0 for padding, or [B, T, T].
      position_ids: int [B, T] or [T]; the count of slots if absent, as in transformers.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      encoder_hidden_states: [B, S, E] of any encoder; in every call, the cache does not keep them.
      encoder_attention_mask: [B, S] with 1 for what may be seen of them.
      cache: of `cache_specs` without a source, or what an earlier call returned.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    seen = None
    if encoder_hidden_states is not None:
        layers = params["decoder"]["layers"]
        seen, _ = cross.see(layers, encoder_hidden_states, encoder_attention_mask, None)
    return run(
        c,
        params,
        "decoder",
        input_ids=input_ids,
        attention_mask=attention_mask,
        inputs_embeds=inputs_embeds,
        position_ids=position_ids,
        seen=seen,
        cache=cache,
        output_hidden_states=output_hidden_states,
        dropout_key=dropout_key,
    )


def positions(c: Config, inputs: Mapping[str, Any]) -> jax.Array:
    """Places of a prompt for the decoder alone, padding counted: those that transformers gives."""
    ids = inputs["input_ids"]
    return jnp.broadcast_to(jnp.arange(ids.shape[1])[None], ids.shape)


def tied_specs(c: Config) -> Tree:
    """An output matrix of its own, where it is not that of the embeddings."""
    return {} if c.tie_word_embeddings else {"matrix": tasks.lm_head_specs(c)}


def lm_specs(c: Config) -> Tree:
    """The output matrix, and a bias that nothing trains."""
    bias = ArraySpec(
        shape=(1, c.vocab_size),
        axes=(None, "vocab"),
        init=zeros,
        name="final_logits_bias",
        buffer=True,
    )
    return tied_specs(c) | {"bias": bias}


def token_logits(params: Tree, x: jax.Array) -> jax.Array:
    """x [B, T, E] -> logits [B, T, V]."""
    return linear.linear(params["head"].get("matrix", params["embed"]), x)


def lm(c: Config, params: Tree, body: Seq2SeqModelOutput, inputs: Mapping) -> Seq2SeqLMOutput:
    """Token logits [B, T, V]."""
    x = token_logits(params, body.last_hidden_state)
    return seq2seq.logits(body, x + jnp.broadcast_to(params["head"]["bias"][None], x.shape))


def causal_lm(c: Config, params: Tree, body: BaseOutput, inputs: Mapping) -> LogitsOutput:
    """Token logits [B, T, V]."""
    return tasks.logits(body, token_logits(params, body.last_hidden_state))


def _tied(prefix: str, *more: str) -> Mapping[str, str]:
    names = (*(f"{prefix}{part}.embed_tokens.weight" for part in ("encoder", "decoder")), *more)
    return MappingProxyType(dict.fromkeys(names, f"{prefix}shared.weight"))


def _shifting(name: str, head_specs: Any, head: Any, *more: str) -> tasks.Task:
    made = tasks.headed(name, specs, apply, prefix="model", head_specs=head_specs, head=head)
    return seq2seq.shifting(made)._replace(tied=_tied("model.", *more))


TASKS = {
    "BartModel": seq2seq.shifting(tasks.bare(specs, apply))._replace(tied=_tied("")),
    "BartForConditionalGeneration": _shifting("seq2seq-lm", lm_specs, lm, "lm_head.weight"),
    "BartForSequenceClassification": _shifting(
        "text-classification", seq2seq.classifier_specs, seq2seq.classifier
    ),
    "BartForQuestionAnswering": _shifting(
        "question-answering",
        lambda c: linear.specs("qa_outputs", 2, c.d_model, axes=(None, "embed")),
        seq2seq.answers,
    ),
    "BartForCausalLM": tasks.headed(
        "causal-lm",
        decoder_specs,
        decode,
        prefix="model",
        head_specs=tied_specs,
        head=causal_lm,
    )._replace(tied=MappingProxyType({"lm_head.weight": "model.decoder.embed_tokens.weight"})),
}
