"""Heads that encoders share, and the table of classes that each encoder has.

A head is a few declarations under the key `head` beside those of the body, and a function from the
body's output to logits. Rates and names of activations are functions of the Config, whose fields
differ. Letters: B batch, T tokens, E embed, V vocab, C labels.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from zoo import tasks
from zoo.layers import activation, linear, norm
from zoo.layers.dropout import HEAD, dropout, fold, keys
from zoo.outputs import BaseOutput, LogitsOutput, Output, SpanOutput
from zoo.spec import ArraySpec, Tree, zeros

Specs = Callable[[Any], Tree]


class Head(NamedTuple):
    """What a Hub class adds to a body.

    Attributes:
      task: one of `tasks.NAMES`.
      specs: of the Config.
      apply: `(config, params, body, inputs) -> Output`.
      pooled: whether the body keeps its pooler.
      tied: with tied embeddings, tensors that some files repeat, and where they are declared.
    """

    task: str
    specs: Specs
    apply: Callable[[Any, Tree, BaseOutput, Mapping], Output]
    pooled: bool = False
    tied: Mapping[str, str] = MappingProxyType({})


def encoder(
    name: str,
    specs: Callable[..., Tree],
    apply: Callable[..., BaseOutput],
    heads: Mapping[str, Head],
    *,
    prefix: str,
    unpooled: Callable[..., Tree] | None = None,
) -> dict[str, tasks.Task]:
    """`{name}Model`, and for each head the class `{name}{its key}` with the body under `prefix`.

    `unpooled` declares the body without its pooler, where there is one.
    """

    def task(class_name: str, head: Head) -> tasks.Task:
        body = specs if head.pooled or unpooled is None else unpooled
        made = tasks.headed(
            head.task, body, apply, prefix=prefix, head_specs=head.specs, head=head.apply
        )
        run = each_choice(class_name, made.apply) if head.task == "multiple-choice" else made.apply
        return made._replace(apply=run, tied=head.tied)

    headed = {f"{name}{key}": task(f"{name}{key}", head) for key, head in heads.items()}
    return {f"{name}Model": tasks.bare(specs, apply), **headed}


def each_choice(where: str, apply: Callable[..., Any]) -> Callable[..., Any]:
    """A function of inputs [B, choices, T] -> logits [B, choices], from one of rows [B, T].

    Raises:
      ValueError: inputs without an axis of choices.
    """

    def run(c: Any, params: Tree, **inputs: Any) -> LogitsOutput:
        ranks = {"input_ids": 3, "inputs_embeds": 4}
        main, rank = next((x, r) for n, r in ranks.items() if (x := inputs.get(n)) is not None)
        if main.ndim != rank:
            raise ValueError(
                f"{where}: found inputs of shape {tuple(main.shape)}, expected an axis of choices "
                f"after the batch; add one of size 1"
            )
        batch, choices = main.shape[:2]

        def flat(name: str, x: Any) -> Any:
            if getattr(x, "ndim", 0) < 3 or not name.endswith(("_ids", "_mask", "_embeds")):
                return x
            return x.reshape(batch * choices, *x.shape[2:])

        out = apply(c, params, **{name: flat(name, x) for name, x in inputs.items()})
        return dataclasses.replace(out, logits=out.logits.reshape(batch, choices))

    return run


def lm_specs(
    *,
    vocab: int,
    embed: int,
    tied: bool,
    dense: str,
    layer_norm: str,
    decoder: str,
    bias: str | None,
    width: int | None = None,
    dense_bias: bool = True,
    norm_bias: bool = True,
) -> Tree:
    """The head that predicts tokens, under the checkpoint's names.

    Its matrix, `width` wide, is that of the embeddings when they are tied. A `bias` with a name of
    its own is repeated in the decoder; an untied decoder uses its own.
    """
    width = embed if width is None else width
    tree = {
        "transform": linear.specs(dense, width, embed, axes=(None, "embed"), bias=dense_bias),
        "norm": norm.specs(layer_norm, width, bias=norm_bias),
    }
    if not tied:
        biased = bias is not None
        tree["decoder"] = linear.specs(decoder, vocab, width, axes=("vocab", "embed"), bias=biased)
    if bias and (tied or bias != f"{decoder}.bias"):
        tree["bias"] = ArraySpec(shape=(vocab,), axes=("vocab",), init=zeros, name=bias)
    return tree


def lm_logits(p: Tree, words: Tree, x: jax.Array, *, act: str, eps: float) -> jax.Array:
    """x [B, T, E] -> logits [B, T, V], by the table `words` where the tree has no matrix."""
    x = activation.activation(linear.linear(p["transform"], x), name=act)
    x = norm.layer_norm(p["norm"], x, eps=eps)
    tied = words | {"bias": p["bias"]} if "bias" in p else words
    return linear.linear(p.get("decoder", tied), x)


def classifier_specs(name: str = "classifier", labels: int | None = None) -> Specs:
    """A linear classifier with so many labels, or as many as the Config says."""
    return lambda c: linear.specs(
        name, c.num_labels if labels is None else labels, c.hidden_size, axes=(None, "embed")
    )


def pooled(task: str, rate: Callable[[Any], float], labels: int | None = None) -> Head:
    """Logits [B, C] from the pooled text."""

    def apply(c: Any, params: Tree, body: BaseOutput, inputs: Mapping) -> LogitsOutput:
        x = tasks.classify(params["head"], body["pooler_output"], inputs, rate=rate(c))
        return tasks.logits(body, x)

    return Head(task, classifier_specs(labels=labels), apply, pooled=True)


def first(
    task: str,
    names: tuple[str, str],
    *,
    act: Callable[[Any], str],
    rates: Callable[[Any], tuple[float, float]],
    labels: int | None = None,
) -> Head:
    """Logits [B, C] from the first token: a layer, an activation, the classifier.

    `rates` are those of dropout before the layer and before the classifier.
    """
    dense, out = names

    def specs(c: Any) -> Tree:
        size = c.hidden_size
        layer = linear.specs(dense, size, size, axes=(None, "embed"))
        return {"dense": layer, "out": classifier_specs(out, labels)(c)}

    def apply(c: Any, params: Tree, body: BaseOutput, inputs: Mapping) -> LogitsOutput:
        p, (before, after) = params["head"], rates(c)
        k1, k2 = keys(fold(inputs.get("dropout_key"), HEAD), 2)
        x = dropout(body.last_hidden_state[:, 0], k1, rate=before)
        x = activation.activation(linear.linear(p["dense"], x), name=act(c))
        return tasks.logits(body, linear.linear(p["out"], dropout(x, k2, rate=after)))

    return Head(task, specs, apply)


def tokens(rate: Callable[[Any], float]) -> Head:
    """Logits [B, T, C]."""

    def apply(c: Any, params: Tree, body: BaseOutput, inputs: Mapping) -> LogitsOutput:
        x = tasks.classify(params["head"], body.last_hidden_state, inputs, rate=rate(c))
        return tasks.logits(body, x)

    return Head("token-classification", classifier_specs(), apply)


def answers(rate: Callable[[Any], float] = lambda c: 0.0) -> Head:
    """Logits [B, T] of the first and the last token of an answer."""

    def apply(c: Any, params: Tree, body: BaseOutput, inputs: Mapping) -> SpanOutput:
        x = tasks.classify(params["head"], body.last_hidden_state, inputs, rate=rate(c))
        return tasks.spans(body, x)

    return Head("question-answering", classifier_specs("qa_outputs"), apply)
