"""LLaVA: vectors of an image tower, projected into the text of a decoder.

Liu et al. 2023, arXiv:2304.08485 and arXiv:2310.03744. Checkpoints: `Llava*`.
Letters: B texts, T tokens, N images, C channels, P vectors of one image, E embed.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from zoo import registry, tasks
from zoo.layers import activation, linear, mlp, placeholder, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import fold
from zoo.models import clip_vision_model
from zoo.outputs import ImageTextLogitsOutput, ImageTextOutput
from zoo.registry import Part
from zoo.spec import Tree, scope

IGNORED = (r"(.*\.)?(embeddings\.position_ids|rotary_emb\.inv_freq)",)
INERT = ("ignore_index", "image_seq_length", "vocab_size")
ALIASES = MappingProxyType({"image_token_id": "image_token_index"})
LARGE = {  # of the tower of the first checkpoints, meant by configs that name none
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    text_config: Part = dataclasses.field(
        default_factory=lambda: registry.part("llama"), metadata={"model_type": "llama"}
    )
    vision_config: Part = dataclasses.field(
        default_factory=lambda: registry.part("clip_vision_model", **LARGE),
        metadata={"model_type": "clip_vision_model"},
    )
    image_token_index: int = 32000
    projector_hidden_act: str = "gelu"
    vision_feature_select_strategy: str = "default"
    vision_feature_layer: int | tuple[int, ...] = dataclasses.field(
        default=-2, metadata={"least": -1000}
    )
    multimodal_projector_bias: bool = True
    tie_word_embeddings: bool = False

    def __post_init__(self):
        activation.check(self.projector_hidden_act, where="projector_hidden_act")
        if self.vision_feature_select_strategy not in ("default", "full"):
            raise ValueError(
                f"vision_feature_select_strategy: found {self.vision_feature_select_strategy!r}, "
                f"expected 'default' (no class token) or 'full'"
            )
        if not isinstance(self.vision_config.config, clip_vision_model.Config):
            raise ValueError(
                f"vision_config.model_type: found {self.vision_config.model_type!r}, expected "
                f"clip_vision_model; other towers are not supported yet"
            )
        if not hasattr(self.text_config.module, "cache_specs"):
            raise ValueError(
                f"text_config.model_type: found {self.text_config.model_type!r}, expected a decoder"
            )
        depth = self.vision_config.config.num_hidden_layers
        for number in self.levels:
            if not -depth - 1 <= number <= depth:
                raise ValueError(
                    f"vision_feature_layer: found {number}, expected {-depth - 1} to {depth} of a "
                    f"tower of {depth} layers"
                )

    @property
    def levels(self) -> tuple[int, ...]:
        """Layers of the tower whose outputs are looked at."""
        found = self.vision_feature_layer
        return found if isinstance(found, tuple) else (found,)

    @property
    def vectors(self) -> int:
        """Vectors of one image."""
        down, across = self.vision_config.config.grid
        return down * across + (self.vision_feature_select_strategy == "full")

    @property
    def hidden_size(self) -> int:
        """Width of the text."""
        return self.text_config.config.hidden_size

    @property
    def initializer_range(self) -> float:
        """Spread of initial weights."""
        return self.text_config.config.initializer_range


def upgrade(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Reads files that say only of their text whether its embeddings are tied."""
    present = {key: value for key, value in raw.items() if value is not None}
    text = present.get("text_config", {})
    if isinstance(text, Mapping) and text.get("tie_word_embeddings"):
        present["tie_word_embeddings"] = True
    return present


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return c.text_config.module.limits(c.text_config.config)


def check_inputs(c: Config, arrays: Mapping[str, Any], where: str) -> None:
    """Counts the places for images.

    Raises:
      ValueError: there are more or fewer of them than the images fill.
    """
    if "pixel_values" in arrays:
        count = arrays["pixel_values"].shape[0] * c.vectors
        ids = arrays.get("input_ids")
        placeholder.check(ids, c.image_token_index, count, what="image", where=where)


def projector_specs(c: Config) -> Tree:
    """Two linear maps from the tower's width to the text's."""
    size, bias = c.text_config.config.hidden_size, c.multimodal_projector_bias
    wide = c.vision_config.config.hidden_size * len(c.levels)
    return {
        "up": linear.specs("linear_1", size, wide, axes=("mlp", "embed"), bias=bias),
        "down": linear.specs("linear_2", size, size, axes=("embed", "mlp"), bias=bias),
    }


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    text, vision = (
        part.module.specs(part.config, layers=layers) for part in (c.text_config, c.vision_config)
    )
    return {
        "vision": scope("vision_tower", vision),
        "projector": scope("multi_modal_projector", projector_specs(c)),
        "text": scope("language_model.model", text),
    }


