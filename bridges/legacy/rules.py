"""What Flax and TensorFlow call a weight, and how the Hub's PyTorch files call and store it.

The classes that wrote these files kept PyTorch's module names; only the last part of a name and
the order of the axes are the framework's own, so one table serves every architecture:

| last part, Flax | last part, TensorFlow | on the Hub | axes |
|---|---|---|---|
| kernel | kernel | weight | `[*window, in, out] -> [out, in, *window]` |
| | pointwise_kernel | pointwise.weight | the same |
| | depthwise_kernel | depthwise.weight | `[window, in, 1] -> [in, 1, window]` |
| scale, embedding | gamma, embeddings | weight | as they are |
| | beta | bias | as they are; Conv1D's `[1, out] -> [out]` |
| mean, var | moving_mean, moving_variance | running_mean, running_var | as they are |
| | weight_g | weight_g | reversed |
| | logit_scale | logit_scale | `[1] -> []` |

Flax stores GPT-2's `Conv1D` as `[out, in]` under `kernel`, which the first row turns into the
Hub's `[in, out]`; TensorFlow stores it as the Hub does, under `weight`. Weight normalisation keeps
the older of the Hub's two spellings, `weight_g` and `weight_v`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

Shape = tuple[int, ...]


class Place(NamedTuple):
    """A weight on the Hub: its name, and the stored axes in the Hub's order; size 1 may go."""

    name: str
    axes: tuple[int, ...]


def _kept(shape: Shape) -> Shape:
    return tuple(range(len(shape)))


def _reversed(shape: Shape) -> Shape:
    return _kept(shape)[::-1]


def _kernel(shape: Shape) -> Shape:
    *window, inputs, outputs = _kept(shape) if len(shape) > 1 else (0, 0)
    return (outputs, inputs, *window) if len(shape) > 1 else _kept(shape)


def _depthwise(shape: Shape) -> Shape:
    return (1, 2, 0) if len(shape) == 3 else _kept(shape)


def _row(shape: Shape) -> Shape:
    return (1,) if len(shape) == 2 and shape[0] == 1 else _kept(shape)


def _scalar(shape: Shape) -> Shape:
    return () if shape == (1,) else _kept(shape)


Rules = Mapping[str, tuple[str, Callable[[Shape], Shape]]]
FLAX: Rules = MappingProxyType(
    {
        "kernel": ("weight", _kernel),
        "scale": ("weight", _kept),
        "embedding": ("weight", _kept),
    }
)
FLAX_STATISTICS: Rules = MappingProxyType(
    {"mean": ("running_mean", _kept), "var": ("running_var", _kept)}
)
TENSORFLOW: Rules = MappingProxyType(
    {
        "kernel": ("weight", _kernel),
        "pointwise_kernel": ("pointwise.weight", _kernel),
        "depthwise_kernel": ("depthwise.weight", _depthwise),
        "embeddings": ("weight", _kept),
        "gamma": ("weight", _kept),
        "beta": ("bias", _kept),
        "bias": ("bias", _row),
        "moving_mean": ("running_mean", _kept),
        "moving_variance": ("running_var", _kept),
        "weight_g": ("weight_g", _reversed),
        "logit_scale": ("logit_scale", _scalar),
    }
)
# The classes without a head call their only part by the prefix that headed classes give it.
_BARE = re.compile(r"(?<!_head)(?<!_heads)_model(_\d+)?")


def from_flax(shapes: Mapping[str, Shape]) -> dict[str, Place]:
    """Return the place of each weight of a Flax tree, whose names are paths joined by `/`.

    Models with batch normalisation hold `params` and `batch_stats` side by side.
    """
    split = {"params", "batch_stats"} >= {name.split("/")[0] for name in shapes}
    places = {}
    for name, shape in shapes.items():
        collection, *parts = name.split("/") if split else ("params", *name.split("/"))
        rules = FLAX_STATISTICS if collection == "batch_stats" else FLAX
        # Flax cannot call a submodule "0", so a list named `layer` holds `layer_0`.
        path = [
            re.sub(r"^layer_(?=\d+$)", "", part) if before == "layer" else part
            for before, part in zip(("", *parts), parts, strict=False)
        ]
        places[name] = _place(path, shape, rules)
    return places


def from_tensorflow(shapes: Mapping[str, Shape]) -> dict[str, Place]:
    """Return the place of each variable of a TensorFlow model, named with its class's scope.

    `tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0` is
    `encoder.layer.0.output.dense.weight`: the scope goes, and so does the prefix of a model
    without a head; `._` separates a list's index, and `mlm___cls` stands for `cls`.
    """
    paths = {name: _variable(name) for name in shapes}
    firsts = {path[0].split(".")[0] for path in paths.values() if path}
    bare = any(_BARE.search(scope) for scope in _scopes(shapes)) and len(firsts) == 1
    prefix = f"{firsts.pop()}." if bare else ""
    places = {}
    for name, shape in shapes.items():
        place = _place(paths[name], shape, TENSORFLOW)
        places[name] = place._replace(name=place.name.removeprefix(prefix))
    return places


def _scopes(names: Iterable[str]) -> set[str]:
    return {scope for scope, inner, _ in (name.partition("/") for name in names) if inner}


def _variable(name: str) -> list[str]:
    scope, *parts = re.sub(r":\d+$", "", name).split("/")
    if not parts:
        return [scope]
    *inner, last = parts
    inner = [part.rpartition("___")[2] for part in inner]
    return [part for part in "/".join([*inner, last]).replace("_._", "/").split("/") if part]


def _place(path: list[str], shape: Shape, rules: Rules) -> Place:
    last, axes = rules.get(path[-1], (path[-1], _kept)) if path else ("", _kept)
    return Place(".".join([*path[:-1], last]), axes(shape))
