"""The text tower of CLIP: causal, and pooled where the text ends.

Radford et al. 2021, arXiv:2103.00020. Checkpoints: `CLIPTextModel*`.
Letters: B batch, T tokens, E embed.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.hint import hint
from zoo.layers import attention, linear, norm, stack
from zoo.layers import cache as caching
from zoo.layers.mask import Mask
from zoo.models import clip_vision_model as tower
from zoo.models.clip_vision_model import IGNORED, INERT
from zoo.outputs import BaseOutput, TextEmbedsOutput
from zoo.spec import Tree, scope

__all__ = ["IGNORED", "INERT", "TASKS", "Config", "apply", "limits", "specs"]
HIGHEST = 2  # the eos_token_id of files that mean: pool at the highest id, whatever it is


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    eos_token_id: int = 49407

    def __post_init__(self):
        tower.check_widths(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.num_hidden_layers


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {"input_ids": c.vocab_size, "position_ids": c.max_position_embeddings}


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the tower."""
    size = c.hidden_size
    embed = {
        "token": linear.embedding_specs("token_embedding", c.vocab_size, size),
        "position": linear.embedding_specs(
            "position_embedding", c.max_position_embeddings, size, axis=None
        ),
    }
    return {
        "embed": scope("embeddings", embed),
        "layers": tower.encoder_specs(c, layers),
        "norm": norm.specs("final_layer_norm", size),
    }


def last(ids: jax.Array, *, eos_token_id: int) -> jax.Array:
    """Ids int [B, T] -> [B], where each text ends: its first end, or its highest id."""
    if eos_token_id == HIGHEST:
        return jnp.argmax(ids, axis=-1)
    return jnp.argmax(ids == eos_token_id, axis=-1)


def apply(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array,
    attention_mask: jax.Array | None = None,
    position_ids: jax.Array | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of tokens that have seen what came before them, and of the whole text.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_ids: int [B, T].
      attention_mask: [B, T] with 1 for tokens and 0 for padding.
      position_ids: int [B, T] or [T]; the count of tokens if absent.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.

    Raises:
      ValueError: more tokens than there are positions.
    """
    tokens, _ = caching.place(
        input_ids.shape[1],
        attention_mask=attention_mask,
        position_ids=position_ids,
        cache=None,
        table=c.max_position_embeddings,
    )
    x = linear.embedding(params["embed"]["token"], input_ids)
    positions = linear.embedding(params["embed"]["position"], tokens.positions)
    x = hint(x + jnp.broadcast_to(positions, x.shape), "batch", "length", None)
    mask = Mask(valid=tokens.valid, queries=tokens.slots, keys=tokens.keys, causal=True)
    context = attention.Context(mask=mask.array())
    x, hidden = tower.encode(
        c, params["layers"], x, context, key=dropout_key, collect=output_hidden_states
    )
    x = norm.layer_norm(params["norm"], x, eps=c.layer_norm_eps)
    at = last(input_ids, eos_token_id=c.eos_token_id)
    pooled = jnp.take_along_axis(x, at[:, None, None], axis=1)[:, 0]
    return BaseOutput(last_hidden_state=x, pooler_output=pooled, hidden_states=hidden)


def projection_specs(c: Any) -> Tree:
    """From the width of the tower to that of the space shared with images."""
    return linear.specs(
        "text_projection", c.projection_dim, c.hidden_size, axes=(None, "embed"), bias=False
    )


def project(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> TextEmbedsOutput:
    """Vectors [B, projection_dim], not normalised."""
    return TextEmbedsOutput(
        text_embeds=linear.linear(params["head"], body.pooler_output),  # pyright: ignore[reportArgumentType]
        last_hidden_state=body.last_hidden_state,
        hidden_states=body.hidden_states,
    )


TASKS = {
    "CLIPTextModel": tasks.bare(specs, apply),
    "CLIPTextModelWithProjection": tasks.headed(
        "projection",
        specs,
        apply,
        prefix="text_model",
        head_specs=projection_specs,
        head=project,
    ),
}