def cache_specs(
    c: Config, batch: int, length: int, *, layers: stack.Build = stack.loop
) -> caching.Cache:
    """What the decoder remembers."""
    return c.text_config.module.cache_specs(c.text_config.config, batch, length, layers=layers)


def see(c: Config, params: Tree, pixels: jax.Array, key: jax.Array | None) -> jax.Array:
    """Pixels [N, C, H, W] -> vectors [N * P, E] for the text."""
    part = c.vision_config
    seen = part.module.apply(
        part.config,
        params["vision"],
        pixel_values=pixels,
        output_hidden_states=True,
        dropout_key=key,
    )
    first = 1 if c.vision_feature_select_strategy == "default" else 0
    x = jnp.concatenate([seen.hidden_states[n][:, first:] for n in c.levels], axis=-1)
    x = mlp.plain(params["projector"], x, act=c.projector_hidden_act)
    return x.reshape(-1, x.shape[-1])


def apply(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    pixel_values: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    position_ids: jax.Array | None = None,
    inputs_embeds: jax.Array | None = None,
    cache: caching.Cache | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> ImageTextOutput:
    """Vectors of tokens and images that have seen what came before them.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_ids: int [B, T], with `image_token_index` once for every vector of an image.
      pixel_values: [N, C, H, W], normalised, in the order of their places.
      attention_mask: [B, T] with 1 for tokens and 0 for padding on either side.
      position_ids: int [B, T] or [T]; the count of slots if absent.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      cache: of `cache_specs`, or what an earlier call returned.
      output_hidden_states: return the output of every layer of the decoder too.
      dropout_key: switches dropout on.

    Raises:
      ValueError: another number of channels or another size of images.
    """
    text, p = c.text_config, params["text"]
    padding = getattr(text.config, "pad_token_id", None)
    x = linear.embed_text(p["embed"], input_ids, inputs_embeds, padding_idx=padding)
    vectors = None
    if pixel_values is not None:
        vectors = see(c, params, pixel_values, fold(dropout_key, 0)).astype(x.dtype)
        table = p["embed"]["weight"]
        places = placeholder.find(input_ids, x, table, c.image_token_index)
        x = placeholder.fill(x, places, vectors)
    body = text.module.apply(
        text.config,
        p,
        inputs_embeds=x,
        attention_mask=attention_mask,
        position_ids=position_ids,
        cache=cache,
        output_hidden_states=output_hidden_states,
        dropout_key=fold(dropout_key, 1),
    )
    return ImageTextOutput(
        last_hidden_state=body.last_hidden_state,
        cache=body.cache,
        hidden_states=body.hidden_states,
        image_hidden_states=vectors,
    )


def head_specs(c: Config) -> Tree:
    """An output matrix of its own, unless that of the embeddings serves."""
    if c.tie_word_embeddings:
        return {}
    return scope("language_model", tasks.lm_head_specs(c.text_config.config))


def head(c: Config, params: Tree, body: ImageTextOutput, inputs: Any) -> ImageTextLogitsOutput:
    """Logits [B, T, V] of the next token."""
    p = params["text"]["embed"] if c.tie_word_embeddings else params["head"]
    return ImageTextLogitsOutput(
        logits=linear.linear(p, body.last_hidden_state),
        cache=body.cache,
        hidden_states=body.hidden_states,
        image_hidden_states=body.image_hidden_states,
    )


# As files are written: transformers' modules, where the decoder stands without its head, and towers
# of the time when they were wrapped once more.
RENAMED = (
    (r"^model\.(?=language_model\.|vision_tower\.|multi_modal_projector\.)", ""),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^language_model\.(?!model\.|lm_head\.)", "language_model.model."),
    (r"^vision_tower\.vision_model\.", "vision_tower."),
)
NEEDS = (("input_ids", "inputs_embeds"),)

TASKS = {
    "LlavaModel": tasks.bare(specs, apply)._replace(needs=NEEDS, renamed=RENAMED),
    "LlavaForConditionalGeneration": tasks.headed(
        "image-text-to-text", specs, apply, prefix="", head_specs=head_specs, head=head
    )._replace(
        needs=NEEDS,
        renamed=RENAMED,
        tied=MappingProxyType(
            {"language_model.lm_head.weight": "language_model.model.embed_tokens.weight"}
        ),
    ),
}
