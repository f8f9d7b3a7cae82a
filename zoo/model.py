"""A model: an architecture's pure functions bound to a config and a tree of parameters."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from bridges.repository import NEW, Origin
from zoo import hint, registry, spec
from zoo.layers import stack
from zoo.layers.pooling import Pooling, pool
from zoo.outputs import BaseOutput, Output
from zoo.spec import Tree
from zoo.tasks import Task

FLAGS = ("output_hidden_states", "interpolate_pos_encoding")
MAIN = ("input_ids", "inputs_embeds", "pixel_values")


class Forward(NamedTuple):
    """Everything static about a forward pass: which function, with which config.

    Attributes:
      model_type: the architecture.
      class_name: the Hub class, a key of the architecture's `TASKS`.
      config: the architecture's Config.
      pooling: how to make one vector of a text, where the repository says so.
    """

    model_type: str
    class_name: str
    config: Any
    pooling: Pooling | None = None

    @property
    def architecture(self) -> registry.Architecture:
        """The architecture's module."""
        return registry.architecture(self.model_type)

    @property
    def task(self) -> Task:
        """The task of the class."""
        return self.architecture.tasks[self.class_name]

    def __call__(self, params: Tree, **inputs: Any) -> Output:
        """The pure function."""
        out = self.task.apply(self.config, params, **inputs)
        if self.pooling is None or not isinstance(out, BaseOutput):
            return out
        vector = pool(out.last_hidden_state, inputs.get("attention_mask"), how=self.pooling)
        return dataclasses.replace(out, sentence_embedding=vector)


@functools.lru_cache(maxsize=64)
def _specs(forward: Forward, layers: str) -> Tree:
    return forward.task.specs(forward.config, layers=getattr(stack, layers))


