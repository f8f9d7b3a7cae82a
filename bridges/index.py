"""The index of a sharded checkpoint: which file holds which tensor, believed once it is checked."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridges.header import MAX_HEADER, CheckpointError, parse, refuse, show
from bridges.tensorfile import TensorFile, open_file, read_bytes

NAME = "model.safetensors"


def find_weights(path: Path, variant: str | None) -> Path:
    """Return the file or the index that a path or a folder stands for.

    Raises:
        FileNotFoundError: the folder holds neither.
        ValueError: the variant is not a word.
    """
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


def read_index(path: Path) -> dict[str, str]:
    """Return the `weight_map` of an index: under each tensor's name, its file below the folder.

    The indices of `pytorch_model.bin` and of the Flax and TensorFlow formats are the same.

    Raises:
        CheckpointError: it is not a valid index, or it names a path outside its folder.
        FileNotFoundError: there is no such file.
    """
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
    return len(shard.encode()) < 256 and not {"", ".", ".."} & set(shard.split("/"))


def open_shards(index: Path) -> dict[str, TensorFile]:
    """Return the open shards of an index, which agree with it.

    Raises:
        CheckpointError: the index or a shard is broken, a shard is missing, a tensor is not in its
            shard, or it is in two.
    """
    weight_map = read_index(index)
    files: dict[str, TensorFile] = {}
    try:
        _open_all(index, weight_map, files)
        check_index(index, weight_map, files)
    except BaseException:
        for file in files.values():
            file.close()
        raise
    return files


def _open_all(index: Path, weight_map: Mapping[str, str], files: dict[str, TensorFile]) -> None:
    missing = []
    for shard in sorted(set(weight_map.values())):
        try:
            files[shard] = TensorFile(index.parent / shard)
        except FileNotFoundError:
            missing.append(f"the shard {shard} is missing")
    refuse(index, missing, "download what is missing, or the whole folder again")


def check_index(index: Path, weight_map: Mapping[str, str], files: Mapping[str, Any]) -> None:
    """Refuse an index that does not say what its shards hold."""
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
