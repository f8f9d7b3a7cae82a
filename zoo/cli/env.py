"""`zoo env`: what a bug report needs."""

import os
import platform
import sys
from importlib import metadata
from typing import Any

from rich.text import Text

from zoo.cli.console import DIM, NAME, dump, facts, out, size, table

OURS = "jax-zoo"
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "safetensors",
    "huggingface_hub",
    "tokenizers",
    "Pillow",
    "torch",
    "tensorflow",
    "transformers",
    "h5py",
    "sentencepiece",
)
VARIABLES = (
    "JAX_PLATFORMS",
    "XLA_FLAGS",
    "JAX_ENABLE_X64",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
)


def show(json: bool) -> None:
    """Shows versions, devices and memory."""
    found = describe()
    if json:
        dump(found)
        return
    console, machine = out(), found["machine"]
    memory = machine["memory"]
    console.print(
        facts(
            [
                ("zoo", found["zoo"]),
                ("python", f"{machine['python']}, {machine['executable']}"),
                ("platform", machine["platform"]),
                ("processors", machine["processors"]),
                ("memory", memory and f"{size(memory)}, {size(machine['free'] or 0)} free"),
                *((name, value) for name, value in found["variables"].items()),
            ]
        )
    )
    versions = table("package", "version")
    for name, version in found["packages"].items():
        versions.add_row(Text(name, NAME), version or Text("not installed", DIM))
    console.print()
    console.print(versions)
    console.print()
    if found["error"]:
        console.print(Text(f"no devices: {found['error']}", "yellow"))
        return
    devices = table(
        "device",
        "kind",
        "platform",
        ("memory", {"justify": "right"}),
        ("in use", {"justify": "right"}),
    )
    for device in found["devices"]:
        total, used = device["memory"], device["used"]
        devices.add_row(
            Text(str(device["id"]), NAME),
            device["kind"],
            device["platform"],
            size(total) if total else Text("—", DIM),
            size(used) if used is not None else Text("—", DIM),
        )
    console.print(devices)


def describe() -> dict[str, Any]:
    """Everything that is shown, as plain values; what cannot be found out is None."""
    from zoo import __version__

    devices, error = _devices()
    return {
        "zoo": __version__,
        "machine": {
            "python": platform.python_version(),
            "executable": sys.executable,
            "platform": platform.platform(),
            "processors": os.cpu_count(),
            "memory": _memory("SC_PHYS_PAGES"),
            "free": _memory("SC_AVPHYS_PAGES"),
        },
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": devices,
        "error": error,
    }


def _devices() -> tuple[list[dict[str, Any]], str | None]:
    try:
        import jax

        return [_device(device) for device in jax.devices()], None
    except Exception as error:  # a broken driver must not keep the rest from being shown
        return [], str(error).partition("\n")[0] or type(error).__name__


def _device(device: Any) -> dict[str, Any]:
    try:
        stats = device.memory_stats() or {}
    except Exception:
        stats = {}
    return {
        "id": device.id,
        "kind": device.device_kind,
        "platform": device.platform,
        "memory": stats.get("bytes_limit"),
        "used": stats.get("bytes_in_use"),
    }


def _version(name: str) -> str | None:
    for known in (name, f"{name}-cpu"):
        try:
            return metadata.version(known)
        except metadata.PackageNotFoundError:
            continue
    return None


def _memory(pages: str) -> int | None:
    try:
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
