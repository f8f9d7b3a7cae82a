"""Swin Transformer. Liu et al. 2021, arXiv:2103.14030. Checkpoints: `Swin*`.

Letters: B batch, C channels, H height, W width, P patches, E embed. Maps of features are
[B, H, W, E] between layers; they are given as [B, P, E] and [B, E, H, W], as in transformers.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.hint import hint
from zoo.layers import activation, attention, backbone, conv, image, linear, mlp, norm, stack
from zoo.layers import window as windows
from zoo.layers.dropout import EMBEDDINGS, drop_path, dropout, fold, keys
from zoo.markers import block
from zoo.models.swin_heads import classifier_specs, classify, decoder_specs, restore
from zoo.outputs import BackboneOutput, HierarchicalOutput
from zoo.spec import ArraySpec, Tree, scope, zeros

IGNORED = (r".*attention\.self\.relative_position_index",)
INERT = frozenset({"hidden_size", "num_layers", "path_norm", "stage_names"})
ALIASES = {"num_attention_heads": "num_heads"}
STAGE = 1 << 18  # folded into the dropout key of a call before the number of a stage
EPS = 1e-5  # of norms between stages, which the config has no key for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    image_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 4
    num_channels: int = 3
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    drop_path_rate: float = 0.1
    hidden_act: str = "gelu"
    use_absolute_embeddings: bool = False
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    encoder_stride: int = 32
    out_features: tuple[str, ...] | None = None
    out_indices: tuple[int, ...] | None = dataclasses.field(default=None, metadata={"least": -99})
    num_labels: int = 2

    def __post_init__(self):
        if len(self.num_heads) != len(self.depths) or not self.depths:
            raise ValueError(
                f"num_heads: found {len(self.num_heads)} numbers, expected one for each of "
                f"{len(self.depths)} depths"
            )
        for i, heads in enumerate(self.num_heads):
            if self.width(i) % heads:
                raise ValueError(
                    f"embed_dim: {self.embed_dim} makes {self.width(i)} channels in stage {i + 1}, "
                    f"no multiple of its {heads} heads"
                )
        if not all(self.grid):
            raise ValueError(
                f"image_size: {self.image_size} holds no patch of patch_size {self.patch_size}"
            )
        activation.check(self.hidden_act, where="hidden_act")
        _ = self.outputs

    def width(self, stage: int) -> int:
        """Channels of a stage."""
        return self.embed_dim * 2**stage

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return image.pair(self.patch_size)

    @property
    def image(self) -> tuple[int, int]:
        """Height and width in pixels of the images that positions were learned for."""
        return image.pair(self.image_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across of these images."""
        return self.image[0] // self.patch[0], self.image[1] // self.patch[1]

    @property
    def outputs(self) -> tuple[int, ...]:
        """Which maps a backbone gives: 0 are the embedded patches."""
        names = ("stem", *(f"stage{i + 1}" for i in range(len(self.depths))))
        return backbone.chosen(names, self.out_features, self.out_indices)

    @property
    def kinds(self) -> tuple[tuple[str, ...], ...]:
        """Kinds of the layers of each stage: every other one shifts its windows."""
        return tuple(
            tuple("shifted" if i % 2 else "plain" for i in range(depth)) for depth in self.depths
        )


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {}


def check_inputs(c: Config, arrays: Mapping[str, Any], where: str) -> None:
    """Checks shapes beside images [B, C, H, W].

    Raises:
      ValueError: a mask that does not fit the patches.
    """
    image.check_masks(arrays, c.patch, tokens=0, where=where)


def block_specs(c: Config, stage: int) -> Tree:
    """One layer."""
    size, heads = c.width(stage), c.num_heads[stage]
    attn = attention.specs(
        embed=size,
        heads=heads,
        kv_heads=heads,
        head_dim=size // heads,
        bias=c.qkv_bias,
        out_bias=True,
        names=("self.query", "self.key", "self.value", "output.dense"),
    )
    table = windows.bias_specs("self.relative_position_bias_table", c.window_size, heads)
    names = ("intermediate.dense", "output.dense")
    return {
        "attn_norm": norm.specs("layernorm_before", size),
        "attn": scope("attention", attn),
        "distances": scope("attention", table),
        "mlp_norm": norm.specs("layernorm_after", size),
        "mlp": mlp.plain_specs(embed=size, hidden=int(c.mlp_ratio * size), names=names),
    }


