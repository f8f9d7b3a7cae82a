"""The image tower of CLIP, and the layers that both towers share.

Radford et al. 2021, arXiv:2103.00020. Checkpoints: `CLIPVisionModel*`.
Letters: B batch, C channels, H height, W width, P patches, T = P + 1 tokens, E embed.

Functions whose `c` is not a `Config` take that of either tower.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.hint import hint
from zoo.layers import activation, attention, image, linear, mlp, norm, stack
from zoo.markers import block
from zoo.outputs import BaseOutput, ImageEmbedsOutput
from zoo.spec import ArraySpec, Tree, scope

IGNORED = (r"(.*\.)?embeddings\.position_ids",)
INERT = ("dropout", "initializer_factor", "vocab_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0
    initializer_range: float = 0.02

    def __post_init__(self):
        check_widths(self)
        if not self.grid[0]:
            raise ValueError(
                f"image_size: {self.image_size} holds no patch of patch_size {self.patch_size}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return image.pair(self.image_size // self.patch_size)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.num_hidden_layers


def check_widths(c: Any) -> None:
    """Checks what both towers have.

    Raises:
      ValueError: heads that do not divide, or an unknown activation.
    """
    if c.hidden_size % c.num_attention_heads:
        raise ValueError(
            f"hidden_size: {c.hidden_size} is not a multiple of num_attention_heads "
            f"{c.num_attention_heads}"
        )
    activation.check(c.hidden_act, where="hidden_act")


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {}


def block_specs(c: Any) -> Tree:
    """One layer."""
    attn = attention.specs(
        embed=c.hidden_size,
        heads=c.num_attention_heads,
        kv_heads=c.num_attention_heads,
        head_dim=c.hidden_size // c.num_attention_heads,
        bias=True,
        out_bias=True,
        names=("q_proj", "k_proj", "v_proj", "out_proj"),
    )
    plain = mlp.plain_specs(embed=c.hidden_size, hidden=c.intermediate_size, names=("fc1", "fc2"))
    return {
        "attn_norm": norm.specs("layer_norm1", c.hidden_size),
        "attn": scope("self_attn", attn),
        "mlp_norm": norm.specs("layer_norm2", c.hidden_size),
        "mlp": scope("mlp", plain),
    }


def encoder_specs(c: Any, layers: stack.Build) -> Tree:
    """All layers."""
    return layers(c.kinds, lambda kind: scope("encoder.layers.{}", block_specs(c)))


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the tower."""
    size = c.hidden_size
    embed = {
        "cls": ArraySpec(shape=(size,), axes=("embed",), name="class_embedding"),
        "patches": image.patch_specs(
            "patch_embedding", size, c.num_channels, image.pair(c.patch_size), bias=False
        ),
        "positions": linear.embedding_specs(
            "position_embedding", c.grid[0] * c.grid[1] + 1, size, axis=None
        ),
    }
    return {
        "embed": scope("embeddings", embed),
        "pre_norm": norm.specs("pre_layrnorm", size),  # spelled so in every checkpoint
        "layers": encoder_specs(c, layers),
        "post_norm": norm.specs("post_layernorm", size),
    }


@block
def layer(
    p: Tree, x: jax.Array, context: attention.Context, key: jax.Array | None, *, c: Any
) -> jax.Array:
    """x [B, T, E] -> [B, T, E]: norms come before each sublayer."""
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_eps)
    y, _ = attention.attend(
        p["attn"], layer_norm(p["attn_norm"], x), None, context, key, rate=c.attention_dropout
    )
    x = x + y
    return x + mlp.plain(p["mlp"], layer_norm(p["mlp_norm"], x), act=c.hidden_act)


def encode(
    c: Any,
    layers: Tree,
    x: jax.Array,
    context: attention.Context,
    *,
    key: jax.Array | None,
    collect: bool,
) -> tuple[jax.Array, tuple[jax.Array, ...] | None]:
    """x [B, T, E] -> [B, T, E] and, with `collect`, the input of every layer and x itself."""
    x, _, inner = stack.run(
        lambda kind, p, x, cache, i, key: (layer(p, x, context, key, c=c), None),
        c.kinds,
        layers,
        x,
        key=key,
        collect=collect,
    )
    return x, None if inner is None else (*inner, x)


def apply(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    interpolate_pos_encoding: bool = False,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of patches, the class token first, and of the whole image.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      pixel_values: [B, C, H, W], normalised.
      interpolate_pos_encoding: admit images of another size than the model was trained on.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.

    Raises:
      ValueError: another number of channels or, without interpolation, another size.
    """
    size = None if interpolate_pos_encoding else image.pair(c.image_size)
    image.check(pixel_values, c.num_channels, size)
    embed, patch = params["embed"], image.pair(c.patch_size)
    x = image.patches(embed["patches"], pixel_values.astype(embed["cls"].dtype), patch=patch)
    cls = jnp.broadcast_to(embed["cls"], (x.shape[0], 1, x.shape[2]))
    positions = embed["positions"]["weight"][None]
    if interpolate_pos_encoding:
        grid = pixel_values.shape[2] // c.patch_size, pixel_values.shape[3] // c.patch_size
        positions = image.interpolate_positions(positions, c.grid, grid)
    x = jnp.concatenate([cls, x], axis=1)
    x = hint(x + jnp.broadcast_to(positions, x.shape), "batch", "length", None)
    x = norm.layer_norm(params["pre_norm"], x, eps=c.layer_norm_eps)
    x, hidden = encode(
        c, params["layers"], x, attention.Context(), key=dropout_key, collect=output_hidden_states
    )
    pooled = norm.layer_norm(params["post_norm"], x[:, 0], eps=c.layer_norm_eps)
    return BaseOutput(last_hidden_state=x, pooler_output=pooled, hidden_states=hidden)


def projection_specs(c: Any) -> Tree:
    """From the width of the tower to that of the space shared with texts."""
    return linear.specs(
        "visual_projection", c.projection_dim, c.hidden_size, axes=(None, "embed"), bias=False
    )


def project(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> ImageEmbedsOutput:
    """Vectors [B, projection_dim], not normalised."""
    return ImageEmbedsOutput(
        image_embeds=linear.linear(params["head"], body.pooler_output),  # pyright: ignore[reportArgumentType]
        last_hidden_state=body.last_hidden_state,
        hidden_states=body.hidden_states,
    )


TASKS = {
    "CLIPVisionModel": tasks.bare(specs, apply),
    "CLIPVisionModelWithProjection": tasks.headed(
        "projection",
        specs,
        apply,
        prefix="vision_model",
        head_specs=projection_specs,
        head=project,
    ),
}