@functools.partial(jax.jit, static_argnames=("forward", "flags", "placement"))
def _run(params, arrays, *, forward, flags, placement):
    with hint.placing(placement):
        return forward(params, **arrays, **dict(flags))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params"],
    meta_fields=["forward", "layers", "origin"],
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """Parameters with the functions that they belong to.

    A pytree whose leaves are the parameters, so it passes through `jax.jit`, `jax.grad` and
    `jax.tree.map` as it is. Nothing in it changes: `dataclasses.replace(model, params=...)` makes
    another.

    Attributes:
      params: tree of arrays.
      forward: the static rest: architecture, class, config.
      layers: "loop" (a tuple of layers) or "stacked" (scanned runs of equal layers).
      origin: where the parameters came from.
    """

    params: Tree
    forward: Forward
    layers: str = "loop"
    origin: Origin = NEW

    @property
    def config(self) -> Any:
        """What changes the arithmetic, spelled as in `config.json`."""
        return self.forward.config

    @property
    def model_type(self) -> str:
        """The architecture's name in `config.json`."""
        return self.forward.model_type

    @property
    def task(self) -> str:
        """Name of the task, such as `fill-mask`."""
        return self.forward.task.name

    @property
    def specs(self) -> Tree:
        """Declarations of the parameters, a tree of `ArraySpec` of the same structure."""
        return _specs(self.forward, self.layers)

    @property
    def licence(self) -> str | None:
        """Licence identifier of the weights, where the repository tells."""
        return self.origin.licence

    @property
    def raw_config(self) -> dict[str, Any]:
        """The `config.json` that the model was made with, every key of it."""
        import json

        return json.loads(self.origin.raw)

    @property
    def id2label(self) -> dict[int, str]:
        """Names of the labels of a classifier."""
        names = self.raw_config.get("id2label")
        if names:
            return {int(i): str(name) for i, name in names.items()}
        return {i: f"LABEL_{i}" for i in range(getattr(self.config, "num_labels", 0))}

    @property
    def num_params(self) -> int:
        """Number of parameters."""
        return spec.count(self.specs)

    @property
    def dtype(self) -> Any:
        """Dtype of the parameters."""
        return jax.tree.leaves(self.params)[0].dtype

    def __call__(self, **inputs: Any) -> Output:
        """Runs the model, compiled, after checking the inputs.

        Takes arrays of any kind under the names that transformers uses, and returns a dataclass
        with the fields of transformers' outputs. Compiled once per shape of the inputs.

        Raises:
          TypeError: an input that the model does not take.
          ValueError: none or two of the main inputs, a shape that does not fit, ids out of range.
        """
        arrays, flags = self._check(inputs)
        return _run(
            self.params,
            arrays,
            forward=self.forward,
            flags=tuple(sorted(flags.items())),
            placement=hint.current(),
        )

    def apply(self, params: Tree, **inputs: Any) -> Output:
        """The pure function of parameters and inputs, for `grad`, `vmap`, `jit` and sharding."""
        return self.forward(params, **inputs)

    def init_cache(self, batch: int, length: int, *, dtype: Any = None) -> Tree:
        """An empty cache with room for `length` tokens in each of `batch` rows.

        Raises:
          ValueError: the architecture does not decode.
        """
        module = self.forward.architecture.module
        if not hasattr(module, "cache_specs"):
            raise ValueError(f"init_cache: {self.model_type} does not generate and has no cache")
        specs = module.cache_specs(self.config, batch, length, layers=getattr(stack, self.layers))
        return spec.init(jax.random.key(0), specs, dtype=dtype or self.dtype)

    def save_pretrained(self, folder: str | os.PathLike, **options: Any) -> Any:
        """Writes a folder that transformers loads; see `zoo.saving.save_pretrained`."""
        from zoo import saving

        return saving.save_pretrained(self, folder, **options)

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Uploads what `save_pretrained` writes; see `zoo.saving.push_to_hub`."""
        from zoo import saving

        return saving.push_to_hub(self, repo, **options)

    def __repr__(self) -> str:
        size = f"{self.num_params:,} parameters"
        return f"Model({self.forward.class_name}, {self.task}, {size}, {self.dtype})"

    def _check(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Splits inputs into arrays and flags, and refuses what cannot be meant."""
        where = self.forward.class_name
        takes = self.forward.task.inputs
        if unknown := sorted(inputs.keys() - set(takes)):
            raise TypeError(
                f"{where}: does not take {', '.join(unknown)}; it takes {', '.join(takes)}"
            )
        flags = {name: bool(inputs[name]) for name in FLAGS if name in inputs}
        given = {k: v for k, v in inputs.items() if v is not None and k not in FLAGS}
        main = [name for name in MAIN if name in given]
        if len(main) != 1:
            wanted = " or ".join(name for name in MAIN if name in takes)
            raise ValueError(f"{where}: found {main or 'no input'}, expected one of {wanted}")
        arrays = {
            k: v if k in ("cache", "dropout_key") else _array(v, f"{where}: {k}")
            for k, v in given.items()
        }
        rank = {"input_ids": 2, "inputs_embeds": 3, "pixel_values": 4}[main[0]]
        x = arrays[main[0]]
        extra = self.task == "multiple-choice" and x.ndim == rank + 1
        if x.ndim != rank and not extra:
            raise ValueError(
                f"{where}: {main[0]} has shape {tuple(x.shape)}, expected {rank} dimensions, the "
                f"batch first"
            )
        if 0 in x.shape:
            raise ValueError(f"{where}: {main[0]} has shape {tuple(x.shape)}; the batch is empty")
        if rank < 4:
            self._check_text(arrays, x.shape[: x.ndim - (rank == 3)], where)
        return arrays, flags

    def _check_text(self, arrays: dict[str, Any], shape: tuple[int, ...], where: str) -> None:
        for name in ("attention_mask", "token_type_ids", "position_ids"):
            x = arrays.get(name)
            broadcast = name == "position_ids" and x is not None and x.shape[-1] == shape[-1]
            pairwise = name == "attention_mask" and x is not None and x.ndim == len(shape) + 1
            if x is not None and x.shape != shape and not broadcast and not pairwise:
                raise ValueError(
                    f"{where}: {name} has shape {tuple(x.shape)}, expected {tuple(shape)} as the "
                    f"tokens"
                )
        limits = self.forward.architecture.module.limits(self.config)
        for name, limit in limits.items():
            x = arrays.get(name)
            if x is None or isinstance(x, Tracer):
                continue
            if not jnp.issubdtype(x.dtype, jnp.integer):
                raise ValueError(f"{where}: {name} has dtype {x.dtype}, expected integers")
            low, high = int(np.min(x)), int(np.max(x))
            if low < 0 or high >= limit:
                raise ValueError(
                    f"{where}: {name} holds {low if low < 0 else high}, expected 0 to {limit - 1}; "
                    f"is this the model's own tokenizer?"
                )
        cache = arrays.get("cache")
        if cache is not None and not isinstance(cache.length, Tracer):
            used, room = int(cache.length), cache.valid.shape[1]
            if used + shape[-1] > room:
                raise ValueError(
                    f"{where}: {shape[-1]} tokens do not fit a cache of {room} of which {used} are "
                    f"taken; make a longer one with init_cache"
                )


def _array(x: Any, where: str) -> Any:
    """An array of a dtype that JAX has: int32 for wider integers, float32 for float64."""
    if isinstance(x, jax.Array):
        return x
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{where}: rows of different lengths; pad them ({error})") from error
    if x.dtype.kind not in "biuf" and x.dtype.name != "bfloat16":
        raise ValueError(f"{where}: found {x.dtype}, expected numbers")
    if x.dtype.kind in "iu" and x.dtype.itemsize > 4:
        if x.size and (x.min() < -(2**31) or x.max() >= 2**31):
            raise ValueError(f"{where}: holds numbers beyond 32 bits")
        return x.astype(np.int32)
    return x.astype(np.float32) if x.dtype == np.float64 else x