def specs(
    c: Config,
    *,
    layers: stack.Build = stack.loop,
    mask_token: bool = False,
    norm_name: str = "layernorm",
) -> Tree:
    """Every parameter of the body."""
    size = c.embed_dim
    token = functools.partial(ArraySpec, axes=(None, None, "embed"), init=zeros)
    embed = {
        "patches": image.patch_specs("patch_embeddings.projection", size, c.num_channels, c.patch),
        "norm": norm.specs("norm", size),
    }
    if mask_token:
        embed["mask"] = token(shape=(1, 1, size), name="mask_token")
    if c.use_absolute_embeddings:
        count = c.grid[0] * c.grid[1]
        embed["positions"] = token(shape=(1, count, size), name="position_embeddings")

    def stage(i: int) -> Tree:
        name, wide = f"encoder.layers.{i}", 4 * c.width(i)
        one = scope(f"{name}.blocks.{{}}", block_specs(c, i))
        tree = {"layers": layers(c.kinds[i], lambda kind: one)}
        if i + 1 < len(c.depths):
            axes = (None, "embed")
            down = linear.specs("reduction", 2 * c.width(i), wide, axes=axes, bias=False)
            tree["down"] = scope(f"{name}.downsample", {"norm": norm.specs("norm", wide)} | down)
        return tree

    return {
        "embed": scope("embeddings", embed),
        "stages": tuple(stage(i) for i in range(len(c.depths))),
        "norm": norm.specs(norm_name, c.width(len(c.depths) - 1)),
    }


@block
def layer(
    p: Tree,
    x: jax.Array,
    rate: jax.Array,
    key: jax.Array | None,
    *,
    c: Config,
    side: int,
    shift: int,
) -> jax.Array:
    """x [B, H, W, E] -> [B, H, W, E]: attention inside windows, then a network of each place.

    Padding to whole windows takes part in the attention, as in the published code.
    """
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_eps)
    drop = functools.partial(dropout, rate=c.hidden_dropout_prob)
    k1, k2, k3, k4 = keys(key, 4)
    height, width = x.shape[1:3]
    y = windows.pad(layer_norm(p["attn_norm"], x), side)
    sides = y.shape[1], y.shape[2]
    bias = windows.bias(p["distances"], side)
    if shift:
        y = jnp.roll(y, (-shift, -shift), (1, 2))
        parts = jnp.asarray(windows.apart(*sides, side, shift), bias.dtype)
        shape = (parts.shape[0], *bias.shape[1:])
        bias = jnp.broadcast_to(bias, shape) + jnp.broadcast_to(parts, shape)
        bias = jnp.tile(bias, (x.shape[0], 1, 1, 1))
    context = attention.Context(bias=bias)
    rates = c.attention_probs_dropout_prob
    y, _ = attention.attend(p["attn"], windows.split(y, side), None, context, k1, rate=rates)
    y = windows.join(drop(y, k2), *sides, side)
    if shift:
        y = jnp.roll(y, (shift, shift), (1, 2))
    x = x + drop_path(y[:, :height, :width], k3, rate)
    return x + drop(mlp.plain(p["mlp"], layer_norm(p["mlp_norm"], x), act=c.hidden_act), k4)


def embedded(
    c: Config,
    p: Tree,
    pixels: jax.Array,
    *,
    bool_masked_pos: jax.Array | None,
    interpolate: bool,
    key: jax.Array | None,
) -> jax.Array:
    """Pixels [B, C, H, W] -> a map [B, H', W', E] of patches, those at the margins padded."""
    fixed = "positions" in p and not interpolate
    image.check(pixels, c.num_channels, c.image if fixed else None)
    x = pixels.astype(p["patches"]["weight"].dtype)
    below, right = (-n % side for n, side in zip(x.shape[2:], c.patch, strict=True))
    x = jnp.pad(x, ((0, 0), (0, 0), (0, below), (0, right)))
    grid = x.shape[2] // c.patch[0], x.shape[3] // c.patch[1]
    x = norm.layer_norm(p["norm"], image.patches(p["patches"], x, patch=c.patch), eps=EPS)
    if bool_masked_pos is not None:
        if "mask" not in p:
            raise ValueError(
                "swin: bool_masked_pos needs a mask token, which only SwinForMaskedImageModeling "
                "has; load it with task='masked-image-modeling'"
            )
        hidden = jnp.broadcast_to(bool_masked_pos[..., None].astype(bool), x.shape)
        x = jnp.where(hidden, jnp.broadcast_to(p["mask"], x.shape), x)
    if "positions" in p:
        positions = image.interpolate_positions(p["positions"], c.grid, grid, tokens=0)
        x = x + jnp.broadcast_to(positions, x.shape)
    x = dropout(x, fold(key, EMBEDDINGS), rate=c.hidden_dropout_prob)
    return hint(x.reshape(x.shape[0], *grid, -1), "batch", None, None, None)


