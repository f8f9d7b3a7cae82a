"""What models return: dataclasses with the fields of transformers' outputs.

Letters: B batch, T tokens, E embed, V vocab, C labels.
"""

import dataclasses
import typing
from typing import Any, TypeVar

import jax

from zoo.errors import UnknownNameError
from zoo.spec import Tree

T = TypeVar("T")


class Output:
    """Access by name (`out["logits"]`) or by position among the fields that are set (`out[0]`)."""

    def keys(self) -> tuple[str, ...]:
        """Names of the fields that are set."""
        fields = dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        return tuple(f.name for f in fields if getattr(self, f.name) is not None)

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are set, in order."""
        return tuple(getattr(self, name) for name in self.keys())

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key in self.keys():
            return getattr(self, key)
        raise UnknownNameError(
            f"{type(self).__name__} has no {key!r}; it has {', '.join(self.keys())}"
        )

    def __contains__(self, key: str) -> bool:
        return key in self.keys()


@typing.dataclass_transform(frozen_default=True, kw_only_default=True)
def _output(cls: type[T]) -> type[T]:
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, kw_only=True)(cls))


@_output
class BaseOutput(Output):
    """A body without a head.

    Attributes:
      last_hidden_state: [B, T, E], after the final norm.
      pooler_output: [B, E], where the checkpoint has a pooler.
      sentence_embedding: [B, E], where the repository describes a pooling (sentence-transformers).
      cache: the cache that went in, with the new tokens.
      hidden_states: embeddings and the output of every layer, each [B, T, E]; on request.
      batch_stats: with `train`, buffers after this batch; `spec.merge` puts them into the
        parameters.
    """

    last_hidden_state: jax.Array
    pooler_output: jax.Array | None = None
    sentence_embedding: jax.Array | None = None
    cache: Tree | None = None
    hidden_states: tuple[jax.Array, ...] | None = None
    batch_stats: Tree | None = None


@_output
class LogitsOutput(Output):
    """One set of logits: [B, T, V] for language models, [B, C] or [B, T, C] for classifiers."""

    logits: jax.Array
    cache: Tree | None = None
    hidden_states: tuple[jax.Array, ...] | None = None
    batch_stats: Tree | None = None


@_output
class SpanOutput(Output):
    """Logits [B, T] of the answer's first and last token."""

    start_logits: jax.Array
    end_logits: jax.Array
    hidden_states: tuple[jax.Array, ...] | None = None


@_output
class PreTrainingOutput(Output):
    """BERT's two objectives: masked tokens [B, T, V] and next sentence [B, 2]."""

    prediction_logits: jax.Array
    seq_relationship_logits: jax.Array
    hidden_states: tuple[jax.Array, ...] | None = None


@_output
class DoubleHeadsOutput(Output):
    """GPT-2's two heads: next token [B, choices, T, V] and choice [B, choices]."""

    logits: jax.Array
    mc_logits: jax.Array
    hidden_states: tuple[jax.Array, ...] | None = None


@_output
class ImageOutput(Output):
    """A reconstructed image [B, channels, height, width]."""

    reconstruction: jax.Array
    hidden_states: tuple[jax.Array, ...] | None = None


@_output
class Seq2SeqModelOutput(Output):
    """An encoder and a decoder without a head.

    Attributes:
      last_hidden_state: [B, T, E], of the decoder, after its final norm.
      cache: the cache that went in, with the new tokens and the encoder's output.
      decoder_hidden_states: its embeddings and the output of every layer; on request.
      encoder_last_hidden_state: [B, S, E]; None where the cache stood in for the encoder.
      encoder_hidden_states: embeddings and the output of every layer of the encoder; on request.
    """

    last_hidden_state: jax.Array
    cache: Tree | None = None
    decoder_hidden_states: tuple[jax.Array, ...] | None = None
    encoder_last_hidden_state: jax.Array | None = None
    encoder_hidden_states: tuple[jax.Array, ...] | None = None


@_output
class Seq2SeqLMOutput(Output):
    """Logits on a decoder: [B, T, V] of tokens, or [B, C] of labels."""

    logits: jax.Array
    cache: Tree | None = None
    decoder_hidden_states: tuple[jax.Array, ...] | None = None
    encoder_last_hidden_state: jax.Array | None = None
    encoder_hidden_states: tuple[jax.Array, ...] | None = None


@_output
class Seq2SeqSpanOutput(Output):
    """Logits [B, T] of the answer's first and last token, on a decoder."""

    start_logits: jax.Array
    end_logits: jax.Array
    cache: Tree | None = None
    decoder_hidden_states: tuple[jax.Array, ...] | None = None
    encoder_last_hidden_state: jax.Array | None = None
    encoder_hidden_states: tuple[jax.Array, ...] | None = None


@_output
class TextEmbedsOutput(Output):
    """Vectors [B, P] of texts in the space shared with images, and [B, T, E] of their tokens."""

    text_embeds: jax.Array
    last_hidden_state: jax.Array
    hidden_states: tuple[jax.Array, ...] | None = None


@_output
class ImageEmbedsOutput(Output):
    """Vectors [B, P] of images in the space shared with texts, and [B, T, E] of their patches."""

    image_embeds: jax.Array
    last_hidden_state: jax.Array
    hidden_states: tuple[jax.Array, ...] | None = None


