"""A model: an architecture's pure functions bound to a config and a tree of parameters."""

import dataclasses
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bridges.repository import NEW, Origin
from zoo import hint, memory, spec
from zoo import inputs as checks
from zoo.forward import Forward, specs
from zoo.generate import config as generating
from zoo.outputs import Output
from zoo.spec import Tree


@functools.partial(jax.jit, static_argnames=("forward", "flags", "placement"))
def _run(params, arrays, *, forward, flags, placement):
    with hint.placing(placement):
        return forward(params, **arrays, **dict(flags))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params"],
    meta_fields=["forward", "layers", "origin"],
)
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
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
        return specs(self.forward, self.layers)

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
        """Dtype of the parameters, None where the leaves are no arrays."""
        kinds = (getattr(x, "dtype", None) for x in jax.tree.leaves(self.params))
        return next((k for k in kinds if k is not None and jnp.issubdtype(k, jnp.floating)), None)

    def __call__(self, **inputs: Any) -> Output:
        """Runs the model, compiled, after checking the inputs.

        Takes arrays of any kind under the names that transformers uses, and returns a dataclass
        with the fields of transformers' outputs. Compiled once per shape of the inputs.

        Raises:
          TypeError: an input that the model does not take.
          ValueError: none or two of the main inputs, a shape or dtype that does not fit, ids out
            of range, a cache of another model or too short.
        """
        arrays, flags = checks.check(self.forward, self.layers, inputs)
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

    def init_cache(
        self, batch: int, length: int, *, source: int | None = None, dtype: Any = None
    ) -> Tree:
        """An empty cache with room for `length` tokens in each of `batch` rows.

        Args:
          batch: rows.
          length: tokens of a decoder.
          source: of encoder-decoders, the length of the encoder's output.
          dtype: that of the parameters if None.

        Raises:
          ValueError: the architecture does not decode, a size is not a number above 0, or `source`
            is missing or not of use.
        """
        sizes = {"batch": batch, "length": length} | ({} if source is None else {"source": source})
        for name, size in sizes.items():
            if not isinstance(size, int | np.integer) or size < 1:
                raise ValueError(f"init_cache: {name}: found {size!r}, expected a number above 0")
        specs = self.forward.cache_specs(self.layers, batch, length, source)
        memory.check(specs, dtype or self.dtype, where="init_cache", what="a cache")
        return spec.init(jax.random.key(0), specs, dtype=dtype or self.dtype)

    @property
    def generation_settings(self) -> dict[str, Any]:
        """What `generation_config.json` asks for, or else `config.json`, as old files do."""
        import json

        stored = json.loads(self.origin.generation)
        raw = self.raw_config
        nested = next((raw[k] for k in ("decoder", "generator", "text_config") if raw.get(k)), {})
        names = generating.NAMES | generating.NEUTRAL.keys()
        old = {k: x for k, x in {**nested, **raw}.items() if k in names}
        return generating.from_file(stored or old)

    def generate(self, inputs: Any = None, **options: Any) -> jax.Array:
        """Continues texts: `generate(ids, max_new_tokens=32)`; see `zoo.generate.generate`."""
        from zoo.generate import generate

        return generate(self, inputs, **options)

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
