"""Safetensors checkpoints, read strictly and written as a stream, one tensor at a time.

A file is an unsigned 64-bit little-endian length, a JSON header of that many bytes, and the
tensors' bytes without gaps. A sharded checkpoint is a `*.safetensors.index.json` whose
`weight_map` says which file holds which tensor.

Bytes are read with `preadv` into buffers that the caller owns: a mapped file counts as resident
memory, and its pages are copied once more. Headers are held to the format's rules before any
tensor is touched; what breaks them is a `CheckpointError` and never a partial result.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from bridges.header import MAX_HEADER, CheckpointError, TensorInfo, parse, refuse, show
from bridges.tensorfile import TensorFile, aligned, find, open_file, read_bytes

__all__ = ["Checkpoint", "CheckpointError", "TensorFile", "TensorInfo", "aligned"]

NAME = "model.safetensors"


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
        path = _choose(Path(path), variant)
        if path.suffix != ".json":
            return cls(path, {path.name: TensorFile(path)})
        weight_map = _read_index(path)
        files: dict[str, TensorFile] = {}
        try:
            _open_shards(path, weight_map, files)
            _check_index(path, weight_map, files)
        except BaseException:
            for file in files.values():
                file.close()
            raise
        return cls(path, files)

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


def _choose(path: Path, variant: str | None) -> Path:
    if not os.path.isdir(path):
        return path
    if variant is not None and not re.fullmatch(r"[\w-]+", variant):
        raise ValueError(f"variant: found {show(variant)}, expected a word such as 'fp16'")
    suffix = f".{variant}" if variant else ""
    candidates = (f"model{suffix}.safetensors", f"{NAME}.index{suffix}.json")
    for name in candidates:
        if os.path.lexists(path / name):
            return path / name
    raise FileNotFoundError(
        f"{path}: found neither {candidates[0]} nor {candidates[1]}; check the folder"
    )


def _read_index(path: Path) -> dict[str, str]:
    file, size = open_file(path)
    with file:
        if size > MAX_HEADER:
            raise CheckpointError(
                f"{path}: found {size} bytes, expected at most {MAX_HEADER}; this is not an index"
            )
        weight_map = parse(read_bytes(file, size, 0, path), path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"{path}: weight_map: found {show(weight_map)}, expected file names under tensor "
            "names; download the index again"
        )
    outside = [
        f"{show(name)} is said to be in {show(shard)}"
        for name, shard in weight_map.items()
        if not _is_inside(shard)
    ]
    refuse(path, outside, "expected a relative path below the folder; do not trust this index")
    return weight_map


def _is_inside(shard: Any) -> bool:
    if not isinstance(shard, str) or not shard.isprintable() or re.search(r"[\\:]", shard):
        return False
    return not {"", ".", ".."} & set(shard.split("/"))


def _open_shards(index: Path, weight_map: Mapping[str, str], files: dict[str, TensorFile]) -> None:
    missing = []
    for shard in sorted(set(weight_map.values())):
        try:
            files[shard] = TensorFile(index.parent / shard)
        except FileNotFoundError:
            missing.append(f"the shard {shard} is missing")
    refuse(index, missing, "download what is missing, or the whole folder again")


def _check_index(index: Path, weight_map: Mapping[str, str], files: Mapping[str, Any]) -> None:
    problems = [
        f"{show(name)} is not in {shard}"
        for name, shard in weight_map.items()
        if name not in files[shard].names
    ]
    owners: dict[str, str] = {}
    for shard, file in files.items():
        for name in file.names:
            if owners.setdefault(name, shard) != shard:
                problems.append(f"{show(name)} is both in {owners[name]} and in {shard}")
    refuse(index, problems, "expected each tensor in exactly its shard; download the folder again")
