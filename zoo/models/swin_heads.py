"""Heads of Swin: labels of an image, and its pixels. Letters: B batch, C channels."""

from collections.abc import Mapping
from typing import Any

from zoo.layers import image, linear
from zoo.outputs import HierarchicalImageOutput, HierarchicalLogitsOutput, HierarchicalOutput
from zoo.spec import Tree


def classifier_specs(c: Any) -> Tree:
    """A linear map from the mean; none for no labels."""
    if not c.num_labels:
        return {}
    return linear.specs(
        "classifier", c.num_labels, c.width(len(c.depths) - 1), axes=(None, "embed")
    )


def _inner(body: HierarchicalOutput) -> dict[str, Any]:
    names = ("hidden_states", "reshaped_hidden_states")
    return {name: getattr(body, name) for name in names}


def classify(
    c: Any, params: Tree, body: HierarchicalOutput, inputs: Mapping[str, Any]
) -> HierarchicalLogitsOutput:
    """Logits [B, labels]."""
    x: Any = body.pooler_output
    x = linear.linear(params["head"], x) if params["head"] else x
    return HierarchicalLogitsOutput(logits=x, **_inner(body))


def restore(
    c: Any, params: Tree, body: HierarchicalOutput, inputs: Mapping[str, Any]
) -> HierarchicalImageOutput:
    """Pixels [B, C, H, W] of the whole image."""
    x = image.pixels(
        params["head"], body.last_hidden_state, channels=c.num_channels, stride=c.encoder_stride
    )
    return HierarchicalImageOutput(reconstruction=x, **_inner(body))


def decoder_specs(c: Any) -> Tree:
    """A 1 x 1 convolution from each place of the last map to its pixels."""
    out = c.encoder_stride**2 * c.num_channels
    return image.patch_specs("decoder.0", out, c.width(len(c.depths) - 1), (1, 1))
