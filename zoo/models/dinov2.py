"""DINOv2. Oquab et al. 2023, arXiv:2304.07193. Checkpoints: `Dinov2*`.

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
from zoo.layers import activation, attention, backbone, image, linear, mlp, norm, stack
from zoo.layers.dropout import EMBEDDINGS, drop_path, dropout, fold, keys
from zoo.layers.mask import Mask
from zoo.markers import block
from zoo.outputs import BackboneOutput, BaseOutput, LogitsOutput
from zoo.spec import ArraySpec, Tree, constant, scope, zeros

IGNORED = ()
INERT = frozenset({"stage_names"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: int | float = 4
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    image_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 14
    num_channels: int = 3
    qkv_bias: bool = True
    layerscale_value: float = 1.0
    drop_path_rate: float = 0.0
    use_swiglu_ffn: bool = False
    use_mask_token: bool = True
    apply_layernorm: bool = True
    reshape_hidden_states: bool = True
    out_features: tuple[str, ...] | None = None
    out_indices: tuple[int, ...] | None = dataclasses.field(default=None, metadata={"least": -999})
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
        activation.check(self.hidden_act, where="hidden_act")
        _ = self.outputs

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return image.pair(self.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across of the images that positions were learned for."""
        height, width = image.pair(self.image_size)
        return height // self.patch[0], width // self.patch[1]

    @property
    def mlp(self) -> int:
        """Hidden units; with a gate two thirds of them, made a multiple of eight."""
        size = int(self.hidden_size * self.mlp_ratio)
        return (int(size * 2 / 3) + 7) // 8 * 8 if self.use_swiglu_ffn else size

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.num_hidden_layers

    @property
    def outputs(self) -> tuple[int, ...]:
        """Which maps a backbone gives: 0 is what enters the first layer."""
        names = ("stem", *(f"stage{i + 1}" for i in range(self.num_hidden_layers)))
        return backbone.chosen(names, self.out_features, self.out_indices)


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
    size = c.hidden_size
    attn = attention.specs(
        embed=size,
        heads=c.num_attention_heads,
        kv_heads=c.num_attention_heads,
        head_dim=size // c.num_attention_heads,
        bias=c.qkv_bias,
        out_bias=True,
        names=("attention.query", "attention.key", "attention.value", "output.dense"),
    )

    def scale(name: str) -> ArraySpec:
        return ArraySpec(
            shape=(size,), axes=("embed",), init=constant(c.layerscale_value), name=name
        )

    feed = functools.partial(mlp.plain_specs, names=("fc1", "fc2"))
    if c.use_swiglu_ffn:
        feed = functools.partial(mlp.fused_specs, names=("weights_in", "weights_out"))
    return {
        "attn_norm": norm.specs("norm1", size),
        "attn": scope("attention", attn),
        "attn_scale": scale("layer_scale1.lambda1"),
        "mlp_norm": norm.specs("norm2", size),
        "mlp": scope("mlp", feed(embed=size, hidden=c.mlp, bias=True)),
        "mlp_scale": scale("layer_scale2.lambda1"),
    }


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    size = c.hidden_size
    one = scope("encoder.layer.{}", block_specs(c))
    token = functools.partial(ArraySpec, axes=(None, None, "embed"))
    embed = {
        "cls": token(shape=(1, 1, size), name="cls_token"),
        "positions": token(shape=(1, c.grid[0] * c.grid[1] + 1, size), name="position_embeddings"),
        "patches": image.patch_specs("patch_embeddings.projection", size, c.num_channels, c.patch),
    }
    if c.use_mask_token:
        embed["mask"] = ArraySpec(
            shape=(1, size), axes=(None, "embed"), init=zeros, name="mask_token"
        )
    return {
        "embed": scope("embeddings", embed),
        "layers": layers(c.kinds, lambda kind: one),
        "norm": norm.specs("layernorm", size),
    }


@block
def layer(
    p: Tree, x: jax.Array, context: attention.Context, key: jax.Array | None, *, c: Config
) -> jax.Array:
    """x [B, T, E] -> [B, T, E]: norms before each sublayer, a learned scale of each output."""
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_eps)
    feed = functools.partial(mlp.gated, act="silu")
    if not c.use_swiglu_ffn:
        feed = functools.partial(mlp.plain, act=c.hidden_act)
    k1, k2, k3 = keys(key, 3)
    rate = c.attention_probs_dropout_prob
    y = layer_norm(p["attn_norm"], x)
    y, _ = attention.attend(p["attn"], y, None, context, k1, rate=rate)
    x = x + drop_path(y * jnp.broadcast_to(p["attn_scale"], y.shape), k2, c.drop_path_rate)
    y = feed(p["mlp"], layer_norm(p["mlp_norm"], x))
    return x + drop_path(y * jnp.broadcast_to(p["mlp_scale"], y.shape), k3, c.drop_path_rate)


