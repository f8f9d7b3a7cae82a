"""What the three old formats share: files and their index, one namespace, reading by name."""

import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from bridges.header import CheckpointError, TensorInfo, refuse, show
from bridges.index import check_index, read_index
from bridges.legacy.rules import Place
from bridges.legacy.stored import Stored, copy_bytes
from bridges.tensorfile import aligned, bytes_of, find, open_file, read_bytes

Shapes = Mapping[str, tuple[int, ...]]


class Format(NamedTuple):
    """One way to store weights: the file's usual name, how to scan it, what names mean.

    `scan(path, file, size, expected)` returns the tensors of an open file under the names that
    the framework gave them; `expected` are the names that an index places in it, or None.
    `places(shapes)` says what these are on the Hub. `needs` is a package that scanning imports,
    and the extra of this project that installs it.
    """

    name: str
    scan: Callable[[Path, Any, int, list[str] | None], Mapping[str, Stored]]
    places: Callable[[Shapes], Mapping[str, Place]]
    needs: tuple[str, str] | None


class Shard(NamedTuple):
    """One open file and its tensors under the framework's names."""

    path: Path
    file: Any
    names: Mapping[str, Stored]


class LegacyCheckpoint:
    """The tensors of one old file, or of an index and its shards, in the Hub's PyTorch layout.

    `names` maps each tensor's Hub name to its dtype, Hub shape and size; `sources` maps it to the
    name that the framework gave it. Opening reads what describes the tensors; their bytes are read
    when they are asked for, by `read` and `read_into`, also from several threads at once. Close
    it, or use it as a context manager.
    """

    def __init__(self, path: Path, shards: list[Shard], form: Format):
        self.path, self._shards = path, shards
        owners = {name: shard for shard in shards for name in shard.names}
        shapes = {name: shard.names[name].info.shape for name, shard in owners.items()}
        places = form.places(shapes)
        self._tensors: dict[str, tuple[Shard, Stored]] = {}
        problems, sources = [], {}
        for source, place in places.items():
            if sources.setdefault(place.name, source) != source:
                problems.append(f"{show(sources[place.name])} and {show(source)} are both "
                                f"{show(place.name)}")  # fmt: skip
            shard = owners[source]
            self._tensors[place.name] = shard, shard.names[source].arranged(place.axes)
        refuse(path, problems, "expected one tensor for each name; ask its author")
        self.sources: Mapping[str, str] = MappingProxyType(sources)
        self.names: Mapping[str, TensorInfo] = MappingProxyType(
            {name: tensor.info for name, (_, tensor) in self._tensors.items()}
        )

    def read_into(self, name: str, out: Any, start: int = 0) -> None:
        """Fill `out` with the bytes `[start, start + len(out))` of a tensor in its Hub layout.

        `out` is a writable, contiguous buffer. A range of a tensor that is stored transposed is
        gathered from all over it: ask for such a tensor whole, or for many rows at a time.

        Raises:
            KeyError: the checkpoint has no tensor of this name.
            ValueError: the range leaves the tensor, or the buffer cannot be filled.
            CheckpointError: the file has become shorter since it was opened.
        """
        shard, tensor = find(self._tensors, name, self.path)
        view, nbytes = bytes_of(out), tensor.info.nbytes
        if not 0 <= start <= start + len(view) <= nbytes:
            raise ValueError(
                f"{shard.path}: {name}: asked for bytes {start} to {start + len(view)}, "
                f"expected a range within its {nbytes}; use a smaller buffer"
            )
        copy_bytes(shard.file, tensor, view, start, f"{shard.path}: {name}")

    def read(self, name: str) -> np.ndarray:
        """Return one whole tensor as a new array, aligned so that JAX on CPU may alias it.

        Raises:
            KeyError: the checkpoint has no tensor of this name.
            CheckpointError: the file has become shorter since it was opened.
        """
        info = find(self.names, name, self.path)
        flat = aligned(info.nbytes)
        self.read_into(name, flat)
        return flat.view(info.dtype).reshape(info.shape)

    def close(self) -> None:
        """Close every file; reading afterwards is a ValueError."""
        for shard in self._shards:
            shard.file.close()

    def __enter__(self) -> "LegacyCheckpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(path: Path, form: Format) -> LegacyCheckpoint:
    """Open a file of one format, or the index of its shards.

    Raises:
        CheckpointError: a file breaks the rules of its format, or a shard is missing.
        ValueError: the package that reads the format is not installed.
        FileNotFoundError: there is no file at the path.
        PermissionError: a file may not be read.
    """
    with ExitStack() as stack:
        if path.suffix == ".json":
            shards = _shards(path, form, stack)
        else:
            shards = [_shard(path, form, None, stack)]
        checkpoint = LegacyCheckpoint(path, shards, form)
        stack.pop_all()
        return checkpoint


def is_missing(form: Format) -> bool:
    """Return whether the package that reads a format is not installed."""
    return form.needs is not None and importlib.util.find_spec(form.needs[0]) is None


def _shards(index: Path, form: Format, stack: ExitStack) -> list[Shard]:
    placed: dict[str, list[str]] = {}
    weight_map = read_index(index)
    for name, file in weight_map.items():
        placed.setdefault(file, []).append(name)
    missing = [
        f"the shard {file} is missing"
        for file in sorted(placed)
        if not os.path.lexists(index.parent / file)
    ]
    refuse(index, missing, "download what is missing, or the whole folder again")
    shards = {
        file: _shard(index.parent / file, form, placed[file], stack) for file in sorted(placed)
    }
    check_index(index, weight_map, shards)
    return list(shards.values())


def _shard(path: Path, form: Format, expected: list[str] | None, stack: ExitStack) -> Shard:
    if is_missing(form):
        package, extra = form.needs or ("", "")
        raise ValueError(
            f"{path}: reading this format needs {package}, which is not installed; "
            f'run: pip install "jax-zoo[{extra}]"'
        )
    file, size = open_file(path)
    stack.callback(file.close)
    head = read_bytes(file, min(size, 64), 0, path)
    if re.match(rb"version https://git-lfs", head):
        raise CheckpointError(
            f"{path}: found a Git LFS pointer, expected the weights; run `git lfs pull`"
        )
    names = form.scan(path, file, size, expected)
    if not names:
        raise CheckpointError(f"{path}: holds no tensors, expected at least one; download it again")
    return Shard(path, file, names)
