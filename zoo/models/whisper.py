"""Whisper. Radford et al. 2022, arXiv:2212.04356. Checkpoints: `Whisper*`.

Letters: B batch, M mel bins, F frames of 10 ms, S = F / 2 places of the source, T tokens, E embed,
V vocab, C labels.
"""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo import seq2seq, tasks
from zoo.hint import hint
from zoo.layers import activation, attention, conv1d, cross, linear, mlp, norm, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import EMBEDDINGS, dropout, fold, keys, layer_drop
from zoo.markers import block
from zoo.models import speech
from zoo.models.whisper_specs import (
    STRIDE,
    Config,
    decoder_specs,
    encoder_specs,
    specs,
)
from zoo.models.whisper_specs import (
    cache_specs as cache_specs,
)
from zoo.outputs import BaseOutput, LogitsOutput, Output, Seq2SeqLMOutput, Seq2SeqModelOutput
from zoo.spec import Tree

ALIASES = {
    "hidden_size": "d_model",
    "num_attention_heads": "encoder_attention_heads",
    "num_hidden_layers": "encoder_layers",
}
INERT = frozenset(
    {"forced_decoder_ids", "is_encoder_decoder", "median_filter_width", "scale_embedding"}
)
IGNORED = ()
GENERATION = "zoo.generate.whisper"  # what `generate` does with a recording alone
EPS = 1e-5


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    table = c.max_target_positions
    own = {"input_ids": c.vocab_size, "position_ids": table}
    return own | {f"decoder_{name}": limit for name, limit in own.items()}


def check_inputs(c: Config, arrays: Mapping[str, Any], where: str) -> None:
    """Checks shapes of features [B, M, F].

    Raises:
      ValueError: features of another size, a mask of another shape.
    """
    if (features := arrays.get("input_features")) is None:
        return
    shape, wanted = tuple(features.shape), (c.num_mel_bins, c.frames)
    if shape[1:] != wanted:
        raise ValueError(
            f"{where}: input_features has shape {shape}, expected [batch, {wanted[0]}, "
            f"{wanted[1]}], mel bins and frames; let the processor pad or cut the recording"
        )
    mask = arrays.get("attention_mask")
    if mask is not None and tuple(mask.shape) != (shape[0], c.frames):
        raise ValueError(
            f"{where}: attention_mask has shape {tuple(mask.shape)}, expected "
            f"{(shape[0], c.frames)} beside input_features of shape {shape}; make both together"
        )


def positions(c: Config, inputs: Mapping[str, Any]) -> np.ndarray:
    """Where the tokens of a prompt stand, int [B, T].

    As in transformers, padding is left out of the count behind an encoder, but not without one.
    """
    mask = inputs.get("decoder_attention_mask")
    if mask is None:
        shape = np.shape(inputs["input_ids"])
        return np.broadcast_to(np.arange(shape[1]), shape)
    return np.maximum(np.cumsum(mask, axis=1) - 1, 0)


@block
def layer(
    p: Tree,
    x: jax.Array,
    cache: attention.KVCache | None,
    context: attention.Context,
    seen: attention.KVCache | None,
    key: jax.Array | None,
    *,
    c: Config,
) -> tuple[jax.Array, attention.KVCache | None]:
    """x [B, T, E] -> (x [B, T, E], cache); `seen` is what this layer of a decoder sees."""
    drop = functools.partial(dropout, rate=c.dropout)
    layer_norm = functools.partial(norm.layer_norm, eps=EPS)
    k1, k2, k3, k4, k5, k6 = keys(key, 6)
    y = layer_norm(p["attn_norm"], x)
    y, cache = attention.attend(p["attn"], y, cache, context, k1, rate=c.attention_dropout)
    x = x + drop(y, k2)
    if seen is not None:
        y = layer_norm(p["cross_norm"], x)
        x = x + drop(cross.attend(p["cross"], y, seen, None, k3, rate=c.attention_dropout), k4)
    y = layer_norm(p["mlp_norm"], x)
    y = mlp.plain(p["mlp"], y, k5, act=c.activation_function, rate=c.activation_dropout)
    x = x + drop(y, k6)
    if x.dtype == jnp.float16 and "cross" not in p:
        bound = jnp.finfo(x.dtype).max - 1000
        x = jnp.clip(x, -bound, bound)
    return x, cache


