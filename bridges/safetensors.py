"""Safetensors checkpoints, read strictly and written as a stream, one tensor at a time.

A file is an unsigned 64-bit little-endian length, a JSON header of that many bytes, and the
tensors' bytes without gaps. A sharded checkpoint is a `*.safetensors.index.json` whose
`weight_map` says which file holds which tensor.

Bytes are read with `preadv` into buffers that the caller owns: a mapped file counts as resident
memory, and its pages are copied once more. Headers are held to the format's rules before any
tensor is touched; what breaks them is a `CheckpointError` and never a partial result.
"""

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from bridges.header import CheckpointError, TensorInfo, describe, encode, show
from bridges.index import NAME, find_weights, open_shards
from bridges.tensorfile import TensorFile, aligned, find

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "TensorFile",
    "TensorInfo",
    "aligned",
    "write",
]

FOR_TORCH: Mapping[str, str] = MappingProxyType({"format": "pt"})
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_CHUNK = 1 << 30


class Described(Protocol):
    """What has a dtype and a shape: a `TensorInfo`, an array, a `jax.ShapeDtypeStruct`."""

    @property
    def dtype(self) -> Any:
        """Anything that `numpy.dtype` accepts."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        ...


Tensors = Iterable[tuple[str, Described, Callable[[], Any]]]
Part = tuple[str, Callable[[], bytes | memoryview]]


class Checkpoint:
    """The tensors of one file, or of an index and its shards, under one namespace.

    `names`, `metadata`, `read_into`, `read` and `close` are those of a `TensorFile`; `files` are
    the open shards. Every shard's header is checked when the checkpoint is opened, so that a
    broken shard is found before memory is spent; tensors' bytes are read when they are asked for.
    """

    def __init__(self, path: Path, files: Mapping[str, TensorFile]):
        self.path, self.files = path, files
        self._owners = {name: file for file in files.values() for name in file.names}
        self.names: Mapping[str, TensorInfo] = MappingProxyType(
            {name: file.names[name] for name, file in self._owners.items()}
        )
        self.metadata: Mapping[str, str] = MappingProxyType(
            {key: text for file in files.values() for key, text in file.metadata.items()}
        )

    @classmethod
    def open(cls, path: str | os.PathLike, *, variant: str | None = None) -> "Checkpoint":
        """Open a safetensors file, an index, or the folder that holds one of them.

        In a folder, `model.safetensors` comes before `model.safetensors.index.json`; `variant`
        ("fp16") selects `model.fp16.safetensors` or `model.safetensors.index.fp16.json`. Names in
        an index must be relative paths below its folder; the files there may be symbolic links,
        because that is how the Hub's cache lays out a snapshot.

        Raises:
            CheckpointError: a file breaks the rules of its format, or a shard is missing.
            FileNotFoundError: there is no checkpoint at the path.
            PermissionError: a file may not be read.
        """
        path = find_weights(Path(path), variant)
        if path.suffix != ".json":
            return cls(path, {path.name: TensorFile(path)})
        return cls(path, open_shards(path))

    def read_into(self, name: str, out: Any, start: int = 0) -> None:
        """Fill `out` with bytes of a tensor, as `TensorFile.read_into` does."""
        find(self._owners, name, self.path).read_into(name, out, start)

    def read(self, name: str) -> np.ndarray:
        """Return one whole tensor, as `TensorFile.read` does."""
        return find(self._owners, name, self.path).read(name)

    def close(self) -> None:
        """Close every file; reading afterwards is a ValueError."""
        for file in self.files.values():
            file.close()

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write(
    folder: str | os.PathLike,
    tensors: Tensors,
    *,
    max_shard_size: int | str = "50GB",
    metadata: Mapping[str, str] = FOR_TORCH,
    name: str = NAME,
) -> tuple[str, ...]:
    """Write tensors to a safetensors file, or to shards with an index; return the files' names.

    Each tensor is `(name, dtype and shape, load)`; `load` is called once, when its turn to be
    written has come, so that one tensor at a time is in memory. Shards are filled in the order
    given; within a file tensors stand where the format's reference implementation puts them. A
    tensor larger than `max_shard_size` (bytes, or "5GB") has a shard to itself. Equal tensors
    give equal files. What already exists is never written over, and what was written of a failed
    call is removed.

    Raises:
        ValueError: a name occurs twice, a dtype does not exist in the format, or `load` returned
            another dtype or shape than announced.
        FileExistsError: one of the files exists.
        OSError: a file cannot be written, for example because the disk is full.
    """
    infos: dict[str, TensorInfo] = {}
    loads: dict[str, Callable[[], Any]] = {}
    for tensor, like, load in tensors:
        if tensor in infos:
            raise ValueError(f"{tensor}: is given twice, expected once; rename one of them")
        infos[tensor], loads[tensor] = describe(tensor, like.dtype, like.shape), load
    shards = _split(infos, _bytes(max_shard_size))
    stem, suffix = os.path.splitext(name)
    files = [f"{stem}-{i + 1:05}-of-{len(shards):05}{suffix}" for i in range(len(shards))]
    files = files if len(shards) > 1 else [name]
    written: list[Path] = []
    try:
        for file, shard in zip(files, shards, strict=True):
            header, order = encode({tensor: infos[tensor] for tensor in shard}, metadata)
            parts: list[Part] = [("the header", partial(bytes, header))]
            parts += [(t, partial(_load, t, infos[t], loads[t])) for t in order]
            _write_file(Path(folder, file), parts, written)
        if len(shards) > 1:
            files.append(f"{name}.index.json")
            parts = [("the index", partial(_index, infos, dict(zip(files, shards, strict=False))))]
            _write_file(Path(folder, files[-1]), parts, written)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return tuple(files)


def _bytes(size: int | str) -> int:
    match = re.fullmatch(r"(\d+) ?([KMGT]?B|)", str(size).upper())
    if isinstance(size, bool) or not match or not int(match[1]):
        raise ValueError(
            f"max_shard_size: found {show(size)}, expected bytes or a size such as '5GB'"
        )
    return int(match[1]) * _UNITS[match[2]]


def _split(infos: Mapping[str, TensorInfo], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, info in infos.items():
        if shards[-1] and filled + info.nbytes > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += info.nbytes
    return shards


def _index(infos: Mapping[str, TensorInfo], shards: Mapping[str, list[str]]) -> bytes:
    index = {
        "metadata": {
            "total_parameters": sum(math.prod(info.shape) for info in infos.values()),
            "total_size": sum(info.nbytes for info in infos.values()),
        },
        "weight_map": {name: file for file, names in shards.items() for name in names},
    }
    return (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()


def _load(name: str, info: TensorInfo, load: Callable[[], Any]) -> memoryview:
    array = np.asarray(load())
    if (array.dtype, array.shape) != (info.dtype, info.shape):
        raise ValueError(
            f"{name}: found {array.dtype} {array.shape}, expected {info.dtype} {info.shape} as "
            "announced; check what loads it"
        )
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _write_file(path: Path, parts: Iterable[Part], written: list[Path]) -> None:
    with open(path, "xb", buffering=0) as file:
        written.append(path)
        for what, load in parts:
            _write_all(file, load(), f"{path}: {what}")


def _write_all(file: Any, data: bytes | memoryview, where: str) -> None:
    view, done = memoryview(data), 0
    while done < len(view):
        try:
            done += file.write(view[done : done + _CHUNK])
        except OSError as error:
            reason = f"{where}: {error.strerror} after {done} of {len(view)} bytes; free some space"
            raise OSError(error.errno, reason) from error
