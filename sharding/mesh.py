"""Meshes from text."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

AXES = ("data", "fsdp", "tensor", "expert", "context", "stage")


def mesh(axes: str, *, devices: Sequence[Any] | None = None) -> Mesh:
    """`"data=4,fsdp=2"` -> a mesh over all devices, or those given.

    One size may be -1: whatever is left.

    Raises:
      ValueError: text of another form, an unknown axis, or sizes that do not multiply to the
        number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes: dict[str, int] = {}
    for part in axes.split(","):
        found = re.fullmatch(r"\s*([a-z]+)\s*=\s*(-1|[1-9]\d*)\s*", part)
        if not found or found[1] in sizes:
            raise ValueError(f"mesh {axes!r}: expected axis=size,axis=size,..., each axis once")
        if found[1] not in AXES:
            raise ValueError(f"mesh {axes!r}: axis {found[1]!r} is none of {', '.join(AXES)}")
        sizes[found[1]] = int(found[2])
    known = math.prod(n for n in sizes.values() if n > 0)
    open_axes = [axis for axis, n in sizes.items() if n < 0]
    if len(open_axes) == 1 and len(devices) % known == 0:
        sizes[open_axes[0]] = len(devices) // known
    if open_axes[1:] or math.prod(sizes.values()) != len(devices):
        raise ValueError(
            f"mesh {axes!r}: does not cover the {len(devices)} devices exactly; change a size or "
            f"leave one at -1"
        )
    grid = np.asarray(devices).reshape(tuple(sizes.values()))
    return Mesh(grid, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
