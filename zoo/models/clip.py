"""CLIP: a tower for texts and one for images, into one space.

Radford et al. 2021, arXiv:2103.00020. Checkpoints: `CLIPModel`, `CLIPForImageClassification`.
Letters: B texts, N images, P projection.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo import registry, tasks
from zoo.layers import linear, stack
from zoo.layers.dropout import fold
from zoo.models import clip_text_model as texts
from zoo.models import clip_vision_model as images
from zoo.models.clip_vision_model import IGNORED, INERT
from zoo.outputs import BaseOutput, ContrastiveOutput, LogitsOutput
from zoo.registry import Part
from zoo.spec import ArraySpec, Tree, constant, scope

__all__ = ["IGNORED", "INERT", "TASKS", "Config", "apply", "limits", "specs", "upgrade"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    text_config: Part = dataclasses.field(
        default_factory=lambda: registry.part("clip_text_model"),
        metadata={"model_type": "clip_text_model"},
    )
    vision_config: Part = dataclasses.field(
        default_factory=lambda: registry.part("clip_vision_model"),
        metadata={"model_type": "clip_vision_model"},
    )
    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592
    num_labels: int = 2

    def __post_init__(self):
        for name, cls in (("text", texts.Config), ("vision", images.Config)):
            part = getattr(self, f"{name}_config")
            if not isinstance(part.config, cls):
                raise ValueError(
                    f"{name}_config.model_type: found {part.model_type!r}, expected "
                    f"clip_{name}_model"
                )

    @property
    def initializer_range(self) -> float:
        """Spread of initial weights."""
        return self.text_config.config.initializer_range


def upgrade(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Reads `text_config_dict` and `vision_config_dict`, which stand above what they shadow.

    As in transformers, what such an object leaves out has its default value.
    """
    names = {name: f"{name}_dict" for name in ("text_config", "vision_config")}
    plain = {key: value for key, value in raw.items() if key not in names.values()}
    given = {name: raw[old] for name, old in names.items() if raw.get(old) is not None}
    both = {**plain, **given}
    return {key: value for key, value in both.items() if key not in names or value is not None}


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return texts.limits(c.text_config.config)


def vision_specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """The tower of images alone."""
    return images.specs(c.vision_config.config, layers=layers)


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter."""
    text, vision = (
        dataclasses.replace(part.config, projection_dim=c.projection_dim)
        for part in (c.text_config, c.vision_config)
    )
    scale = constant(c.logit_scale_init_value)
    return {
        "text": scope("text_model", texts.specs(text, layers=layers)),
        "vision": scope("vision_model", images.specs(vision, layers=layers)),
        "text_projection": texts.projection_specs(text),
        "visual_projection": images.projection_specs(vision),
        "scale": ArraySpec(shape=(), axes=(), init=scale, name="logit_scale"),
    }


def apply(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array,
    pixel_values: jax.Array,
    attention_mask: jax.Array | None = None,
    position_ids: jax.Array | None = None,
    interpolate_pos_encoding: bool = False,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> ContrastiveOutput:
    """How well each text fits each image.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_ids: int [B, T].
      pixel_values: [N, C, H, W], normalised.
      attention_mask: [B, T] with 1 for tokens and 0 for padding.
      position_ids: int [B, T] or [T]; the count of tokens if absent.
      interpolate_pos_encoding: admit images of another size than the model was trained on.
      output_hidden_states: return the output of every layer of both towers too.
      dropout_key: switches dropout on.

    Raises:
      ValueError: more tokens than there are positions, or images of another size.
    """
    vision = images.apply(
        c.vision_config.config,
        params["vision"],
        pixel_values=pixel_values,
        interpolate_pos_encoding=interpolate_pos_encoding,
        output_hidden_states=output_hidden_states,
        dropout_key=fold(dropout_key, 0),
    )
    text = texts.apply(
        c.text_config.config,
        params["text"],
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        output_hidden_states=output_hidden_states,
        dropout_key=fold(dropout_key, 1),
    )
    vision = _projected(params["visual_projection"], vision)
    text = _projected(params["text_projection"], text)
    image_embeds, text_embeds = _unit(vision.pooler_output), _unit(text.pooler_output)
    scale = jnp.exp(params["scale"])
    logits = jnp.einsum("bp,np->bn", text_embeds, image_embeds) * scale
    return ContrastiveOutput(
        logits_per_image=logits.T,
        logits_per_text=logits,
        text_embeds=text_embeds,
        image_embeds=image_embeds,
        text_model_output=text,
        vision_model_output=vision,
    )


def _projected(p: Tree, body: BaseOutput) -> BaseOutput:
    """The body's output, its pooled vectors in the shared space."""
    vectors: Any = body.pooler_output
    return dataclasses.replace(body, pooler_output=linear.linear(p, vectors))


def _unit(x: Any) -> jax.Array:
    return x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))


def see(c: Config, params: Tree, **inputs: Any) -> BaseOutput:
    """The tower of images alone; inputs as those of `clip_vision_model`."""
    return images.apply(c.vision_config.config, params, **inputs)


def classifier_specs(c: Config) -> Tree:
    """A linear map from patches to labels."""
    size = c.vision_config.config.hidden_size
    return linear.specs("classifier", c.num_labels, size, axes=(None, "embed"))


def classify(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Logits [N, C] from the mean of all patches, without the class token."""
    x = jnp.mean(body.last_hidden_state[:, 1:], axis=1)
    return tasks.logits(body, linear.linear(params["head"], x))


TASKS = {
    "CLIPModel": tasks.Task(
        "zero-shot-image-classification",
        specs,
        apply,
        tasks.inputs_of(apply),
        needs=(("input_ids",), ("pixel_values",)),
    ),
    "CLIPForImageClassification": tasks.headed(
        "image-classification",
        vision_specs,
        see,
        prefix="vision_model",
        head_specs=classifier_specs,
        head=classify,
    )._replace(prefix="", inputs=tasks.inputs_of(images.apply)),  # files hold both towers
}
