"""Whether arrays fit the memory of the devices that they are for, asked before they are made."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from zoo import spec
from zoo.spec import Tree

UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB", "EB")


def check(
    specs: Tree,
    dtype: Any,
    *,
    where: str,
    what: str = "the parameters",
    mesh: jax.sharding.Mesh | None = None,
) -> None:
    """Refuses declared arrays that no device here could hold; under `jax.eval_shape` nothing.

    Raises:
      ValueError: they take more bytes than there are.
    """
    need = sum(s.size * s.held(dtype).itemsize for s in spec.leaves(specs))
    if need < 1 << 30 or isinstance(jnp.zeros(()), Tracer):
        return
    have = available(mesh)
    if have is not None and need > have:
        raise ValueError(
            f"{where}: {what} would take {_short(need)} as {np.dtype(dtype).name}, found "
            f"{_short(have)} of memory; choose a smaller size or a narrower dtype"
        )


def available(mesh: jax.sharding.Mesh | None = None) -> int | None:
    """Bytes of memory of the default device or of a mesh, None where that is not known."""
    devices = list(mesh.devices.flat) if mesh is not None else jax.devices()[:1]
    if devices[0].platform == "cpu":  # all of them share the machine's
        if (mesh is not None and jax.process_count() > 1) or not hasattr(os, "sysconf"):
            return None
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    here = [d for d in devices if d.process_index == jax.process_index()]
    stats = here[0].memory_stats() if here else None
    limit = (stats or {}).get("bytes_limit")
    return None if limit is None else limit * len(devices)


def _short(size: float) -> str:
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:.3g} {unit}"