@_output
class ContrastiveOutput(Output):
    """Texts [B] against images [N].

    Attributes:
      logits_per_image: [N, B], scaled cosines.
      logits_per_text: [B, N], the same.
      text_embeds: [B, P], of length one.
      image_embeds: [N, P], of length one.
      text_model_output: of the tower of texts, `pooler_output` being in the shared space.
      vision_model_output: of the tower of images, likewise.
    """

    logits_per_image: jax.Array
    logits_per_text: jax.Array
    text_embeds: jax.Array
    image_embeds: jax.Array
    text_model_output: BaseOutput
    vision_model_output: BaseOutput


@_output
class SpeechOutput(BaseOutput):
    """A body that hears: `extract_features` [B, T, C] are what its convolutions found, normed."""

    extract_features: jax.Array | None = None


@_output
class SpeechPreTrainingOutput(Output):
    """What wav2vec 2.0 predicts [B, T, P], what it should have, and how evenly codes are used."""

    projected_states: jax.Array
    projected_quantized_states: jax.Array
    codevector_perplexity: jax.Array
    hidden_states: tuple[jax.Array, ...] | None = None


@_output
class XVectorOutput(Output):
    """A vector [B, X] of whoever speaks, and logits [B, X] from it."""

    logits: jax.Array
    embeddings: jax.Array
    hidden_states: tuple[jax.Array, ...] | None = None


@_output
class BackboneOutput(Output):
    """Maps of features [B, channels, height, width] at several scales, the finest first."""

    feature_maps: tuple[jax.Array, ...]
    hidden_states: tuple[jax.Array, ...] | None = None
    batch_stats: Tree | None = None


@_output
class ImageTextOutput(Output):
    """A decoder over texts with images in them.

    Attributes:
      last_hidden_state: [B, T, E], after the final norm.
      cache: the cache that went in, with the new tokens.
      hidden_states: embeddings and the output of every layer, each [B, T, E]; on request.
      image_hidden_states: [R, E], what stands in the places of all images.
    """

    last_hidden_state: jax.Array
    cache: Tree | None = None
    hidden_states: tuple[jax.Array, ...] | None = None
    image_hidden_states: jax.Array | None = None


@_output
class ImageTextLogitsOutput(Output):
    """Logits [B, T, V] of a decoder over texts with images in them [R, E]."""

    logits: jax.Array
    cache: Tree | None = None
    hidden_states: tuple[jax.Array, ...] | None = None
    image_hidden_states: jax.Array | None = None


@_output
class HierarchicalOutput(BaseOutput):
    """A body whose maps shrink from stage to stage.

    Attributes:
      reshaped_hidden_states: the hidden states [B, P, E] as maps [B, E, height, width].
    """

    reshaped_hidden_states: tuple[jax.Array, ...] | None = None


@_output
class HierarchicalLogitsOutput(LogitsOutput):
    """Logits [B, C] on such a body."""

    reshaped_hidden_states: tuple[jax.Array, ...] | None = None


@_output
class HierarchicalImageOutput(ImageOutput):
    """An image reconstructed from such a body."""

    reshaped_hidden_states: tuple[jax.Array, ...] | None = None


@_output
class DetectionModelOutput(Output):
    """An encoder of an image and a decoder of objects in it, without heads.

    Attributes:
      last_hidden_state: [B, Q, E], a vector for each of Q objects.
      decoder_hidden_states: what enters each layer of the decoder and the last output; on request.
      encoder_last_hidden_state: [B, S, E], of the places of the last map.
      encoder_hidden_states: what enters each layer of the encoder and the last output; on request.
      intermediate_hidden_states: [layers, B, Q, E], normed, with an auxiliary loss.
    """

    last_hidden_state: jax.Array
    decoder_hidden_states: tuple[jax.Array, ...] | None = None
    encoder_last_hidden_state: jax.Array | None = None
    encoder_hidden_states: tuple[jax.Array, ...] | None = None
    intermediate_hidden_states: jax.Array | None = None


@_output
class DetectionOutput(Output):
    """Objects in an image.

    Attributes:
      logits: [B, Q, C + 1]; the last class is no object.
      pred_boxes: [B, Q, 4], centre, width and height as shares of the image without its padding.
      auxiliary_outputs: logits and boxes after every layer but the last; on request.
      last_hidden_state: [B, Q, E].
      decoder_hidden_states: what enters each layer of the decoder and the last output; on request.
      encoder_last_hidden_state: [B, S, E], of the places of the last map.
      encoder_hidden_states: what enters each layer of the encoder and the last output; on request.
    """

    logits: jax.Array
    pred_boxes: jax.Array
    auxiliary_outputs: tuple[dict[str, jax.Array], ...] | None = None
    last_hidden_state: jax.Array | None = None
    decoder_hidden_states: tuple[jax.Array, ...] | None = None
    encoder_last_hidden_state: jax.Array | None = None
    encoder_hidden_states: tuple[jax.Array, ...] | None = None


@_output
class SegmentationOutput(DetectionOutput):
    """Objects in an image and a mask of each: `pred_masks` [B, Q, height, width], logits."""

    pred_masks: jax.Array
