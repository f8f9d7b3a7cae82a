"""From a folder, a repository or a config to a model."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bridges import checkpoint, hub, legacy, quantised, safetensors
from bridges import config as configs
from bridges.header import CheckpointError, named, show
from bridges.repository import COMPANIONS, Origin, generation, licence, pooling
from sharding import rules as sharding_rules
from zoo import matching, memory, registry, spec
from zoo.errors import UnknownNameError
from zoo.forward import Forward
from zoo.model import Model
from zoo.spec import Tree

log = logging.getLogger("zoo")
LAYERS = ("loop", "stacked")


def from_pretrained(
    repo: str | os.PathLike,
    *,
    task: str | None = None,
    dtype: Any = None,
    mesh: Any = None,
    rules: Any = None,
    layers: str = "loop",
    config: Mapping[str, Any] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
    variant: str | None = None,
    check_finite: bool = False,
    seed: int = 0,
    progress: bool | None = None,
) -> Model:
    """Loads a model from a local folder or the Hub, without torch where the files allow it.

    Reads safetensors, or else `pytorch_model.bin` (needs torch), `flax_model.msgpack` or
    `tf_model.h5`, single or sharded.

    Args:
      repo: a folder or a repository id.
      task: one of `zoo.tasks.NAMES`; the task of the checkpoint's own class if None. A head that
        the checkpoint lacks is drawn at random, which is said.
      dtype: of the parameters. None keeps the stored dtype, except on CPU, where half precision is
        widened to float32 because XLA has no fast half-precision products there, and float64 is
        rounded to float32 unless `jax_enable_x64` is set.
      mesh: devices to spread the parameters over.
      rules: logical axes -> mesh axes; derived from the mesh if None.
      layers: "loop", or "stacked" for scanned layers that compile in constant time.
      config: keys of `config.json` to replace, such as `{"num_labels": 5}`.
      revision: branch, tag or commit.
      token: of the Hub; that of the login if None.
      cache_dir: of downloads.
      local_files_only: never touch the network.
      variant: `"fp16"` for `model.fp16.safetensors` and the like.
      check_finite: refuse weights that are infinite or not a number.
      seed: for heads that the checkpoint lacks.
      progress: bars for downloads and reading; None shows them on a terminal.

    Raises:
      FileNotFoundError: no such folder, repository, revision or weights.
      PermissionError: no access.
      KeyError: an unsupported `model_type` or task, tensors missing or unknown.
      ValueError: a key of the config that is not understood, a broken file, a wrong shape or dtype.
      ConnectionError: the Hub cannot be reached.
    """
    _check_layers(layers)
    key = _key(seed)
    where: dict[str, Any] = {
        "revision": revision,
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
    }
    bars = sys.stderr.isatty() if progress is None else progress
    folder = hub.snapshot(repo, ["config.json", *COMPANIONS], progress=bars, **where)
    raw = configs.read(folder) | configs.plain({} if config is None else config, where="config")
    forward = _forward(raw, task, where=f"{folder / 'config.json'}")
    if forward.task.name == "feature-extraction":
        forward = forward._replace(pooling=pooling(folder))
    weights = hub.weights_files(repo, variant=variant, **where)
    folder = hub.snapshot(repo, weights.files, progress=bars, **where)
    with _open(folder / weights.main, weights.format) as file:
        source = quantised.dequantised(file, raw.get("quantization_config"))
        forward, names = matching.resolve(forward, source, str(repo))
        dtypes = {name: source.names[at].dtype for name, at in names.found.items()}
        stored = checkpoint.common_dtype(source.names[at] for at in names.found.values())
        specs = forward.task.specs(forward.config, layers=_build(layers))
        kind = _dtype(dtype, stored)
        memory.check(specs, kind, where=str(repo), mesh=mesh)
        params = _read(
            specs,
            source,
            names,
            dtype=kind,
            place=_placing(mesh, rules),
            draw=lambda some, kind: spec.init(key, some, dtype=kind, std=_std(forward.config)),
            bars=bars,
        )
    own = {name for s in spec.leaves(specs) if s.dtype is not None for name in s.names}
    _report(forward, names, str(repo))
    if check_finite:
        _check_finite(specs, params, str(repo))
    origin = Origin(
        raw=configs.text(raw),
        generation=generation(folder),
        repo="" if hub.is_local(repo) else str(repo),
        folder=str(folder),
        commit=hub.commit_of(folder),
        licence=licence(folder),
        dtype=stored.name if dtype is None else "",
        dtypes=tuple(
            (name, kind.name)
            for name, kind in sorted(dtypes.items())
            if name in own or (dtype is None and kind != stored)
        ),
    )
    return Model(params=params, forward=forward, layers=layers, origin=origin)


def from_config(
    config: Any,
    *,
    task: str | None = None,
    seed: int = 0,
    dtype: Any = None,
    mesh: Any = None,
    rules: Any = None,
    layers: str = "loop",
) -> Model:
    """A model with random weights.

    Args:
      config: keys of a `config.json`, the path of one or of its folder, or a `Config`.
      task: one of `zoo.tasks.NAMES`; that of the config's `architectures` if None.
      seed: of the weights; each depends on the seed and its own name only.
      dtype: of the parameters, float32 if None.
      mesh: devices to spread the parameters over.
      rules: logical axes -> mesh axes; derived from the mesh if None.
      layers: "loop" or "stacked".

    Raises:
      FileNotFoundError: no such config.
      KeyError: an unsupported `model_type` or task.
      ValueError: a key of the config that is not understood, a dtype that no weights have, more
        parameters than fit the memory.
    """
    _check_layers(layers)
    key, kind = _key(seed), _dtype(dtype, np.dtype(np.float32))
    raw, where = _raw(config)
    forward = _forward(raw, task, where=where)
    specs = forward.task.specs(forward.config, layers=_build(layers))
    memory.check(specs, kind, where=where, mesh=mesh)
    params = spec.init(key, specs, dtype=kind, std=_std(forward.config))
    if place := _placing(mesh, rules):
        params = spec.tree_map(place, specs, params)
    origin = Origin(raw=configs.text(raw))
    return Model(params=params, forward=forward, layers=layers, origin=origin)


def _raw(given: Any) -> tuple[dict[str, Any], str]:
    if isinstance(given, Mapping):
        return configs.plain(given, where="config"), "config"
    if not isinstance(given, str | os.PathLike):
        kinds = [k for k, m in registry.MODULES.items() if m == type(given).__module__]
        if not kinds:
            raise ValueError(
                f"config: found {type(given).__name__}, expected keys, a path, or the Config of an "
                f"architecture; pass one of them"
            )
        return configs.dump(registry.architecture(kinds[0]), given, {}, {}), "config"
    return configs.read(Path(given)), str(given)


def _forward(raw: Mapping[str, Any], task: str | None, *, where: str) -> Forward:
    if "model_type" not in raw:
        raise UnknownNameError(
            f"{where}: has no model_type; add it, one of {', '.join(registry.MODULES)}"
        )
    arch = registry.architecture(raw["model_type"])
    classes = raw.get("architectures")
    classes = [] if classes is None else classes
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(
            f"{where}: architectures: found {show(classes)}, expected a list of names; correct it"
        )
    chosen = registry.choose(arch, classes, task)
    parsed = configs.parse(arch, raw, where=where)
    return Forward(arch.model_type, chosen.class_name, parsed)


def _check_layers(layers: str) -> None:
    if layers not in LAYERS:
        raise ValueError(f"layers: found {layers!r}, expected {' or '.join(LAYERS)}")


def _key(seed: Any) -> jax.Array:
    if not isinstance(seed, int | np.integer) or not -(2**31) <= seed < 2**32:
        raise ValueError(f"seed: found {show(seed)}, expected a whole number of 32 bits")
    return jax.random.key(seed)


def _build(layers: str) -> Any:
    from zoo.layers import stack

    return getattr(stack, layers)


def _std(config: Any) -> float:
    return getattr(config, "initializer_range", 0.02)


def _dtype(wanted: Any, stored: np.dtype) -> np.dtype:
    if wanted is None:
        narrow = stored in checkpoint.HALF and jax.default_backend() == "cpu"
        wide = stored == np.float64 and not jax.config.read("jax_enable_x64")
        return np.dtype(np.float32) if narrow or wide else stored
    kind = checkpoint.float_dtype(wanted)
    if kind == np.float64 and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            "dtype: found float64, which JAX has only with jax_enable_x64; set it, or use 'float32'"
        )
    return kind


@contextmanager
def _open(path: Path, kind: str) -> Iterator[checkpoint.Source]:
    if path.is_dir():
        raise CheckpointError(f"{path}: found a directory, expected a file; check the folder")
    opened = (
        safetensors.Checkpoint.open(path) if kind == "safetensors" else legacy.open_checkpoint(path)
    )
    with opened as source:
        yield source


def _read(
    specs: Tree,
    source: checkpoint.Source,
    names: checkpoint.Names,
    *,
    dtype: np.dtype,
    place: Callable | None,
    draw: Callable,
    bars: bool,
) -> Tree:
    """Reads what the checkpoint has, and draws the heads that it lacks."""
    flat, structure = jax.tree.flatten(specs, is_leaf=spec.is_spec)
    stored = [s for s in flat if all(name in names.found for name in s.names)]
    total = sum(s.size for s in stored) * dtype.itemsize
    with _bar(total, bars) as progress:
        read = checkpoint.load(
            stored, source, names.found, dtype=dtype, place=place, progress=progress
        )
    ready = iter(read)
    put = place or (lambda s, x: x)
    out = [
        next(ready) if all(name in names.found for name in s.names) else put(s, draw(s, dtype))
        for s in flat
    ]
    return jax.tree.unflatten(structure, out)


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[int], None] | None]:
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, TransferSpeedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("Reading weights", total=total)
        yield lambda size: bar.update(task, advance=size)


def _placing(mesh: Any, rules: Any) -> Callable | None:
    if mesh is None:
        return None
    if not isinstance(mesh, jax.sharding.Mesh):
        raise ValueError(f"mesh: found {type(mesh).__name__}, expected what sharding.mesh returns")
    chosen = sharding_rules.default(mesh) if rules is None else rules
    return lambda s, x: jax.device_put(x, sharding_rules.sharding(s, mesh, chosen))


def _report(forward: Forward, names: checkpoint.Names, where: str) -> None:
    if names.new:
        log.warning(
            "%s: %d tensors of %s are not in the checkpoint and were drawn at random (%s); train "
            "them before use", where, len(names.new), forward.class_name, _some(names.new),
        )  # fmt: skip
    if names.unused:
        log.info(
            "%s: %d tensors of the checkpoint are not used by %s (%s)",
            where, len(names.unused), forward.class_name, _some(names.unused),
        )  # fmt: skip


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(map(named, names[:3])) + (", ..." if len(names) > 3 else "")


def _check_finite(specs: Tree, params: Tree, where: str) -> None:
    bad = [
        s.names[0]
        for s, x in zip(spec.leaves(specs), jax.tree.leaves(params), strict=True)
        if not bool(jnp.isfinite(x).all())
    ]
    if bad:
        raise ValueError(
            f"{where}: {len(bad)} tensors hold infinite or undefined values, first: "
            f"{', '.join(bad[:3])}; download the weights again or load without check_finite"
        )
