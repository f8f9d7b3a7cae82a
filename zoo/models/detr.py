"""DETR. Carion et al. 2020, arXiv:2005.12872. Checkpoints: `Detr*`.

Letters: B batch, C channels, H height, W width, S = H * W places of a map, Q objects, E embed.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo import registry, tasks
from zoo.hint import hint
from zoo.layers import activation, conv, grid, linear, masks, norm, stack
from zoo.layers.dropout import EMBEDDINGS, dropout, fold
from zoo.layers.mask import Mask
from zoo.models import resnet, timm
from zoo.models.detr_parts import EPS, Seen, Source, block_specs, detected, heads_specs, layer, see
from zoo.outputs import DetectionModelOutput, DetectionOutput, SegmentationOutput
from zoo.spec import Tree, scope

IGNORED = (r".*backbone\..*num_batches_tracked",)
INERT = frozenset(
    """
    backbone_kwargs bbox_cost bbox_loss_coefficient class_cost decoder_layerdrop
    dice_loss_coefficient encoder_layerdrop eos_coefficient giou_cost giou_loss_coefficient
    init_xavier_std is_encoder_decoder mask_loss_coefficient max_position_embeddings
    num_hidden_layers scale_embedding use_pretrained_backbone
    """.split()
)
ALIASES = {
    "hidden_size": "d_model",
    "init_std": "initializer_range",
    "num_attention_heads": "encoder_attention_heads",
}
POSITIONS = 50  # rows and columns with learned positions
DECODER = 1 << 18  # folded into the dropout key of a call for the decoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    backbone_config: registry.Part | None = dataclasses.field(
        default=None, metadata={"model_type": "resnet"}
    )
    backbone: str | None = None
    use_timm_backbone: bool = True
    num_channels: int = 3
    num_queries: int = 100
    encoder_layers: int = 6
    encoder_ffn_dim: int = 2048
    encoder_attention_heads: int = 8
    decoder_layers: int = 6
    decoder_ffn_dim: int = 2048
    decoder_attention_heads: int = 8
    activation_function: str = "relu"
    d_model: int = 256
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    initializer_range: float = 0.02
    auxiliary_loss: bool = False
    position_embedding_type: str = "sine"
    dilation: bool = False
    num_labels: int = 2

    def __post_init__(self):
        for heads in (self.encoder_attention_heads, self.decoder_attention_heads):
            if self.d_model % heads:
                raise ValueError(f"d_model: {self.d_model} is not a multiple of {heads} heads")
        if self.d_model % 4:
            raise ValueError(
                f"d_model: found {self.d_model}, expected a multiple of 4, a sine and a cosine of "
                f"rows and of columns"
            )
        if self.position_embedding_type not in ("sine", "learned"):
            raise ValueError(
                f"position_embedding_type: found {self.position_embedding_type!r}, expected sine "
                f"or learned"
            )
        activation.check(self.activation_function, where="activation_function")
        _ = self.body

    @property
    def named_by_timm(self) -> bool:
        """Whether the file has the names of timm for the tensors of the backbone."""
        return self.use_timm_backbone and self.backbone_config is None

    @property
    def body(self) -> resnet.Config:
        """The network that makes maps of an image."""
        if self.backbone_config is not None:
            part = self.backbone_config
            if not isinstance(part.config, resnet.Config):
                raise ValueError(
                    f"backbone_config: found {part.model_type}, expected resnet, the only backbone "
                    f"of DETR here"
                )
            return part.config
        if not self.use_timm_backbone:
            return resnet.Config(out_features=("stage4",))
        if self.dilation:
            raise ValueError(
                "dilation: found true, which ResNets do not have here; use a checkpoint without "
                "it, such as facebook/detr-resnet-50"
            )
        return timm.config(self.backbone or "resnet50", self.num_channels)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the maps that the body gives."""
        sizes = (self.body.embedding_size, *self.body.hidden_sizes)
        return tuple(sizes[i] for i in self.body.outputs)


