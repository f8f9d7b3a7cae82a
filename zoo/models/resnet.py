"""ResNet. He et al. 2015, arXiv:1512.03385. Checkpoints: `ResNet*`.

Letters: B batch, C channels, H height, W width. Images come and maps of features go with channels
first, as in transformers; between, channels are last.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.hint import hint
from zoo.layers import activation, backbone, conv, image, linear, norm, stack
from zoo.markers import block
from zoo.outputs import BackboneOutput, BaseOutput, LogitsOutput
from zoo.spec import Tree, scope, uniform

IGNORED = ()
INERT = frozenset({"stage_names"})
REDUCTION = 4  # of the channels inside a bottleneck


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    layer_type: str = "bottleneck"
    hidden_act: str = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False
    out_features: tuple[str, ...] | None = None
    out_indices: tuple[int, ...] | None = dataclasses.field(default=None, metadata={"least": -99})
    num_labels: int = 2

    def __post_init__(self):
        if self.layer_type not in ("basic", "bottleneck"):
            raise ValueError(f"layer_type: found {self.layer_type!r}, expected basic or bottleneck")
        if len(self.hidden_sizes) != len(self.depths) or not self.depths:
            raise ValueError(
                f"hidden_sizes: found {len(self.hidden_sizes)} sizes, expected one for each of "
                f"{len(self.depths)} depths"
            )
        activation.check(self.hidden_act, where="hidden_act")
        _ = self.outputs

    @property
    def outputs(self) -> tuple[int, ...]:
        """Which maps a backbone gives: 0 is what the stem makes, 1 the first stage."""
        names = ("stem", *(f"stage{i + 1}" for i in range(len(self.depths))))
        return backbone.chosen(names, self.out_features, self.out_indices)

    @property
    def kinds(self) -> tuple[tuple[str, ...], ...]:
        """Kinds of the layers of each stage: the first may change the size, the others do not."""
        return tuple(("first", *("rest",) * (depth - 1)) for depth in self.depths)

    def stride(self, stage: int, kind: str) -> int:
        """Of a layer of this kind."""
        return 2 if kind == "first" and (stage or self.downsample_in_first_stage) else 1


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {}


def _unit_specs(
    name: str, out: int, inp: int, size: int, *, frozen: bool, axis: str | None = "embed"
) -> Tree:
    """A convolution without bias from channels on the logical `axis`, and its norm."""
    return scope(
        name,
        {
            "conv": conv.specs(
                "convolution", out, inp, size, bias=False, axes=("mlp", axis), init=conv.he_normal
            ),
            "norm": norm.batch_specs("normalization", out, frozen=frozen),
        },
    )


def block_specs(c: Config, stage: int, kind: str, *, frozen: bool = False) -> Tree:
    """One layer."""
    unit = functools.partial(_unit_specs, frozen=frozen)
    out = c.hidden_sizes[stage]
    before = (c.embedding_size, *c.hidden_sizes)[stage]
    inp = before if kind == "first" else out
    inner = out // REDUCTION
    if c.layer_type == "bottleneck":
        sizes = ((inner, inp, 1), (inner, inner, 3), (out, inner, 1))
    else:
        sizes = ((out, inp, 3), (out, out, 3))
    tree = {"units": tuple(unit(f"layer.{i}", *size) for i, size in enumerate(sizes))}
    if inp != out or c.stride(stage, kind) != 1:
        tree["shortcut"] = unit("shortcut", out, inp, 1)
    return tree


def specs(c: Config, *, layers: stack.Build = stack.loop, frozen: bool = False) -> Tree:
    """Every parameter and every statistic of the body; with `frozen` norms none is trained."""

    def stage(i: int) -> Tree:
        one = functools.partial(block_specs, c, i, frozen=frozen)
        name = f"encoder.stages.{i}.layers.{{}}"
        return layers(c.kinds[i], lambda kind: scope(name, one(kind)))

    stem = "embedder.embedder", c.embedding_size, c.num_channels, 7
    return {
        "embed": _unit_specs(*stem, frozen=frozen, axis=None),
        "stages": tuple(stage(i) for i in range(len(c.depths))),
    }


def unit(
    p: Tree, x: jax.Array, *, stride: int = 1, act: str | None = None, train: bool
) -> tuple[jax.Array, Tree]:
    """A convolution, its norm and on request an activation: (x, statistics after a batch)."""
    size = p["conv"]["weight"].shape[-1]
    x = conv.conv(p["conv"], x, stride=stride, padding=size // 2)
    seen = None
    if train and "count" in p["norm"]:
        x, seen = norm.batch_norm_train(p["norm"], x)
    else:
        x = norm.batch_norm(p["norm"], x)
    x = x if act is None else activation.activation(x, name=act)
    return x, {"conv": None, "norm": seen}


@block
def layer(
    p: Tree, x: jax.Array, *, act: str, strides: tuple[int, ...], train: bool
) -> tuple[jax.Array, Tree]:
    """x [B, H, W, C] -> [B, H', W', C']: units of convolutions beside a shortcut.

    `act` comes after both are added; between units it is a relu whatever the config says.
    """
    y, seen = x, []
    for i, (q, stride) in enumerate(zip(p["units"], strides, strict=True)):
        inner = "relu" if i < len(strides) - 1 else None
        y, one = unit(q, y, stride=stride, act=inner, train=train)
        seen.append(one)
    stats: Tree = {"units": tuple(seen)}
    if "shortcut" in p:
        stride = max(strides)
        x, stats["shortcut"] = unit(p["shortcut"], x, stride=stride, train=train)
    return activation.activation(y + x, name=act), stats


def strides(c: Config, stage: int, kind: str) -> tuple[int, ...]:
    """Of the units of one layer, of which one may halve the map."""
    stride = c.stride(stage, kind)
    if c.layer_type == "basic":
        return stride, 1
    return (stride, 1, 1) if c.downsample_in_bottleneck else (1, stride, 1)


def maps(
    c: Config, params: Tree, pixels: jax.Array, *, train: bool = False
) -> tuple[tuple[jax.Array, ...], Tree | None]:
    """Pixels [B, C, H, W] -> what the stem and every stage make [B, H', W', C'], and statistics."""
    image.check(pixels, c.num_channels, None)
    weight = params["embed"]["conv"]["weight"]
    x = hint(conv.last(pixels.astype(weight.dtype)), "batch", None, None, None)
    x, embed = unit(params["embed"], x, stride=2, act=c.hidden_act, train=train)
    x = conv.max_pool(x, size=3, stride=2, padding=1)
    made, seen = [x], []
    for i, (kinds, p) in enumerate(zip(c.kinds, params["stages"], strict=True)):

        def step(kind, p, x, cache, i, key, stage=i):
            return layer(p, x, act=c.hidden_act, strides=strides(c, stage, kind), train=train)

        # Statistics go through the layers as a cache does, of the form that the layers have.
        x, stats, _ = stack.run(step, kinds, p, x, cache=p if train else None)
        made.append(x)
        seen.append(stats)
    if not train:
        return tuple(made), None
    return tuple(made), dict.fromkeys(params) | {"embed": embed, "stages": tuple(seen)}


def apply(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    output_hidden_states: bool = False,
    train: bool = False,
) -> BaseOutput:
    """The last map of features [B, C, H, W] and its mean [B, C, 1, 1].

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      pixel_values: [B, C, H, W], normalised.
      output_hidden_states: return what the stem and every stage make too.
      train: normalise by the statistics of this batch, and return the running ones after it.

    Raises:
      ValueError: another number of channels.
    """
    made, stats = maps(c, params, pixel_values, train=train)
    x = conv.first(made[-1])
    return BaseOutput(
        last_hidden_state=x,
        pooler_output=jnp.mean(x, (2, 3), keepdims=True),
        hidden_states=tuple(map(conv.first, made)) if output_hidden_states else None,
        batch_stats=stats,
    )


def backbone_apply(
    c: Config,
    params: Tree,
    *,
    pixel_values: jax.Array,
    output_hidden_states: bool = False,
    train: bool = False,
) -> BackboneOutput:
    """The maps of features [B, C, H, W] that the config asks for; arguments as those of `apply`."""
    made, stats = maps(c, params, pixel_values, train=train)
    made = tuple(map(conv.first, made))
    return BackboneOutput(
        feature_maps=tuple(made[i] for i in c.outputs),
        hidden_states=made if output_hidden_states else None,
        batch_stats=stats,
    )


def classifier_specs(c: Config) -> Tree:
    """A linear map, drawn as PyTorch draws one; none for no labels."""
    if not c.num_labels:
        return {}
    size = c.hidden_sizes[-1]
    draw = uniform(size**-0.5)
    tree = linear.specs("classifier.1", c.num_labels, size, axes=(None, "embed"), init=draw)
    return tree | {"bias": dataclasses.replace(tree["bias"], init=draw)}


def classify(c: Config, params: Tree, body: BaseOutput, inputs: Mapping[str, Any]) -> LogitsOutput:
    """Logits [B, labels] from the mean of the last map."""
    x = body.pooler_output[:, :, 0, 0]  # pyright: ignore[reportOptionalSubscript]
    return tasks.logits(body, linear.linear(params["head"], x) if params["head"] else x)


TASKS = {
    "ResNetModel": tasks.bare(specs, apply),
    "ResNetForImageClassification": tasks.headed(
        "image-classification",
        specs,
        apply,
        prefix="resnet",
        head_specs=classifier_specs,
        head=classify,
    ),
    "ResNetBackbone": tasks.bare(specs, backbone_apply)._replace(name="backbone"),
}
