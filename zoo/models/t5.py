"""T5 encoder-decoders, v1 and v1.1 (also Flan), and what mT5 and UMT5 share with them.

Raffel et al. 2019, arXiv:1910.10683; Shazeer 2020, arXiv:2002.05202, for v1.1. Checkpoints: `T5*`.
Letters: B batch, T tokens of a stack, S places of the source, E embed, N heads, V vocab.

Functions whose `c` is not a `Config` take that of T5, mT5 or UMT5.
"""

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax

from zoo import heads, seq2seq, tasks
from zoo.hint import hint
from zoo.layers import activation, attention, cross, linear, mlp, norm, relative, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import EMBEDDINGS, HEAD, dropout, fold, keys
from zoo.layers.mask import Mask
from zoo.markers import block
from zoo.outputs import BaseOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from zoo.spec import Tree, drawn, scaled_normal, scope

ALIASES = {
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
    "head_dim": "d_kv",
}
INERT = frozenset({"is_encoder_decoder", "n_positions"})
IGNORED = (r"(.*\.)?decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)
SAME = (("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "relu"
    dense_act_fn: str | None = None
    is_gated_act: bool | None = None
    classifier_dropout: float = 0.0
    eos_token_id: int | tuple[int, ...] | None = 1
    decoder_start_token_id: int | None = None
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool = True
    num_labels: int = 2

    def __post_init__(self):
        check(self)

    hidden_size = property(lambda c: c.d_model)
    initializer_range = property(lambda c: c.initializer_factor)

    @property
    def logit_scale(self) -> float:
        """What the decoder's states are multiplied by before they meet the vocabulary."""
        return self.d_model**-0.5 if self.scale_decoder_outputs else 1.0


def upgrade(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Says of files of transformers 4, as 5 does, that T5 scales its states unless it is untied."""
    scaled = raw.get("tie_word_embeddings") is not False
    return {"scale_decoder_outputs": scaled, **raw}


def check(c: Any) -> None:
    """Checks how the feed-forward network is described.

    Raises:
      ValueError: neither `ACT` nor `gated-ACT`, or an unknown activation.
    """
    gate, _, name = c.feed_forward_proj.rpartition("-")
    if gate not in ("", "gated") or not name:
        raise ValueError(
            f"feed_forward_proj: found {c.feed_forward_proj!r}, expected an activation such as "
            f"'relu', or 'gated-' and one"
        )
    activation.check(act(c), where="feed_forward_proj")


def act(c: Any) -> str:
    """Activation of the feed-forward network; gated gelu is always the approximation by tanh."""
    if c.dense_act_fn is not None:
        return c.dense_act_fn
    proj = c.feed_forward_proj
    return "gelu_new" if proj == "gated-gelu" else proj.rpartition("-")[2]


def kinds(c: Any, part: str) -> tuple[str, ...]:
    """Kind of each layer of the `encoder` or `decoder`: all alike."""
    layers = c.num_layers if part == "encoder" else c.num_decoder_layers or c.num_layers
    return (part,) * layers


def limits(c: Any) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {"input_ids": c.vocab_size, "decoder_input_ids": c.vocab_size}


check_inputs = seq2seq.check_ends


def attention_specs(c: Any, name: str) -> Tree:
    """Projections without biases. Queries begin small: scores are not scaled."""
    sizes: Any = {"heads": c.num_heads, "kv_heads": c.num_heads, "head_dim": c.d_kv}
    tree = attention.specs(embed=c.d_model, names=("q", "k", "v", "o"), **sizes)
    inner = c.num_heads * c.d_kv
    fan = {"q": c.d_model * c.d_kv, "k": c.d_model, "v": c.d_model, "o": inner}
    return scope(name, {key: drawn(scaled_normal(fan[key] ** -0.5), p) for key, p in tree.items()})


def bias_specs(c: Any, name: str) -> Tree:
    """What each head adds to the scores of each bucket of distances."""
    tree = relative.bias_specs(
        f"{name}.relative_attention_bias", c.relative_attention_num_buckets, c.num_heads
    )
    return drawn(scaled_normal(c.d_model**-0.5), tree)


def block_specs(c: Any, part: str, *, biased: bool) -> Tree:
    """One layer of the `encoder` or `decoder`, with relative positions of its own if `biased`."""
    layer_norm = functools.partial(norm.specs, size=c.d_model, bias=False)
    attn = attention_specs(c, "layer.0.SelfAttention")
    if biased:
        attn["bias"] = bias_specs(c, "layer.0.SelfAttention")
    tree = {"attn_norm": layer_norm("layer.0.layer_norm"), "attn": attn}
    if part == "decoder":
        tree["cross_norm"] = layer_norm("layer.1.layer_norm")
        tree["cross"] = attention_specs(c, "layer.1.EncDecAttention")
    last = "layer.2" if part == "decoder" else "layer.1"
    sizes = {"embed": c.d_model, "hidden": c.d_ff}
    gated = c.feed_forward_proj.startswith("gated-") if c.is_gated_act is None else c.is_gated_act
    if gated:
        feed = mlp.gated_specs(**sizes, names=("wi_0", "wi_1", "wo"))
    else:
        feed = mlp.plain_specs(**sizes, names=("wi", "wo"), bias=False)
    scales = {"gate": c.d_model**-0.5, "up": c.d_model**-0.5, "down": c.d_ff**-0.5}
    feed = {key: drawn(scaled_normal(scales[key]), p) for key, p in feed.items()}
    tree["mlp_norm"] = layer_norm(f"{last}.layer_norm")
    return tree | {"mlp": scope(f"{last}.DenseReluDense", feed)}


def stack_specs(c: Any, part: str, layers: stack.Build, *, biased: bool) -> Tree:
    """The `encoder` or `decoder`; its layers share one bias unless they are `biased` themselves."""
    one = scope("block.{}", block_specs(c, part, biased=biased))
    tree = {
        "layers": layers(kinds(c, part), lambda kind: one),
        "norm": norm.specs("final_layer_norm", c.d_model, bias=False),
    }
    if not biased:
        tree["bias"] = bias_specs(c, "block.0.layer.0.SelfAttention")
    return scope(part, tree)


def encoder_specs(c: Any, *, layers: stack.Build = stack.loop, biased: bool = False) -> Tree:
    """Every parameter of the encoder."""
    return {
        "embed": linear.embedding_specs("shared", c.vocab_size, c.d_model),
        "encoder": stack_specs(c, "encoder", layers, biased=biased),
    }


def specs(c: Any, *, layers: stack.Build = stack.loop, biased: bool = False) -> Tree:
    """Every parameter of the encoder and the decoder."""
    decoder = stack_specs(c, "decoder", layers, biased=biased)
    return encoder_specs(c, layers=layers, biased=biased) | {"decoder": decoder}


def cache_specs(
    c: Any, batch: int, length: int, *, layers: stack.Build = stack.loop, source: int
) -> caching.Cache:
    """Room in every layer for `length` tokens and an encoder's output of length `source`."""
    sizes: Any = {"kv_heads": c.num_heads, "head_dim": c.d_kv, "layers": layers}
    names = kinds(c, "decoder")
    own = attention.cache_specs(names, batch=batch, length=length, **sizes)
    return cross.cache_specs(own, names, source=source, **sizes)


def position_bias(c: Any, p: Tree, tokens: caching.Tokens, *, both_sides: bool) -> jax.Array:
    """Where tokens stand -> a bias on scores [1, N, T, S]; a decoder tells no later keys apart."""
    return relative.bias(
        p,
        tokens.slots,
        tokens.keys,
        count=c.relative_attention_num_buckets,
        longest=c.relative_attention_max_distance,
        both_sides=both_sides,
    )


@block
def layer(
    p: Tree,
    x: jax.Array,
    cache: attention.KVCache | None,
    tokens: caching.Tokens,
    context: attention.Context,
    seen: cross.Seen | None,
    key: jax.Array | None,
    *,
    c: Any,
) -> tuple[jax.Array, attention.KVCache | None]:
    """x [B, T, E] -> (x [B, T, E], cache); `seen` is what this layer of a decoder sees."""
    rate = c.dropout_rate
    rms_norm = functools.partial(norm.rms_norm, eps=c.layer_norm_epsilon)
    k1, k2, k3, k4, k5, k6 = keys(key, 6)
    if "bias" in p["attn"]:
        bias = position_bias(c, p["attn"]["bias"], tokens, both_sides=seen is None)
        context = context._replace(bias=bias)
    y = rms_norm(p["attn_norm"], x)
    y, cache = attention.attend(p["attn"], y, cache, context, k1, scale=1.0, rate=rate)
    x = activation.finite(x + dropout(y, k2, rate=rate))
    if seen is not None:
        y = rms_norm(p["cross_norm"], x)
        y = cross.attend(p["cross"], y, seen.layers, seen.mask, k3, scale=1.0, rate=rate)
        x = activation.finite(x + dropout(y, k4, rate=rate))
    feed = mlp.gated if "gate" in p["mlp"] else mlp.plain
    y = feed(p["mlp"], rms_norm(p["mlp_norm"], x), k5, act=act(c), rate=rate)
    return activation.finite(x + dropout(y, k6, rate=rate)), cache


def run(
    c: Any,
    params: Tree,
    part: str,
    *,
    input_ids: jax.Array | None,
    attention_mask: jax.Array | None,
    inputs_embeds: jax.Array | None,
    seen: cross.Seen | None = None,
    cache: caching.Cache | None = None,
    output_hidden_states: bool,
    dropout_key: jax.Array | None,
) -> BaseOutput:
    """The `encoder`, or the `decoder` and what it has `seen`: vectors of tokens."""
    p, both_sides = params[part], part == "encoder"
    x = linear.embed_text(params["embed"], input_ids, inputs_embeds)
    tokens, advanced = caching.place(
        x.shape[1], attention_mask=attention_mask, position_ids=None, cache=cache
    )
    mask = Mask(
        valid=tokens.valid, queries=tokens.slots, keys=tokens.keys, causal=not both_sides
    ).array()
    bias = position_bias(c, p["bias"], tokens, both_sides=both_sides) if "bias" in p else None
    context = attention.Context(mask=mask, start=tokens.start, bias=bias)
    x = dropout(x, fold(dropout_key, EMBEDDINGS), rate=c.dropout_rate)
    x = hint(x, "batch", "length", None)

    def step(kind, p, x, cache, i, key):
        p, own = p if seen is not None else (p, None)
        one = None if seen is None else seen._replace(layers=own)
        return layer(p, x, cache, tokens, context, one, key, c=c)

    x, kept, inner = stack.run(
        step,
        kinds(c, part),
        p["layers"] if seen is None else stack.paired(p["layers"], seen.layers),
        x,
        cache=cache and cache.layers,
        key=dropout_key,
        collect=output_hidden_states,
    )
    x = norm.rms_norm(p["norm"], x, eps=c.layer_norm_epsilon)
    x = dropout(x, fold(dropout_key, HEAD), rate=c.dropout_rate)
    return BaseOutput(
        last_hidden_state=x,
        cache=advanced and dataclasses.replace(advanced, layers=kept),
        hidden_states=None if inner is None else (*inner, x),
    )


encode, apply = seq2seq.encoder(run), seq2seq.joined(run)


def lm_specs(c: Any) -> Tree:
    """An output matrix of its own, where it is not that of the embeddings."""
    return {} if c.tie_word_embeddings else tasks.lm_head_specs(c)


def lm(c: Any, params: Tree, body: Seq2SeqModelOutput, inputs: Mapping) -> Seq2SeqLMOutput:
    """Token logits [B, T, V]."""
    p = params["embed"] if c.tie_word_embeddings else params["head"]
    return seq2seq.logits(body, linear.linear(p, body.last_hidden_state * c.logit_scale))


TOKENS = heads.tokens(lambda c: c.classifier_dropout)


def answer_specs(c: Any) -> Tree:
    """Whether a token of the target begins or ends an answer."""
    tree = linear.specs("qa_outputs", c.num_labels, c.d_model, axes=(None, "embed"))
    return tree | {"weight": drawn(scaled_normal(c.d_model**-0.5), tree["weight"])}


def head_specs(c: Any) -> Tree:
    """Two layers on the vector of a text."""
    return seq2seq.classifier_specs(c, init=scaled_normal(c.d_model**-0.5))


def classes(name: str, *, biased: bool = False) -> dict[str, tasks.Task]:
    """The classes of T5 and its siblings: `{name}Model`, `{name}ForConditionalGeneration`, ..."""
    whole = functools.partial(specs, biased=biased)
    encoder = functools.partial(encoder_specs, biased=biased)

    def on(kind: str, specs: Any, head: Any, body: Any = (whole, apply), prefix: str = ""):
        return tasks.headed(kind, *body, prefix=prefix, head_specs=specs, head=head)

    inner = "transformer"
    text = on("text-classification", head_specs, seq2seq.classifier, prefix=inner)
    tied = MappingProxyType({"lm_head.weight": "shared.weight"})
    return {
        f"{name}Model": tasks.bare(whole, apply),
        f"{name}ForConditionalGeneration": on("seq2seq-lm", lm_specs, lm)._replace(tied=tied),
        f"{name}EncoderModel": tasks.bare(encoder, encode),
        f"{name}ForSequenceClassification": seq2seq.shifting(text),
        f"{name}ForTokenClassification": on(
            TOKENS.task, TOKENS.specs, TOKENS.apply, (encoder, encode), inner
        ),
        f"{name}ForQuestionAnswering": seq2seq.shifting(
            on("question-answering", answer_specs, seq2seq.answers)
        ),
    }


TASKS = classes("T5")