def through(
    c: Config,
    p: Tree,
    part: str,
    x: jax.Array,
    context: attention.Context,
    *,
    seen: cross.Seen | None = None,
    cache: caching.Cache | None = None,
    key: jax.Array | None,
    collect: bool,
) -> BaseOutput:
    """All layers of the `encoder` or `decoder` and the norm after them."""
    rate = c.encoder_layerdrop if part == "encoder" else c.decoder_layerdrop

    def step(kind: str, p: Tree, x: jax.Array, cache: Any, i: Any, key: jax.Array | None) -> Any:
        p, own = (p, None) if seen is None else p
        y, cache = layer(p, x, cache, context, own, key, c=c)
        return layer_drop(x, y, key, rate=rate), cache

    return stack.body(
        step,
        c.kinds(part),
        p["layers"] if seen is None else stack.paired(p["layers"], seen.layers),
        hint(dropout(x, fold(key, EMBEDDINGS), rate=c.dropout), "batch", "length", None),
        last=functools.partial(norm.layer_norm, p["norm"], eps=EPS),
        cache=cache,
        key=key,
        collect=collect,
    )


def encode(
    c: Config,
    params: Tree,
    *,
    input_features: jax.Array,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of the places of a recording.

    Args:
      c: the architecture.
      params: the tree of the encoder, or of the whole model.
      input_features: [B, M, F], a log-mel spectrogram of exactly `c.frames`.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    p = params["encoder"]
    x = input_features.astype(p["positions"]["weight"].dtype).transpose(0, 2, 1)
    for one, stride in zip(p["convs"], (1, STRIDE), strict=True):
        x = activation.activation(conv1d.conv1d(one, x, stride=stride, padding=(1, 1)), name="gelu")
    x = x + jnp.broadcast_to(p["positions"]["weight"], x.shape)
    return through(
        c, p, "encoder", x, attention.Context(), key=dropout_key, collect=output_hidden_states
    )


def decode(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    position_ids: jax.Array | None = None,
    encoder_outputs: Output | jax.Array | None = None,
    inputs_embeds: jax.Array | None = None,
    cache: caching.Cache | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of the tokens of a text.

    Args:
      c: the architecture.
      params: the tree of the decoder, or of the whole model.
      input_ids: int [B, T].
      attention_mask: [B, T] with 1 for tokens and 0 for padding.
      position_ids: int [B, T], the count of tokens if absent.
      encoder_outputs: what `encode` returned, or its [B, S, E]. Without it and with no room for it
        in the cache the text is all that layers see.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      cache: of `cache_specs`, or what an earlier call returned.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    p = params["decoder"]
    output: Any = getattr(encoder_outputs, "last_hidden_state", encoder_outputs)
    seen = None
    if cache is not None and cache.cross is not None:
        seen, cache = cross.see(p["layers"], output, None, cache)
    elif output is not None:
        seen, _ = cross.see(p["layers"], output, None, None)
    x = linear.embed_text(params["embed"], input_ids, inputs_embeds, padding_idx=c.pad_token_id)
    tokens, advanced = caching.place(
        x.shape[1],
        attention_mask=attention_mask,
        position_ids=position_ids,
        cache=cache,
        table=c.max_target_positions,
    )
    x = x + jnp.broadcast_to(linear.embedding(p["positions"], tokens.positions), x.shape)
    return through(
        c,
        p,
        "decoder",
        x,
        attention.context(tokens),
        seen=seen,
        cache=advanced,
        key=dropout_key,
        collect=output_hidden_states,
    )


def apply(
    c: Config,
    params: Tree,
    *,
    input_features: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    decoder_input_ids: jax.Array | None = None,
    decoder_attention_mask: jax.Array | None = None,
    decoder_position_ids: jax.Array | None = None,
    encoder_outputs: Output | jax.Array | None = None,
    decoder_inputs_embeds: jax.Array | None = None,
    cache: caching.Cache | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> Seq2SeqModelOutput:
    """Vectors of the tokens of a text that have heard a recording and what came before them.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_features: [B, M, F]; with a cache in the first call only.
      attention_mask: [B, F] with 1 for frames and 0 for padding, which only SpecAugment regards.
      decoder_input_ids: of `decode`, like all that begin so.
      decoder_attention_mask: of its tokens.
      decoder_position_ids: of its tokens.
      encoder_outputs: what `encode` returned, or its [B, S, E], in place of `input_features`.
      decoder_inputs_embeds: in place of `decoder_input_ids`.
      cache: of `cache_specs`, or what an earlier call returned.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout and, where the config says so, SpecAugment on.
    """
    k1, k2, k3 = keys(dropout_key, 3)
    source: Any = encoder_outputs
    if source is None and input_features is not None:
        if c.apply_spec_augment:
            count = None if attention_mask is None else attention_mask.sum(-1)
            silence = jnp.zeros((), input_features.dtype)
            x = speech.hide(c, input_features.transpose(0, 2, 1), silence, None, k3, count)
            input_features = x.transpose(0, 2, 1)
        source = encode(
            c,
            params,
            input_features=input_features,
            output_hidden_states=output_hidden_states,
            dropout_key=k1,
        )
    target = decode(
        c,
        params,
        input_ids=decoder_input_ids,
        attention_mask=decoder_attention_mask,
        position_ids=decoder_position_ids,
        encoder_outputs=source,
        inputs_embeds=decoder_inputs_embeds,
        cache=cache,
        output_hidden_states=output_hidden_states,
        dropout_key=k2,
    )
    return Seq2SeqModelOutput(
        last_hidden_state=target.last_hidden_state,
        cache=target.cache,
        decoder_hidden_states=target.hidden_states,
        encoder_last_hidden_state=getattr(source, "last_hidden_state", source),
        encoder_hidden_states=getattr(source, "hidden_states", None),
    )


def lm_specs(c: Config) -> Tree:
    """An output matrix of its own, where it is not that of the embeddings."""
    if c.tie_word_embeddings:
        return {}
    return linear.specs("proj_out", c.vocab_size, c.d_model, axes=("vocab", "embed"), bias=False)


def scores(c: Config, params: Tree, x: jax.Array) -> jax.Array:
    """x [B, T, E] -> logits [B, T, V]."""
    return linear.linear(params["embed"] if c.tie_word_embeddings else params["head"], x)


def transcript(
    c: Config, params: Tree, body: Seq2SeqModelOutput, inputs: Mapping
) -> Seq2SeqLMOutput:
    """Token logits [B, T, V] of a text about a recording."""
    return seq2seq.logits(body, scores(c, params, body.last_hidden_state))


def lm(c: Config, params: Tree, body: BaseOutput, inputs: Mapping) -> LogitsOutput:
    """Token logits [B, T, V]."""
    return tasks.logits(body, scores(c, params, body.last_hidden_state))


_TIED = MappingProxyType({"proj_out.weight": "model.decoder.embed_tokens.weight"})
_NEEDS = (("input_features", "encoder_outputs"), ("decoder_input_ids", "decoder_inputs_embeds"))

TASKS = {
    "WhisperModel": tasks.bare(specs, apply)._replace(needs=_NEEDS),
    "WhisperForConditionalGeneration": tasks.headed(
        "automatic-speech-recognition",
        specs,
        apply,
        prefix="model",
        head_specs=lm_specs,
        head=transcript,
    )._replace(needs=_NEEDS, tied=_TIED),
    "WhisperForCausalLM": tasks.headed(
        "causal-lm", decoder_specs, decode, prefix="model", head_specs=lm_specs, head=lm
    )._replace(needs=(("input_ids", "inputs_embeds"),), tied=_TIED),
    "WhisperForAudioClassification": tasks.headed(
        "audio-classification",
        encoder_specs,
        speech.layered(encode),
        prefix="",
        head_specs=speech.label_specs,
        head=speech.sequence,
    ),
}
