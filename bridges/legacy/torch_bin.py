"""`pytorch_model.bin`: a state dict, unpickled by torch with `weights_only=True` and never else.

Torch reads what describes the tensors; their bytes stay in the file until they are asked for. A
zip archive (since torch 1.6) is loaded onto the device `meta`, and its directory says where each
storage lies. An older file is handed to torch through a `_Skipping` file, which leaves storages
unread and remembers where they are.
"""

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bridges.header import CheckpointError, refuse, show
from bridges.legacy.checkpoint import Format, Shapes
from bridges.legacy.rules import Place
from bridges.legacy.stored import BY_NAME, Stored, stored
from bridges.tensorfile import read_bytes

_ZIP = b"PK\x03\x04"
_SMALL = 1 << 12
_ADVICE = "download it again, or ask its author for safetensors"

# A storage's place: its first byte in the file and its length, or None if it is not there.
Find = Callable[[Any], tuple[int, int] | None]


def scan(path: Path, file: Any, size: int, expected: list[str] | None) -> Mapping[str, Stored]:
    """Return the tensors of a state dict.

    Raises:
        CheckpointError: torch refuses the file, or it holds something else than dense tensors.
        ValueError: the installed torch is too old to leave the tensors' bytes in the file.
    """
    if read_bytes(file, min(size, 4), 0, path) == _ZIP:
        state, find = _load_zip(path, file, size)
    else:
        state, find = _load_old(path, file, size)
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: found {type(state).__name__}, expected tensors by name")
    found: dict[str, Stored] = {}
    problems = []
    for name, value in state.items():
        try:
            found[name] = _tensor(value, find, size)
        except _Unusable as problem:
            problems.append(f"{show(name)}: {problem}")
    wrong = [f"found the name {show(name)}" for name in state if not isinstance(name, str)]
    refuse(path, wrong + problems, _ADVICE)
    return found


def _load_zip(path: Path, file: Any, size: int) -> tuple[Any, Find]:
    records = _records(path, file, size)
    state = _load(path, os.fspath(path), "meta")

    def find(storage: Any) -> tuple[int, int] | None:
        start = getattr(storage, "_checkpoint_offset", None)
        if start is None:
            raise ValueError(
                f"{path}: reading this format needs torch 2.11 or newer; "
                'run: pip install --upgrade "jax-zoo[torch]"'
            )
        return (start, records[start]) if start in records else None

    return state, find


def _load_old(path: Path, file: Any, size: int) -> tuple[Any, Find]:
    source = _Skipping(file, size, path)
    state = _load(path, source, "cpu")

    def find(storage: Any) -> tuple[int, int] | None:
        start = source.starts.get(storage.data_ptr())
        return None if start is None else (start, size - start)

    return state, find


def _load(path: Path, source: Any, device: str) -> Any:
    import torch

    try:
        return torch.load(source, map_location=device, weights_only=True)
    except Exception as error:  # whatever a hostile pickle makes torch's unpickler raise
        text = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: torch refuses it with weights_only=True ({type(error).__name__}: "
            f"{show(text)}), expected tensors by name; {_ADVICE}"
        ) from None


def _records(path: Path, file: Any, size: int) -> dict[int, int]:
    """Return the length of each storage's record by its first byte in the file."""
    records = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise zipfile.BadZipFile(f"{show(entry.filename)} is compressed")
                if entry.filename.endswith("/byteorder") and archive.read(entry) != b"little":
                    raise zipfile.BadZipFile("its numbers are not little-endian")
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: not an archive of torch ({error}); {_ADVICE}") from None
    for entry in entries:
        if entry.header_offset > size - 30:
            raise CheckpointError(f"{path}: {show(entry.filename)} lies outside; {_ADVICE}")
        header = read_bytes(file, 30, entry.header_offset, path)
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        records[entry.header_offset + 30 + names] = entry.file_size
    return records


class _Unusable(Exception):
    pass


def _tensor(value: Any, find: Find, size: int) -> Stored:
    import torch

    if not isinstance(value, torch.Tensor):
        raise _Unusable(f"found {type(value).__name__}, expected a tensor")
    dtype = BY_NAME.get(str(value.dtype).removeprefix("torch."))
    if dtype is None or value.layout != torch.strided or value.is_conj() or value.is_neg():
        raise _Unusable(f"found a tensor of {value.dtype}, {value.layout}, expected a plain one")
    tensor = stored(dtype, value.shape, ())._replace(strides=tuple(value.stride()))
    nbytes = tensor.reach() * dtype.itemsize
    if not nbytes:
        return tensor
    storage = value.untyped_storage()
    place = find(storage)
    first = value.storage_offset() * dtype.itemsize
    if place is None or first + nbytes > min(storage.nbytes(), place[1], size - place[0]):
        raise _Unusable("its bytes are not in the file")
    if tensor.info.nbytes > size:
        raise _Unusable(f"repeats its elements to {tensor.info.nbytes} bytes, more than the file")
    return tensor._replace(extents=((place[0] + first, nbytes),))


class _Skipping(io.RawIOBase):
    """A file whose `readinto` skips what is large; `starts` maps buffers' addresses to places."""

    def __init__(self, file: Any, size: int, path: Path):
        self._from, self._size, self._path, self._at = file, size, path, 0
        self.starts: dict[int, int] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        length = left if size is None or size < 0 else min(size, left)
        data = read_bytes(self._from, length, self._at, self._path)
        self._at += length
        return data

    def readinto(self, buffer: Any) -> int:
        out = np.frombuffer(buffer, np.uint8)
        length = min(len(out), max(0, self._size - self._at))
        self.starts[out.ctypes.data] = self._at
        if length <= _SMALL:
            out[:length] = np.frombuffer(self.read(length), np.uint8)
        else:
            self._at += length
        return length


def _same(shapes: Shapes) -> dict[str, Place]:
    return {name: Place(name, tuple(range(len(shape)))) for name, shape in shapes.items()}


FORMAT = Format("pytorch_model.bin", scan, _same, ("torch", "torch"))
