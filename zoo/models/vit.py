"""Vision Transformer. Dosovitskiy et al. 2020, arXiv:2010.11929. Checkpoints: `ViT*`.

Letters: B batch, C channels, H height, W width, P patches, T = P + 1 tokens, E embed.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.hint import hint
from zoo.layers import activation, attention, image, linear, mlp, norm, stack
from zoo.layers.dropout import EMBEDDINGS, dropout, fold, keys
from zoo.layers.mask import Mask
from zoo.markers import block
from zoo.outputs import BaseOutput, ImageOutput, LogitsOutput
from zoo.spec import ArraySpec, Tree, scope, zeros

IGNORED = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 16
    num_channels: int = 3
    qkv_bias: bool = True
    encoder_stride: int = 16
    pooler_output_size: int | None = None
    pooler_act: str = "tanh"
    num_labels: int = 2

    def __post_init__(self):
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size: {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}"
            )
        if not all(self.grid):
            raise ValueError(
                f"image_size: {self.image_size} holds no patch of patch_size {self.patch_size}"
            )
        if self.pooler_output_size is None:
            object.__setattr__(self, "pooler_output_size", self.hidden_size)
        activation.check(self.hidden_act, where="hidden_act")
        activation.check(self.pooler_act, where="pooler_act")

    @property
    def image(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return image.pair(self.image_size)

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return image.pair(self.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return self.image[0] // self.patch[0], self.image[1] // self.patch[1]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.num_hidden_layers


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {}


def check_inputs(c: Config, arrays: Mapping[str, Any], where: str) -> None:
    """Checks shapes beside images [B, C, H, W].

    Raises:
      ValueError: a mask that does not fit the patches.
    """
    image.check_masks(arrays, c.patch, tokens=1, where=where)


def block_specs(c: Config) -> Tree:
    """One layer."""
    attn = attention.specs(
        embed=c.hidden_size,
        heads=c.num_attention_heads,
        kv_heads=c.num_attention_heads,
        head_dim=c.hidden_size // c.num_attention_heads,
        bias=c.qkv_bias,
        out_bias=True,
        names=("attention.query", "attention.key", "attention.value", "output.dense"),
    )
    names = ("intermediate.dense", "output.dense")
    return {
        "attn_norm": norm.specs("layernorm_before", c.hidden_size),
        "attn": scope("attention", attn),
        "mlp_norm": norm.specs("layernorm_after", c.hidden_size),
        "mlp": mlp.plain_specs(embed=c.hidden_size, hidden=c.intermediate_size, names=names),
    }


def specs(
    c: Config,
    *,
    layers: stack.Build = stack.loop,
    pooler: bool = True,
    mask_token: bool = False,
) -> Tree:
    """Every parameter of the body."""
    size = c.hidden_size
    one = scope("encoder.layer.{}", block_specs(c))

    def token(name: str, count: int, **options: Any) -> ArraySpec:
        axes = (None, None, "embed")
        return ArraySpec(shape=(1, count, size), axes=axes, name=name, **options)

    embed = {
        "cls": token("cls_token", 1),
        "positions": token("position_embeddings", c.grid[0] * c.grid[1] + 1),
        "patches": image.patch_specs("patch_embeddings.projection", size, c.num_channels, c.patch),
    }
    if mask_token:
        embed["mask"] = token("mask_token", 1, init=zeros)
    tree = {
        "embed": scope("embeddings", embed),
        "layers": layers(c.kinds, lambda kind: one),
        "norm": norm.specs("layernorm", size),
    }
    if pooler:
        tree["pooler"] = linear.specs(
            "pooler.dense", c.pooler_output_size or size, size, axes=(None, "embed")
        )
    return tree


@block
def layer(
    p: Tree, x: jax.Array, context: attention.Context, key: jax.Array | None, *, c: Config
) -> jax.Array:
    """x [B, T, E] -> [B, T, E]: norms come before each sublayer."""
    drop = functools.partial(dropout, rate=c.hidden_dropout_prob)
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_eps)
    k1, k2, k3 = keys(key, 3)
    y, _ = attention.attend(
        p["attn"],
        layer_norm(p["attn_norm"], x),
        None,
        context,
        k1,
        rate=c.attention_probs_dropout_prob,
    )
    x = x + drop(y, k2)
    return x + drop(mlp.plain(p["mlp"], layer_norm(p["mlp_norm"], x), act=c.hidden_act), k3)


def apply(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    bool_masked_pos: jax.Array | None = None,
    interpolate_pos_encoding: bool = False,
    attention_mask: jax.Array | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of patches, the class token first, and of the whole image.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      pixel_values: [B, C, H, W], normalised.
      bool_masked_pos: bool [B, P], patches that are hidden from the model.
      interpolate_pos_encoding: admit images of another size than the model was trained on.
      attention_mask: [B, T] with 1 for tokens that may be seen.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.

    Raises:
      ValueError: another number of channels or, without interpolation, another size.
    """
    image.check(pixel_values, c.num_channels, None if interpolate_pos_encoding else c.image)
    embed = params["embed"]
    x = image.patches(embed["patches"], pixel_values.astype(embed["cls"].dtype), patch=c.patch)
    if bool_masked_pos is not None:
        if "mask" not in embed:
            raise ValueError(
                "vit: bool_masked_pos needs a mask token, which only "
                "ViTForMaskedImageModeling has; load it with task='masked-image-modeling'"
            )
        hidden = jnp.broadcast_to(bool_masked_pos[..., None].astype(bool), x.shape)
        x = jnp.where(hidden, jnp.broadcast_to(embed["mask"], x.shape), x)
    x = jnp.concatenate([jnp.broadcast_to(embed["cls"], (x.shape[0], 1, x.shape[2])), x], axis=1)
    positions = embed["positions"]
    if interpolate_pos_encoding:
        grid = pixel_values.shape[2] // c.patch[0], pixel_values.shape[3] // c.patch[1]
        positions = image.interpolate_positions(positions, c.grid, grid)
    x = x + jnp.broadcast_to(positions, x.shape)
    x = dropout(x, fold(dropout_key, EMBEDDINGS), rate=c.hidden_dropout_prob)
    x = hint(x, "batch", "length", None)

    context = attention.Context(mask=Mask(valid=attention_mask).array())
    x, _, inner = stack.run(
        lambda kind, p, x, cache, i, key: (layer(p, x, context, key, c=c), None),
        c.kinds,
        params["layers"],
        x,
        key=dropout_key,
        collect=output_hidden_states,
    )
    hidden = None if inner is None else (*inner, x)
    x = norm.layer_norm(params["norm"], x, eps=c.layer_norm_eps)
    pooled = None
    if "pooler" in params:
        pooled = activation.activation(linear.linear(params["pooler"], x[:, 0]), name=c.pooler_act)
    return BaseOutput(last_hidden_state=x, pooler_output=pooled, hidden_states=hidden)


