"""Logical axes to mesh axes: the only file that knows both vocabularies."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo import hint
from zoo.spec import ArraySpec, Tree, tree_map

Rules = Mapping[str, str | tuple[str, ...]]  # absent = replicated

REPLICATED: Rules = MappingProxyType({})
_BATCH = ("data", "fsdp")
_TENSOR = ("heads", "kv_heads", "mlp", "expert_mlp", "vocab")


def default(mesh: Mesh) -> Rules:
    """The rules that the names of a mesh's axes suggest.

    `data` and `fsdp` split the batch, `fsdp` the residual width of every weight, `tensor` heads,
    hidden units and vocabulary, `expert` experts.
    """
    rules: dict[str, str | tuple[str, ...]] = {}
    if batch := tuple(axis for axis in _BATCH if axis in mesh.shape):
        rules["batch"] = batch
    if "fsdp" in mesh.shape:
        rules["embed"] = "fsdp"
    if "tensor" in mesh.shape:
        rules |= dict.fromkeys(_TENSOR, "tensor")
    if "expert" in mesh.shape:
        rules["experts"] = "expert"
    return rules


def partition(spec: ArraySpec, mesh: Mesh, rules: Rules) -> PartitionSpec:
    """The placement of one array.

    Raises:
      ValueError: two dimensions want one mesh axis, the mesh has no such axis, or a dimension does
        not divide evenly.
    """
    parts: list[Any] = []
    owner: dict[str, str] = {}
    for size, axis in zip(spec.shape, spec.axes, strict=True):
        want = rules.get(axis, ()) if axis else ()
        want = (want,) if isinstance(want, str) else tuple(want)
        for m in want:
            if m not in mesh.shape:
                raise ValueError(
                    f"{spec.name}: axis {axis!r} maps to mesh axis {m!r}, but the mesh has "
                    f"{', '.join(mesh.shape)}; name the axis so or change the rules"
                )
            if m in owner:
                raise ValueError(
                    f"{spec.name}: axes {owner[m]!r} and {axis!r} both map to mesh axis {m!r}; "
                    f"drop one from the rules"
                )
            owner[m] = str(axis)
        ways = math.prod(mesh.shape[m] for m in want)
        if size % ways:
            raise ValueError(
                f"{spec.name}: axis {axis!r} of size {size} does not divide over the {ways} "
                f"devices of mesh axis {', '.join(map(repr, want))}; drop {axis!r} from the rules "
                f"or resize the mesh"
            )
        parts.append(want[0] if len(want) == 1 else want or None)
    return PartitionSpec(*parts)


def sharding(spec: ArraySpec, mesh: Mesh, rules: Rules) -> NamedSharding:
    """Where one declared array lives."""
    return NamedSharding(mesh, partition(spec, mesh, rules))


def shardings(specs: Tree, mesh: Mesh, rules: Rules) -> Tree:
    """One sharding per declared array, for `jax.device_put`, `jit` or a checkpoint reader."""
    return tree_map(lambda s: sharding(s, mesh, rules), specs)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Places activations by the same rules; hashable, so that traces are kept apart."""

    mesh: Mesh
    rules: tuple[tuple[str, str | tuple[str, ...]], ...]

    def __call__(self, x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
        """Constrains `x`."""
        spec = ArraySpec(shape=x.shape, axes=axes, name="activation")
        return jax.lax.with_sharding_constraint(x, sharding(spec, self.mesh, dict(self.rules)))


@contextlib.contextmanager
def placing(mesh: Mesh, rules: Rules | None = None) -> Iterator[None]:
    """A context in which models place their activations on `mesh`.

    The mesh is JAX's own too inside it, so that functions traced outside are traced anew.
    """
    chosen = default(mesh) if rules is None else rules
    placement = Placement(mesh, tuple(sorted(chosen.items())))
    with jax.set_mesh(mesh), hint.placing(placement):
        yield