def encode(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    bool_masked_pos: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    dropout_key: jax.Array | None = None,
    collect: bool = True,
) -> tuple[jax.Array, ...]:
    """Vectors [B, T, E] before the first layer and after each, or with `collect` off the last."""
    image.check(pixel_values, c.num_channels, None)
    embed = params["embed"]
    x = image.patches(embed["patches"], pixel_values.astype(embed["cls"].dtype), patch=c.patch)
    if bool_masked_pos is not None:
        if "mask" not in embed:
            raise ValueError(
                "dinov2: bool_masked_pos needs a mask token; found use_mask_token false, leave the "
                "mask out"
            )
        hidden = jnp.broadcast_to(bool_masked_pos[..., None].astype(bool), x.shape)
        x = jnp.where(hidden, jnp.broadcast_to(embed["mask"][None], x.shape), x)
    x = jnp.concatenate([jnp.broadcast_to(embed["cls"], (x.shape[0], 1, x.shape[2])), x], axis=1)
    grid = pixel_values.shape[2] // c.patch[0], pixel_values.shape[3] // c.patch[1]
    positions = image.interpolate_positions(embed["positions"], c.grid, grid)
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
        collect=collect,
    )
    return (*(inner or ()), x)


def apply(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    bool_masked_pos: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of patches, the class token first, which also stands for the whole image.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      pixel_values: [B, C, H, W], normalised; positions are interpolated to their size.
      bool_masked_pos: bool [B, P], patches that are hidden from the model.
      attention_mask: [B, T] with 1 for tokens that may be seen.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.

    Raises:
      ValueError: another number of channels, or patches hidden without a token for them.
    """
    inner = encode(
        c,
        params,
        pixel_values=pixel_values,
        bool_masked_pos=bool_masked_pos,
        attention_mask=attention_mask,
        dropout_key=dropout_key,
        collect=output_hidden_states,
    )
    x = norm.layer_norm(params["norm"], inner[-1], eps=c.layer_norm_eps)
    hidden = inner if output_hidden_states else None
    return BaseOutput(last_hidden_state=x, pooler_output=x[:, 0], hidden_states=hidden)


def backbone_apply(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    attention_mask: jax.Array | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BackboneOutput:
    """Maps [B, E, H, W], or with the class token vectors [B, T, E], of the layers of the config."""
    inner = encode(
        c,
        params,
        pixel_values=pixel_values,
        attention_mask=attention_mask,
        dropout_key=dropout_key,
    )
    grid = pixel_values.shape[2] // c.patch[0], pixel_values.shape[3] // c.patch[1]

    def one(x: jax.Array) -> jax.Array:
        if c.apply_layernorm:
            x = norm.layer_norm(params["norm"], x, eps=c.layer_norm_eps)
        if c.reshape_hidden_states:
            x = x[:, 1:].reshape(x.shape[0], *grid, -1).transpose(0, 3, 1, 2)
        return x

    return BackboneOutput(
        feature_maps=tuple(one(inner[i]) for i in c.outputs),
        hidden_states=inner if output_hidden_states else None,
    )


def classifier_specs(c: Config) -> Tree:
    """A linear map from the class token and the mean of the patches; none for no labels."""
    if not c.num_labels:
        return {}
    return linear.specs("classifier", c.num_labels, 2 * c.hidden_size, axes=(None, "embed"))


def classify(c: Config, params: Tree, body: BaseOutput, inputs: Mapping[str, Any]) -> LogitsOutput:
    """Logits [B, labels]."""
    x = body.last_hidden_state
    x = jnp.concatenate([x[:, 0], x[:, 1:].mean(1)], axis=-1)
    return tasks.logits(body, linear.linear(params["head"], x) if params["head"] else x)


_CLASSIFIER_INPUTS = tuple(n for n in tasks.inputs_of(apply) if n != "bool_masked_pos")

TASKS = {
    "Dinov2Model": tasks.bare(specs, apply),
    "Dinov2ForImageClassification": tasks.headed(
        "image-classification",
        specs,
        apply,
        prefix="dinov2",
        head_specs=classifier_specs,
        head=classify,
    )._replace(inputs=_CLASSIFIER_INPUTS),
    "Dinov2Backbone": tasks.bare(specs, backbone_apply)._replace(name="backbone"),
}