def encode(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    bool_masked_pos: jax.Array | None = None,
    interpolate_pos_encoding: bool = False,
    dropout_key: jax.Array | None = None,
    whole: bool = False,
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Maps [B, H, W, E] of the patches and after every stage, made smaller by it and not yet.

    With `whole` windows larger than a map are padded to, and shifted, as backbones do.
    """
    x = embedded(
        c,
        params["embed"],
        pixel_values,
        bool_masked_pos=bool_masked_pos,
        interpolate=interpolate_pos_encoding,
        key=dropout_key,
    )
    after, before = [x], [x]
    slope = c.drop_path_rate / max(sum(c.depths) - 1, 1)
    for stage, (kinds, p) in enumerate(zip(c.kinds, params["stages"], strict=True)):
        first, sides = sum(c.depths[:stage]), (x.shape[1], x.shape[2])
        windows.check(c.window_size, sides, whole=whole)

        def step(kind, p, x, cache, i, key, first=first, sides=sides):
            side = c.window_size
            shift = windows.shift(side, sides, whole=whole) if kind == "shifted" else 0
            rate = slope * (jnp.asarray(i, jnp.float32) + first)
            return layer(p, x, rate, key, c=c, side=side, shift=shift), None

        x, _, _ = stack.run(step, kinds, p["layers"], x, key=fold(dropout_key, STAGE + stage))
        before.append(x)
        if "down" in p:
            x = norm.layer_norm(p["down"]["norm"], windows.merged(x), eps=EPS)
            x = linear.linear(p["down"], x)
        after.append(x)
    return tuple(after), tuple(before)


def flat(x: jax.Array) -> jax.Array:
    """A map [B, H, W, E] -> [B, P, E]."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


def apply(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    bool_masked_pos: jax.Array | None = None,
    interpolate_pos_encoding: bool = False,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> HierarchicalOutput:
    """Vectors of the places of the last map, and their mean.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      pixel_values: [B, C, H, W], normalised.
      bool_masked_pos: bool [B, P], patches that are hidden from the model.
      interpolate_pos_encoding: admit images of another size where there are absolute positions.
      output_hidden_states: return the patches and what every stage made, flat and as maps.
      dropout_key: switches dropout on.

    Raises:
      ValueError: another number of channels; another size, where positions are absolute; images so
        small that a stage has no whole window.
    """
    maps, _ = encode(
        c,
        params,
        pixel_values=pixel_values,
        bool_masked_pos=bool_masked_pos,
        interpolate_pos_encoding=interpolate_pos_encoding,
        dropout_key=dropout_key,
    )
    x = norm.layer_norm(params["norm"], flat(maps[-1]), eps=c.layer_norm_eps)
    return HierarchicalOutput(
        last_hidden_state=x,
        pooler_output=x.mean(1),
        hidden_states=tuple(map(flat, maps)) if output_hidden_states else None,
        reshaped_hidden_states=tuple(map(conv.first, maps)) if output_hidden_states else None,
    )


def backbone_specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """The body and a norm for every map; the body's own is stored and not used."""
    norms = {
        f"stage{i}": norm.specs(
            f"hidden_states_norms.{'stage' + str(i) if i else 'stem'}", c.width(max(i - 1, 0))
        )
        for i in c.outputs
    }
    return specs(c, layers=layers, norm_name="swin.layernorm") | {"norms": norms}


def backbone_apply(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    interpolate_pos_encoding: bool = False,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BackboneOutput:
    """Maps [B, E, H, W] of the stages that the config asks for, before they are made smaller."""
    _, maps = encode(
        c,
        params,
        pixel_values=pixel_values,
        interpolate_pos_encoding=interpolate_pos_encoding,
        dropout_key=dropout_key,
        whole=True,
    )
    normed = (norm.layer_norm(params["norms"][f"stage{i}"], maps[i], eps=EPS) for i in c.outputs)
    return BackboneOutput(
        feature_maps=tuple(map(conv.first, normed)),
        hidden_states=tuple(map(conv.first, maps)) if output_hidden_states else None,
    )


_CLASSIFIER_INPUTS = tuple(n for n in tasks.inputs_of(apply) if n != "bool_masked_pos")

TASKS = {
    "SwinModel": tasks.bare(specs, apply),
    "SwinForImageClassification": tasks.headed(
        "image-classification",
        specs,
        apply,
        prefix="swin",
        head_specs=classifier_specs,
        head=classify,
    )._replace(inputs=_CLASSIFIER_INPUTS),
    "SwinForMaskedImageModeling": tasks.headed(
        "masked-image-modeling",
        functools.partial(specs, mask_token=True),
        apply,
        prefix="swin",
        head_specs=decoder_specs,
        head=restore,
    ),
    "SwinBackbone": tasks.bare(backbone_specs, backbone_apply)._replace(name="backbone"),
}
