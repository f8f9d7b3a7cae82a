"""What encoder-decoders share beside their layers: shifted targets, and heads on a decoder.

Letters: B batch, T tokens of the decoder, S places of the source, E embed, C labels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from zoo.layers import cross, linear
from zoo.layers.cache import Cache
from zoo.layers.dropout import HEAD, dropout, fold, keys
from zoo.outputs import (
    BaseOutput,
    Output,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
    Seq2SeqSpanOutput,
)
from zoo.spec import Init, Tree, drawn, normal
from zoo.tasks import Task

SOURCES = ("input_ids", "inputs_embeds", "encoder_outputs")


Run = Callable[..., BaseOutput]  # (config, params, "encoder" or "decoder", **inputs)


def encoder(run: Run) -> Callable[..., BaseOutput]:
    """The encoder alone."""

    def encode(
        c: Any,
        params: Tree,
        *,
        input_ids: jax.Array | None = None,
        attention_mask: jax.Array | None = None,
        inputs_embeds: jax.Array | None = None,
        output_hidden_states: bool = False,
        dropout_key: jax.Array | None = None,
    ) -> BaseOutput:
        """Vectors of the tokens of a source.

        Args:
          c: the architecture.
          params: the tree of the encoder, or of the whole model.
          input_ids: int [B, S].
          attention_mask: [B, S] with 1 for tokens and 0 for padding, or [B, S, S].
          inputs_embeds: [B, S, E] in place of `input_ids`.
          output_hidden_states: return the output of every layer too.
          dropout_key: switches dropout on.
        """
        return run(
            c,
            params,
            "encoder",
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            dropout_key=dropout_key,
        )

    return encode


def joined(run: Run) -> Callable[..., Seq2SeqModelOutput]:
    """The encoder and the decoder, which also takes what it has `seen` and a `cache`."""

    def apply(
        c: Any,
        params: Tree,
        *,
        input_ids: jax.Array | None = None,
        attention_mask: jax.Array | None = None,
        decoder_input_ids: jax.Array | None = None,
        decoder_attention_mask: jax.Array | None = None,
        encoder_outputs: Output | jax.Array | None = None,
        inputs_embeds: jax.Array | None = None,
        decoder_inputs_embeds: jax.Array | None = None,
        cache: Cache | None = None,
        output_hidden_states: bool = False,
        dropout_key: jax.Array | None = None,
    ) -> Seq2SeqModelOutput:
        """Vectors of the tokens of a target that have seen a source and what came before them.

        Args:
          c: the architecture.
          params: the tree that `specs` declares.
          input_ids: int [B, S], the source; with a cache in the first call only.
          attention_mask: [B, S] with 1 for tokens of the source and 0 for padding.
          decoder_input_ids: int [B, T], the target, moved to the right behind a start token.
          decoder_attention_mask: [B, T] with 1 for tokens and 0 for padding, or [B, T, T].
          encoder_outputs: what `encode` returned, or its [B, S, E], in place of `input_ids`.
          inputs_embeds: [B, S, E] in place of `input_ids`.
          decoder_inputs_embeds: [B, T, E] in place of `decoder_input_ids`.
          cache: of `cache_specs`, or what an earlier call returned.
          output_hidden_states: return the output of every layer too.
          dropout_key: switches dropout on.
        """
        encoder_key, decoder_key = keys(dropout_key, 2)
        source = encoder_outputs
        if source is None and (input_ids is not None or inputs_embeds is not None):
            source = run(
                c,
                params,
                "encoder",
                input_ids=input_ids,
                attention_mask=attention_mask,
                inputs_embeds=inputs_embeds,
                output_hidden_states=output_hidden_states,
                dropout_key=encoder_key,
            )
        output: Any = getattr(source, "last_hidden_state", source)
        seen, cache = cross.see(params["decoder"]["layers"], output, attention_mask, cache)
        target = run(
            c,
            params,
            "decoder",
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            seen=seen,
            cache=cache,
            output_hidden_states=output_hidden_states,
            dropout_key=decoder_key,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=target.last_hidden_state,
            cache=target.cache,
            decoder_hidden_states=target.hidden_states,
            encoder_last_hidden_state=output,
            encoder_hidden_states=getattr(source, "hidden_states", None),
        )

    return apply


def shifted(ids: jax.Array | None, start: int | None) -> jax.Array:
    """Ids int [B, T] moved one place to the right behind `start`: what a decoder is trained on.

    Raises:
      ValueError: no ids, or no token to start with.
    """
    if ids is None or start is None:
        missing = "decoder_start_token_id in the config" if ids is not None else "input_ids"
        raise ValueError(
            f"decoder_input_ids: found neither them nor {missing} to make them of; pass them"
        )
    return jnp.concatenate([jnp.full_like(ids[:, :1], start), ids[:, :-1]], axis=1)


def shifting(task: Task) -> Task:
    """The same class, whose decoder reads the source, shifted, where it is given no target."""

    def apply(c: Any, params: Tree, **inputs: Any) -> Output:
        if all(inputs.get(f"decoder_{name}") is None for name in ("input_ids", "inputs_embeds")):
            ids = shifted(inputs.get("input_ids"), c.decoder_start_token_id)
            inputs = inputs | {"decoder_input_ids": ids}
        return task.apply(c, params, **inputs)

    return task._replace(apply=apply, needs=(SOURCES,))


def _passed(body: Seq2SeqModelOutput) -> dict[str, Any]:
    names = ("cache", "decoder_hidden_states", "encoder_last_hidden_state", "encoder_hidden_states")
    return {name: getattr(body, name) for name in names}


def logits(body: Seq2SeqModelOutput, values: jax.Array) -> Seq2SeqLMOutput:
    """Logits beside what the body passes on."""
    return Seq2SeqLMOutput(logits=values, **_passed(body))


def answers(
    c: Any, params: Tree, body: Seq2SeqModelOutput, inputs: Mapping[str, Any]
) -> Seq2SeqSpanOutput:
    """Logits [B, T] of the first and the last token of an answer."""
    values = linear.linear(params["head"], body.last_hidden_state)
    return Seq2SeqSpanOutput(
        start_logits=values[..., 0], end_logits=values[..., 1], **_passed(body)
    )


def classifier_specs(c: Any, *, init: Init = normal) -> Tree:
    """Two layers on the vector of a text."""
    size, name = c.hidden_size, "classification_head"
    tree = {
        "dense": linear.specs(f"{name}.dense", size, size, axes=(None, "embed")),
        "out": linear.specs(f"{name}.out_proj", c.num_labels, size, axes=(None, "embed")),
    }
    return {key: p | {"weight": drawn(init, p["weight"])} for key, p in tree.items()}


def classifier(
    c: Any, params: Tree, body: Seq2SeqModelOutput, inputs: Mapping[str, Any]
) -> Seq2SeqLMOutput:
    """Logits [B, C] from the decoder's state at the last `eos_token_id` of the source.

    transformers wants as many of them in every row; here only the last one matters.

    Raises:
      ValueError: no source text, or a target of another length.
    """
    ids, x, p = inputs.get("input_ids"), body.last_hidden_state, params["head"]
    if ids is None or not isinstance(c.eos_token_id, int):
        raise ValueError(
            "classification: found no input_ids or no single eos_token_id in the config, expected "
            "both: a text is classified at its last end-of-text token"
        )
    if ids.shape != x.shape[:2]:
        raise ValueError(
            f"classification: found {x.shape[1]} tokens of the decoder, expected the "
            f"{ids.shape[1]} of input_ids; leave decoder_input_ids out"
        )
    order = jnp.arange(ids.shape[1], dtype=jnp.int32)[None]
    last = jnp.argmax(jnp.where(ids == c.eos_token_id, order, -1), axis=-1)
    x = jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
    before, after = keys(fold(inputs.get("dropout_key"), HEAD), 2)
    x = jnp.tanh(linear.linear(p["dense"], dropout(x, before, rate=c.classifier_dropout)))
    return logits(body, linear.linear(p["out"], dropout(x, after, rate=c.classifier_dropout)))


def check_ends(c: Any, arrays: Mapping[str, Any], where: str) -> None:
    """Refuses texts without an end-of-text token where it is what is classified.

    Raises:
      ValueError: a row of `input_ids` without one.
    """
    ids = arrays.get("input_ids")
    if not isinstance(c.eos_token_id, int) or not where.endswith("ForSequenceClassification"):
        return
    if ids is None or isinstance(ids, Tracer) or ids.ndim != 2:
        return
    bare = ~(ids == c.eos_token_id).any(-1)
    if bare.any():
        raise ValueError(
            f"{where}: input_ids: {int(bare.sum())} rows without eos_token_id {c.eos_token_id}, by "
            f"which a text is classified; let the tokenizer end each text"
        )
