"""What encoders of speech share: which frames are padding, and the heads on them.

A Config of theirs has `frames(samples)` and `adapted(frames)`, lengths after the convolutions and
after the adapter. Letters: B batch, S samples, T frames, E embed, V vocab, C labels.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.layers import augment, conv1d, linear
from zoo.layers.dropout import HEAD, dropout, fold, keys
from zoo.outputs import LogitsOutput, SpeechOutput, SpeechPreTrainingOutput, XVectorOutput
from zoo.spec import ArraySpec, Tree, ones, scope

TEMPERATURE = 2.0  # of the Gumbel softmax, in training


def valid_frames(count: jax.Array, frames: int) -> jax.Array:
    """Numbers of frames int [B] -> which of T are no padding, bool [B, T].

    As in transformers, a recording that is too short for a frame counts from the end.
    """
    return jnp.arange(frames)[None] <= ((count - 1) % frames)[:, None]


def hide(
    c: Any,
    x: jax.Array,
    fill: jax.Array,
    hidden: jax.Array | None,
    key: jax.Array | None,
    counts: jax.Array | None,
) -> jax.Array:
    """SpecAugment on x [B, T, E]: `fill` at the steps `hidden` [B, T], with a key at random ones.

    `counts` int [B] are the steps of each row that are no padding.
    """
    return augment.hide(
        x,
        fill,
        hidden,
        key,
        time=augment.Spans(c.mask_time_prob, c.mask_time_length, c.mask_time_min_masks),
        channels=augment.Spans(
            c.mask_feature_prob, c.mask_feature_length, c.mask_feature_min_masks
        ),
        counts=counts,
    )


def ctc_specs(c: Any) -> Tree:
    """A score for every character.

    Raises:
      ValueError: the config does not say how many there are.
    """
    if c.vocab_size is None:
        raise ValueError("vocab_size: found null, expected the number of characters; set it")
    return linear.specs("lm_head", c.vocab_size, c.width, axes=("vocab", "embed"))


def ctc(c: Any, params: Tree, body: SpeechOutput, inputs: Mapping) -> LogitsOutput:
    """Logits [B, T, V]. Graves et al. 2006."""
    x = body.last_hidden_state
    return tasks.logits(body, tasks.classify(params["head"], x, inputs, rate=c.final_dropout))


def layered(apply: Callable) -> Callable:
    """A body whose output is the weighted sum of all its layers, where the config says so."""

    @functools.wraps(apply)
    def summed(c: Any, params: Tree, **inputs: Any) -> SpeechOutput:
        if not c.use_weighted_layer_sum:
            return apply(c, params, **inputs)
        body = apply(c, params, **inputs | {"output_hidden_states": True})
        weights = jax.nn.softmax(params["head"]["layers"])
        x = jnp.einsum("l,lbte->bte", weights, jnp.stack(body.hidden_states))
        states = body.hidden_states if inputs.get("output_hidden_states") else None
        return dataclasses.replace(body, last_hidden_state=x, hidden_states=states)

    return summed


def _mixture(c: Any) -> Tree:
    """Weights of layers."""
    if not c.use_weighted_layer_sum:
        return {}
    count = c.num_hidden_layers + 1
    return {"layers": ArraySpec(shape=(count,), axes=(None,), init=ones, name="layer_weights")}


def _refuse_adapter(c: Any, what: str) -> None:
    if c.add_adapter:
        raise ValueError(f"add_adapter: {what} has no use for one; set it to false")


def sequence_specs(c: Any) -> Tree:
    """The same for encoders that may have an adapter, which would be of no use here."""
    _refuse_adapter(c, "a classifier of recordings")
    return label_specs(c)


def label_specs(c: Any) -> Tree:
    """A projection of frames, and a classifier of their mean."""
    size = c.classifier_proj_size
    return _mixture(c) | {
        "proj": linear.specs("projector", size, c.hidden_size, axes=(None, "embed")),
        "classifier": linear.specs("classifier", c.num_labels, size, axes=(None, None)),
    }


def sequence(c: Any, params: Tree, body: SpeechOutput, inputs: Mapping) -> LogitsOutput:
    """Logits [B, C]."""
    p = params["head"]
    x = linear.linear(p["proj"], body.last_hidden_state)
    mask = inputs.get("attention_mask")
    if mask is None:
        return tasks.logits(body, linear.linear(p["classifier"], x.mean(1)))
    count = c.frames(mask.astype(jnp.int32).sum(-1))
    keep = jnp.broadcast_to(valid_frames(count, x.shape[1])[..., None], x.shape)
    x = jnp.where(keep, x, jnp.zeros_like(x)).sum(1) / keep.sum(1).astype(x.dtype)
    return tasks.logits(body, linear.linear(p["classifier"], x))


def frame_specs(c: Any) -> Tree:
    """A classifier of frames."""
    _refuse_adapter(c, "a classifier of frames")
    classifier = linear.specs("classifier", c.num_labels, c.hidden_size, axes=(None, "embed"))
    return _mixture(c) | {"classifier": classifier}


def frame(c: Any, params: Tree, body: SpeechOutput, inputs: Mapping) -> LogitsOutput:
    """Logits [B, T, C]."""
    return tasks.logits(body, linear.linear(params["head"]["classifier"], body.last_hidden_state))


def xvector_specs(c: Any) -> Tree:
    """Convolutions over frames, and a vector from their mean and deviation.

    Raises:
      ValueError: an adapter that gives frames of another width.
    """
    if c.width != c.hidden_size:
        raise ValueError(
            f"output_hidden_size: found {c.width}, expected hidden_size {c.hidden_size} beside "
            f"this head; set add_adapter to false"
        )
    size, out = c.tdnn_dim[0], c.xvector_output_dim
    tree = {
        "proj": linear.specs("projector", size, c.hidden_size, axes=(None, "embed")),
        "vector": linear.specs("feature_extractor", out, 2 * c.tdnn_dim[-1], axes=(None, None)),
        "classifier": linear.specs("classifier", out, out, axes=(None, None)),
        # Of the loss: what the classes look like. Files hold it, the output does not need it.
        "classes": ArraySpec(shape=(out, c.num_labels), axes=(None, None), name="objective.weight"),
    }
    convs = []
    for i, (dim, width) in enumerate(zip(c.tdnn_dim, c.tdnn_kernel, strict=True)):
        inp = c.tdnn_dim[max(i - 1, 0)]
        one = conv1d.specs("kernel", dim, inp, width)
        one["weight"] = dataclasses.replace(one["weight"], store="o (k i) -> o i k")
        convs.append(scope(f"tdnn.{i}", one))
    return _mixture(c) | tree | {"convs": tuple(convs)}


def xvector(c: Any, params: Tree, body: SpeechOutput, inputs: Mapping) -> XVectorOutput:
    """A vector [B, X] of the speaker. Snyder et al. 2018.

    As in transformers, dilation is left out of account where padding is.
    """
    p = params["head"]
    x = linear.linear(p["proj"], body.last_hidden_state)
    for one, dilation in zip(p["convs"], c.tdnn_dilation, strict=True):
        x = jax.nn.relu(conv1d.conv1d(one, x, dilation=dilation))
    count: Any = jnp.full(x.shape[:1], x.shape[1])
    if (mask := inputs.get("attention_mask")) is not None:
        heard = c.adapted(c.frames(mask.astype(jnp.int32).sum(-1)))
        count = conv1d.lengths(heard, c.tdnn_kernel, (1,) * len(c.tdnn_kernel))
        count = jnp.where(count < 0, count + x.shape[1], jnp.minimum(count, x.shape[1]))
    keep = (jnp.arange(x.shape[1])[None] < count[:, None])[..., None]
    many = count[:, None, None].astype(x.dtype)
    mean = jnp.where(keep, x, 0.0).sum(1, keepdims=True) / many
    gap = jnp.where(keep, x - mean, 0.0)
    spread = jnp.sqrt(jnp.sum(gap * gap, 1, keepdims=True) / (many - 1))
    vector = linear.linear(p["vector"], jnp.concatenate([mean, spread], axis=-1)[:, 0])
    return XVectorOutput(
        logits=linear.linear(p["classifier"], vector),
        embeddings=vector,
        hidden_states=body.hidden_states,
    )


def pretraining_specs(c: Any) -> Tree:
    """Codes for what was heard, and projections of both sides into one space."""
    size = c.codevector_dim // c.num_codevector_groups
    codes = c.num_codevector_groups * c.num_codevectors_per_group
    return {
        "codes": ArraySpec(
            shape=(1, codes, size), axes=(None, None, None), name="quantizer.codevectors"
        ),
        "choice": linear.specs("quantizer.weight_proj", codes, c.conv_dim[-1], axes=(None, None)),
        "said": linear.specs("project_hid", c.proj_codevector_dim, c.width, axes=(None, "embed")),
        "heard": linear.specs(
            "project_q", c.proj_codevector_dim, c.codevector_dim, axes=(None, None)
        ),
    }


def quantize(
    c: Any, p: Tree, x: jax.Array, hidden: jax.Array | None, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """x [B, T, C] -> (codes [B, T, D], perplexity []), over the `hidden` frames [B, T] or all.

    The likeliest code of each group; with a key a random one, through which gradients pass as
    through a softmax. Jang et al. 2016, arXiv:1611.01144.
    """
    scores = linear.linear(p["choice"], x)
    scores = scores.reshape(*x.shape[:2], c.num_codevector_groups, -1).astype(jnp.float32)
    noise = 0.0 if key is None else jax.random.gumbel(key, scores.shape)
    soft = jax.nn.softmax((scores + noise) / TEMPERATURE)
    hard = jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), scores.shape[-1])
    seen = jnp.ones(x.shape[:2]) if hidden is None else hidden.astype(jnp.float32)
    used = jnp.einsum("bt,btgv->gv", seen, hard if key is None else jax.nn.softmax(scores))
    used = used / seen.sum()
    perplexity = jnp.exp(-jax.scipy.special.xlogy(used, used).sum(-1)).sum()
    chosen = hard if key is None else hard + soft - jax.lax.stop_gradient(soft)
    table = p["codes"].reshape(*scores.shape[2:], -1)
    codes = jnp.einsum("btgv,gvd->btgd", chosen.astype(table.dtype), table)
    return codes.reshape(*x.shape[:2], -1), perplexity


def pretraining(
    c: Any, params: Tree, body: SpeechOutput, inputs: Mapping
) -> SpeechPreTrainingOutput:
    """What the encoder says of hidden frames, and the codes of what was heard there."""
    p = params["head"]
    k1, k2 = keys(fold(inputs.get("dropout_key"), HEAD), 2)
    x = dropout(body["extract_features"], k1, rate=c.feat_quantizer_dropout)
    codes, perplexity = quantize(c, p, x, inputs.get("mask_time_indices"), k2)
    return SpeechPreTrainingOutput(
        projected_states=linear.linear(p["said"], body.last_hidden_state),
        projected_quantized_states=linear.linear(p["heard"], codes),
        codevector_perplexity=perplexity,
        hidden_states=body.hidden_states,
    )


def heads(
    name: str, specs: Callable[..., Tree], apply: Callable, *, prefix: str
) -> dict[str, tasks.Task]:
    """The classes that every encoder of speech has: `{name}Model`, `{name}ForCTC`, ..."""

    def task(task_name: str, head_specs: Callable, head: Callable, body: Callable) -> tasks.Task:
        return tasks.headed(task_name, specs, body, prefix=prefix, head_specs=head_specs, head=head)

    sums = layered(apply)
    return {
        f"{name}Model": tasks.bare(specs, apply),
        f"{name}ForCTC": task("automatic-speech-recognition", ctc_specs, ctc, apply),
        f"{name}ForSequenceClassification": task(
            "audio-classification", sequence_specs, sequence, sums
        ),
        f"{name}ForAudioFrameClassification": task(
            "audio-frame-classification", frame_specs, frame, sums
        ),
        f"{name}ForXVector": task("audio-xvector", xvector_specs, xvector, sums),
    }
