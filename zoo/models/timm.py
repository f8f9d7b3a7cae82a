"""Residual networks by the names that timm gives them and their tensors."""

import dataclasses
import re

from zoo.models import resnet
from zoo.spec import Tree, tree_map

# Residual networks by the names that timm gives them: layer_type, depths.
RESNETS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
    "resnet152": ("bottleneck", (3, 8, 36, 3)),
}
# Tensors of a ResNet, and what timm calls them; a stage is counted from one there, a unit too.
TIMM = (
    (r"embedder\.embedder\.convolution", lambda m: "conv1"),
    (r"embedder\.embedder\.normalization", lambda m: "bn1"),
    (r"encoder\.stages\.(\d+)\.layers\.", lambda m: f"layer{int(m[1]) + 1}."),
    (r"layer\.(\d+)\.convolution", lambda m: f"conv{int(m[1]) + 1}"),
    (r"layer\.(\d+)\.normalization", lambda m: f"bn{int(m[1]) + 1}"),
    (r"shortcut\.convolution", lambda m: "downsample.0"),
    (r"shortcut\.normalization", lambda m: "downsample.1"),
)


def config(name: str, channels: int) -> resnet.Config:
    """The network `name`, such as `resnet50` or `resnet50.a1_in1k`, which gives four maps.

    Raises:
      ValueError: a network of another kind.
    """
    stem = name.partition(".")[0]
    if stem not in RESNETS:
        raise ValueError(f"backbone: found {name!r}, expected one of {', '.join(RESNETS)}")
    kind, depths = RESNETS[stem]
    sizes = (64, 128, 256, 512)
    return resnet.Config(
        layer_type=kind,
        depths=depths,
        hidden_sizes=sizes if kind == "basic" else tuple(4 * size for size in sizes),
        num_channels=channels,
        out_indices=(1, 2, 3, 4),
    )


def named(specs: Tree) -> Tree:
    """The declarations of a ResNet under timm's names."""

    def rename(name: str) -> str:
        for pattern, new in TIMM:
            name = re.sub(pattern, new, name)
        return name

    return tree_map(lambda s: dataclasses.replace(s, name=rename(s.name)), specs)
