"""Task heads that architectures share, and the table that ties Hub classes to tasks.

A head is a few declarations under the key `head` beside those of the body, and a function from the
body's output to logits. Letters: B batch, T tokens, E embed, V vocab, C labels.
"""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo import outputs
from zoo.layers import linear, stack
from zoo.layers.activation import capped
from zoo.layers.dropout import HEAD, dropout, fold
from zoo.spec import Tree, scope

NAMES = {
    "feature-extraction": "vectors of a text or an image",
    "fill-mask": "what a masked word may be",
    "text-classification": "labels or scores of a text",
    "token-classification": "a label for every token",
    "question-answering": "the span of a text that answers a question",
    "multiple-choice": "which of several continuations fits",
    "next-sentence": "whether one sentence follows another",
    "pretraining": "the objectives of pre-training together",
    "causal-lm": "the next token",
    "seq2seq-lm": "a text made from another: translation, summary, answer",
    "image-classification": "labels of an image",
    "masked-image-modeling": "an image with its masked patches restored",
    "object-detection": "boxes and labels of the things in an image",
    "image-segmentation": "a label for every pixel of an image",
    "backbone": "maps of features of an image, at several scales",
    "projection": "a vector of a text or an image in a space that both share",
    "zero-shot-image-classification": "which of several texts fits an image",
    "image-text-to-text": "the next token of a text with images in it",
    "automatic-speech-recognition": "the text of a recording",
    "audio-classification": "labels of a recording",
    "audio-frame-classification": "a label for every frame of a recording",
    "audio-xvector": "a vector of whoever speaks",
}