def classifier(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Logits [B, C] from the class token."""
    return tasks.logits(body, linear.linear(params["head"], body.last_hidden_state[:, 0]))


def decoder_specs(c: Config) -> Tree:
    """A 1 x 1 convolution from each patch to its pixels. Xie et al. 2021, arXiv:2111.09886."""
    out = c.encoder_stride**2 * c.num_channels
    return image.patch_specs("decoder.0", out, c.hidden_size, (1, 1))


def reconstruct(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> ImageOutput:
    """Pixels [B, C, H, W] of the whole image."""
    if inputs.get("bool_masked_pos") is not None and c.patch != image.pair(c.encoder_stride):
        raise ValueError(
            f"patch_size: {c.patch_size} must equal encoder_stride {c.encoder_stride} for a "
            f"reconstruction of the input's size"
        )
    x = image.pixels(
        params["head"],
        body.last_hidden_state[:, 1:],
        channels=c.num_channels,
        stride=c.encoder_stride,
    )
    return ImageOutput(reconstruction=x, hidden_states=body.hidden_states)


_CLASSIFIER_INPUTS = tuple(n for n in tasks.inputs_of(apply) if n != "bool_masked_pos")

TASKS = {
    "ViTModel": tasks.bare(specs, apply),
    "ViTForImageClassification": tasks.headed(
        "image-classification",
        functools.partial(specs, pooler=False),
        apply,
        prefix="vit",
        head_specs=lambda c: linear.specs(
            "classifier", c.num_labels, c.hidden_size, axes=(None, "embed")
        ),
        head=classifier,
    )._replace(inputs=_CLASSIFIER_INPUTS),
    "ViTForMaskedImageModeling": tasks.headed(
        "masked-image-modeling",
        functools.partial(specs, pooler=False, mask_token=True),
        apply,
        prefix="vit",
        head_specs=decoder_specs,
        head=reconstruct,
    ),
}