def upgrade(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Writes a backbone of timm by its name, as the published files do."""
    inner = raw.get("backbone_config")
    if not isinstance(inner, dict) or inner.get("model_type") != "timm_backbone":
        return raw
    rest = {"backbone": inner.get("backbone"), "use_timm_backbone": True, "backbone_config": None}
    return {
        **raw,
        **rest,
        "dilation": inner.get("output_stride") == 16 or raw.get("dilation", False),
    }


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {}


def check_inputs(c: Config, arrays: Mapping[str, Any], where: str) -> None:
    """Checks shapes beside images [B, C, H, W] or places [B, S, E].

    Raises:
      ValueError: a mask or vectors of another shape.
    """
    main = arrays.get("pixel_values", arrays.get("inputs_embeds"))
    rows = main.shape[0]
    wanted: dict[str, tuple[int, ...]] = {
        "decoder_attention_mask": (rows, c.num_queries),
        "decoder_inputs_embeds": (rows, c.num_queries, c.d_model),
    }
    if "pixel_values" in arrays:
        wanted["pixel_mask"] = (rows, *main.shape[2:])
    elif main.shape[2] != c.d_model or int(main.shape[1] ** 0.5) ** 2 != main.shape[1]:
        raise ValueError(
            f"{where}: inputs_embeds has shape {tuple(main.shape)}, expected the places of a "
            f"square map, each a vector of d_model {c.d_model}"
        )
    for name, want in wanted.items():
        if name in arrays and tuple(arrays[name].shape) != want:
            raise ValueError(
                f"{where}: {name} has shape {tuple(arrays[name].shape)}, expected {want} beside "
                f"an input of shape {tuple(main.shape)}; make both together"
            )


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body; the norms of the backbone are frozen."""
    maps = resnet.specs(c.body, layers=layers, frozen=True)
    maps = timm.named(maps) if c.named_by_timm else maps
    encoder = block_specs(
        c, heads=c.encoder_attention_heads, mlp_size=c.encoder_ffn_dim, crosses=False
    )
    decoder = block_specs(
        c, heads=c.decoder_attention_heads, mlp_size=c.decoder_ffn_dim, crosses=True
    )
    tree = {
        "backbone": scope("backbone.conv_encoder.model", maps),
        "project": conv.specs(
            "input_projection", c.d_model, c.channels[-1], 1, axes=("embed", None)
        ),
        "queries": linear.embedding_specs(
            "query_position_embeddings", c.num_queries, c.d_model, axis=None
        ),
        "encoder": layers(("encoder",) * c.encoder_layers,
                          lambda kind: scope("encoder.layers.{}", encoder)),
        "decoder": layers(("decoder",) * c.decoder_layers,
                          lambda kind: scope("decoder.layers.{}", decoder)),
        "norm": norm.specs("decoder.layernorm", c.d_model),
    }  # fmt: skip
    if c.position_embedding_type == "learned":
        tree["positions"] = grid.learned_specs("position_embedding", POSITIONS, c.d_model)
    return tree


def run(
    c: Config,
    params: Tree,
    seen: Seen,
    *,
    decoder_attention_mask: jax.Array | None,
    decoder_inputs_embeds: jax.Array | None,
    output_hidden_states: bool,
    dropout_key: jax.Array | None,
) -> DetectionModelOutput:
    """The encoder over what is seen, and the decoder over its output."""
    batch, embed = seen.places.shape[0], seen.places.shape[-1]
    x = seen.places.reshape(batch, -1, embed)
    where = seen.positions.reshape(batch, -1, embed)
    shown = Mask(valid=seen.valid.reshape(batch, -1)).array()
    x = hint(dropout(x, fold(dropout_key, EMBEDDINGS), rate=c.dropout), "batch", "length", None)
    x, _, encoded = stack.run(
        lambda kind, p, x, cache, i, key: (layer(p, x, where, shown, None, key, c=c), None),
        ("encoder",) * c.encoder_layers,
        params["encoder"],
        x,
        key=dropout_key,
        collect=output_hidden_states,
    )
    source = Source(x, where, shown)

    names = jnp.broadcast_to(params["queries"]["weight"][None], (batch, c.num_queries, embed))
    y = jnp.zeros_like(names) if decoder_inputs_embeds is None else decoder_inputs_embeds
    told = Mask(valid=decoder_attention_mask).array()
    layer_norm = functools.partial(norm.layer_norm, params["norm"], eps=EPS)

    def step(kind, p, x, cache, i, key):
        if c.auxiliary_loss:  # a layer gets what the norm makes of the one before, as published
            x = jnp.where(jnp.asarray(i) > 0, layer_norm(x), x)
        return layer(p, x, names, told, source, key, c=c), None

    y, _, decoded = stack.run(
        step,
        ("decoder",) * c.decoder_layers,
        params["decoder"],
        y,
        key=fold(dropout_key, DECODER),
        collect=output_hidden_states or c.auxiliary_loss,
    )
    between = None
    if c.auxiliary_loss and decoded:
        between = jnp.stack([layer_norm(x) for x in (*decoded[1:], y)])
        y = between[-1]
    y = layer_norm(y)
    return DetectionModelOutput(
        last_hidden_state=y,
        decoder_hidden_states=(*decoded, y) if decoded and output_hidden_states else None,
        encoder_last_hidden_state=x,
        encoder_hidden_states=None if encoded is None else (*encoded, x),
        intermediate_hidden_states=between,
    )


def apply(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array | None = None,
    pixel_mask: jax.Array | None = None,
    decoder_attention_mask: jax.Array | None = None,
    inputs_embeds: jax.Array | None = None,
    decoder_inputs_embeds: jax.Array | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> DetectionModelOutput:
    """A vector for each of Q objects.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      pixel_values: [B, C, H, W], normalised.
      pixel_mask: [B, H, W] with 1 for pixels and 0 for padding.
      decoder_attention_mask: [B, Q] with 1 for objects that may be seen by others.
      inputs_embeds: [B, S, E], places of a square map in place of an image.
      decoder_inputs_embeds: [B, Q, E], what objects begin as in place of zeros.
      output_hidden_states: return what every layer makes too.
      dropout_key: switches dropout on.
    """
    seen = see(c, params, pixel_values, pixel_mask, inputs_embeds)
    return run(
        c,
        params,
        seen,
        decoder_attention_mask=decoder_attention_mask,
        decoder_inputs_embeds=decoder_inputs_embeds,
        output_hidden_states=output_hidden_states,
        dropout_key=dropout_key,
    )


def detect(
    c: Config, params: Tree, body: DetectionModelOutput, inputs: Mapping[str, Any]
) -> DetectionOutput:
    """Classes and boxes; `output_auxiliary` asks for those of earlier layers too."""
    auxiliary = inputs.get("output_auxiliary", False)
    return DetectionOutput(**detected(params["head"], body, auxiliary))


def segmentation_specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """The detector under `detr`, attention over the map, and convolutions."""
    if len(c.channels) < 3:
        raise ValueError(
            f"backbone_config: found {len(c.channels)} maps in out_features, expected 3 or more "
            f"for a segmentation; add stages"
        )
    size, heads = c.d_model, c.encoder_attention_heads
    body = scope("model", specs(c, layers=layers)) | {"head": heads_specs(c)}
    return scope("detr", body) | {
        "shares": masks.attention_specs("bbox_attention", size, heads),
        "masks": masks.specs(
            "mask_head", inputs=size + heads, embed=size, channels=c.channels[2::-1]
        ),
    }


def segment(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    pixel_mask: jax.Array | None = None,
    decoder_attention_mask: jax.Array | None = None,
    decoder_inputs_embeds: jax.Array | None = None,
    output_hidden_states: bool = False,
    output_auxiliary: bool = False,
    dropout_key: jax.Array | None = None,
) -> SegmentationOutput:
    """Classes, boxes and masks of objects; arguments as those of `apply`."""
    seen = see(c, params, pixel_values, pixel_mask, None)
    body = run(
        c,
        params,
        seen,
        decoder_attention_mask=decoder_attention_mask,
        decoder_inputs_embeds=decoder_inputs_embeds,
        output_hidden_states=output_hidden_states,
        dropout_key=dropout_key,
    )
    memory: Any = body.encoder_last_hidden_state
    memory = memory.reshape(seen.places.shape)
    shares = masks.attend(params["shares"], body.last_hidden_state, memory, seen.valid)
    made = masks.masks(
        params["masks"], seen.places, shares, seen.maps[2::-1], act=c.activation_function
    )
    found = detected(params["head"], body, output_auxiliary)
    return SegmentationOutput(pred_masks=made, **found)


_NEEDS = (("pixel_values", "inputs_embeds"),)

TASKS = {
    "DetrModel": tasks.bare(specs, apply)._replace(needs=_NEEDS),
    "DetrForObjectDetection": tasks.headed(
        "object-detection",
        specs,
        apply,
        prefix="model",
        head_specs=heads_specs,
        head=detect,
        extra=("output_auxiliary",),
    )._replace(needs=_NEEDS),
    "DetrForSegmentation": tasks.Task(
        "image-segmentation",
        segmentation_specs,
        segment,
        tasks.inputs_of(segment),
        prefix="detr.model",
        needs=(("pixel_values",),),
    ),
}