class Task(NamedTuple):
    """What one Hub class is.

    Attributes:
      name: one of `NAMES`.
      specs: `(config, layers=stack.loop) -> Tree`, everything the class stores.
      apply: `(config, params, **inputs) -> Output`, pure.
      inputs: the keyword arguments that `apply` takes.
      prefix: where the body's tensors stand in the checkpoint, "" for a bare model.
      tied: with tied embeddings, tensors that some files repeat, and where they are declared.
      needs: groups of inputs, of each of which exactly one must be given; see `groups`.
      ranks: input -> number of its dimensions, where it is not that of `zoo.inputs.RANKS`.
      renamed: patterns of names in other files than those this class writes today, and what they
        are called here, as of `re.sub`, one after another.
    """

    name: str
    specs: Callable[..., Tree]
    apply: Callable[..., outputs.Output]
    inputs: tuple[str, ...]
    prefix: str = ""
    tied: Mapping[str, str] = MappingProxyType({})
    needs: tuple[tuple[str, ...], ...] = ()
    ranks: Mapping[str, int] = MappingProxyType({})
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def crosses(self) -> bool:
        """Whether a decoder attends to an encoder."""
        return "decoder_input_ids" in self.inputs

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Groups of inputs, of each of which exactly one must be given.

        Unless `needs` says otherwise: a text, or else an image or a recording, and for a decoder
        behind an encoder another text.
        """
        if self.needs:
            return self.needs
        found = [tuple(name for name in group if name in self.inputs) for group in _GROUPS]
        source, target = next(group for group in found[:-1] if group), found[-1]
        return (source, target) if target else (source,)


_GROUPS = (
    ("input_ids", "inputs_embeds", "encoder_outputs"),
    ("pixel_values",),
    ("input_features", "encoder_outputs"),
    ("input_values",),
    ("decoder_input_ids", "decoder_inputs_embeds"),
)


def inputs_of(apply: Callable) -> tuple[str, ...]:
    """Names of the keyword-only arguments of a pure forward function."""
    parameters = inspect.signature(apply).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def bare(specs: Callable[..., Tree], apply: Callable) -> Task:
    """The body without a head."""
    return Task("feature-extraction", specs, apply, inputs_of(apply))


def headed(
    name: str,
    specs: Callable[..., Tree],
    apply: Callable,
    *,
    prefix: str,
    head_specs: Callable[[Any], Tree],
    head: Callable[..., outputs.Output],
    extra: tuple[str, ...] = (),
) -> Task:
    """A body under `prefix` with a head on it.

    `head(config, params, body, inputs)` gets the body's output and the inputs of the call; `extra`
    names inputs that only the head takes.
    """

    def all_specs(c: Any, *, layers: stack.Build = stack.loop) -> Tree:
        return scope(prefix, specs(c, layers=layers)) | {"head": head_specs(c)}

    def all_apply(c: Any, params: Tree, **inputs: Any) -> outputs.Output:
        body = apply(c, params, **{k: v for k, v in inputs.items() if k not in extra})
        return head(c, params, body, inputs)

    return Task(name, all_specs, all_apply, (*inputs_of(apply), *extra), prefix)


def classify(p: Tree, x: jax.Array, inputs: Mapping[str, Any], *, rate: float = 0.0) -> jax.Array:
    """Dropout, then a linear map: x [..., E] -> logits [..., C]."""
    key = fold(inputs.get("dropout_key"), HEAD)
    return linear.linear(p, dropout(x, key, rate=rate))


def spans(body: outputs.BaseOutput, values: jax.Array) -> outputs.SpanOutput:
    """Values [B, T, 2] as logits of the first and the last token of an answer."""
    return outputs.SpanOutput(
        start_logits=values[..., 0],
        end_logits=values[..., 1],
        hidden_states=body.hidden_states,
    )


def logits(body: outputs.BaseOutput, values: jax.Array) -> outputs.LogitsOutput:
    """Logits beside what the body passes on."""
    return outputs.LogitsOutput(
        logits=values,
        cache=body.cache,
        hidden_states=body.hidden_states,
        batch_stats=body.batch_stats,
    )


def last_token(
    ids: jax.Array | None, values: jax.Array, *, pad_token_id: int | None, where: str
) -> jax.Array:
    """Values [B, T, C] -> [B, C] at the last token that is not padding, as classifiers on decoders.

    Raises:
      ValueError: more than one row, and no `pad_token_id` in the config to tell padding by.
    """
    if pad_token_id is None and values.shape[0] != 1:
        raise ValueError(
            f"{where}: {values.shape[0]} rows and no pad_token_id in the config; set "
            f"pad_token_id or classify one row at a time"
        )
    if pad_token_id is None or ids is None:
        return values[:, -1]
    real = (ids != pad_token_id).astype(jnp.int32)
    last = jnp.argmax(jnp.arange(ids.shape[1], dtype=jnp.int32)[None] * real, axis=-1)
    return jnp.take_along_axis(values, last[:, None, None], axis=1)[:, 0]


def lm_head_specs(c: Any, name: str = "lm_head") -> Tree:
    """An output matrix of its own."""
    return linear.specs(name, c.vocab_size, c.hidden_size, axes=("vocab", "embed"), bias=False)


def classifier_rate(c: Any) -> float:
    """Dropout before the classifier of tokens on a decoder."""
    rates = (c.classifier_dropout, c.hidden_dropout, 0.1)
    return next(rate for rate in rates if rate is not None)


def decoder(
    name: str,
    specs: Callable[..., Tree],
    apply: Callable,
    *,
    prefix: str = "model",
    answers_prefix: str | None = "transformer",
    embed_name: str = "embed_tokens",
    lm_name: str = "lm_head",
    token_name: str = "score",
    cap: Callable[[Any], float | None] = lambda c: None,
) -> dict[str, Task]:
    """The classes that every Llama-like decoder has: `{name}Model`, `{name}ForCausalLM`, ...

    `prefix` is where they keep the body, and `answers_prefix` where question answering does, or
    None where there is no such class. The body keeps its token embedding at `embed`, called
    `embed_name` in the checkpoint; with tied embeddings the head declares nothing. `lm_name` and
    `token_name` are the heads that predict tokens and classify them; `cap` bounds the former's
    logits.
    """

    def lm_specs(c: Any) -> Tree:
        return {} if c.tie_word_embeddings else lm_head_specs(c, lm_name)

    def lm(c: Any, params: Tree, body: outputs.BaseOutput, inputs: Mapping) -> outputs.Output:
        p = params["embed"] if c.tie_word_embeddings else params["head"]
        scores = linear.linear(p, body.last_hidden_state)
        bound = cap(c)
        return logits(body, scores if bound is None else capped(scores, bound))

    def label_specs(head: str, bias: bool) -> Callable[[Any], Tree]:
        return lambda c: linear.specs(
            head, c.num_labels, c.hidden_size, axes=(None, "embed"), bias=bias
        )

    def sequence(c: Any, params: Tree, body: outputs.BaseOutput, inputs: Mapping):
        scores = linear.linear(params["head"], body.last_hidden_state)
        ids = inputs.get("input_ids")
        where = f"{name}ForSequenceClassification"
        return logits(body, last_token(ids, scores, pad_token_id=c.pad_token_id, where=where))

    def token(c: Any, params: Tree, body: outputs.BaseOutput, inputs: Mapping):
        rate = classifier_rate(c)
        return logits(body, classify(params["head"], body.last_hidden_state, inputs, rate=rate))

    def qa_specs(c: Any) -> Tree:
        return linear.specs("qa_outputs", 2, c.hidden_size, axes=(None, "embed"))

    def qa(c: Any, params: Tree, body: outputs.BaseOutput, inputs: Mapping):
        return spans(body, linear.linear(params["head"], body.last_hidden_state))

    def task(task_name: str, head_specs: Callable, head: Callable, prefix: str = prefix) -> Task:
        return headed(task_name, specs, apply, prefix=prefix, head_specs=head_specs, head=head)

    tasks = {
        f"{name}Model": bare(specs, apply),
        f"{name}ForCausalLM": task("causal-lm", lm_specs, lm)._replace(
            tied=MappingProxyType({f"{lm_name}.weight": f"{prefix}.{embed_name}.weight"})
        ),
        f"{name}ForSequenceClassification": task(
            "text-classification", label_specs("score", False), sequence
        ),
        f"{name}ForTokenClassification": task(
            "token-classification", label_specs(token_name, True), token
        ),
    }
    if answers_prefix is not None:
        answers = task("question-answering", qa_specs, qa, answers_prefix)
        tasks[f"{name}ForQuestionAnswering"] = answers
    return tasks
