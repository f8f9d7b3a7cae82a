"""One safetensors file, opened strictly and read with `preadv` into buffers of the caller.

A mapped file would count as resident memory, and its pages would be copied once more.
"""

import contextlib
import errno
import mmap
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bridges.header import MAX_HEADER, CheckpointError, TensorInfo, decode, show

_CHUNK = 1 << 30
_ALIGN = 64
_HUGE = 1 << 21


class TensorFile:
    """One open safetensors file, its header already held to the format's rules.

    `names` maps each tensor to its `TensorInfo` in file order, `metadata` is text under text.
    Reads may come from several threads at once. Close it, or use it as a context manager.

    Raises:
        CheckpointError: the file is not a valid safetensors file.
        FileNotFoundError: there is no such file.
        PermissionError: the file may not be read.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._file, size = open_file(self.path)
        try:
            data, payload = _header_bytes(self._file, size, self.path)
            header = decode(data, payload, self.path)
        except BaseException:
            self._file.close()
            raise
        self.names: Mapping[str, TensorInfo] = header.names
        self.metadata: Mapping[str, str] = header.metadata
        self._starts = {name: size - payload + at for name, at in header.starts.items()}

    def read_into(self, name: str, out: Any, start: int = 0) -> None:
        """Fill `out` with the bytes `[start, start + len(out))` of a tensor.

        `out` is a writable, contiguous buffer: a memoryview or an array, taken as bytes.

        Raises:
            KeyError: the file has no tensor of this name.
            ValueError: the range leaves the tensor, or the buffer cannot be filled.
            CheckpointError: the file has become shorter since it was opened.
        """
        nbytes = find(self.names, name, self.path).nbytes
        view = bytes_of(out)
        if not 0 <= start <= start + len(view) <= nbytes:
            raise ValueError(
                f"{self.path}: {name}: asked for bytes {start} to {start + len(view)}, "
                f"expected a range within its {nbytes}; use a smaller buffer"
            )
        fill(self._file, view, self._starts[name] + start, f"{self.path}: {name}")

    def read(self, name: str) -> np.ndarray:
        """Return one whole tensor as a new array, aligned so that JAX on CPU may alias it.

        Raises:
            KeyError: the file has no tensor of this name.
            CheckpointError: the file has become shorter since it was opened.
        """
        info = find(self.names, name, self.path)
        flat = aligned(info.nbytes)
        self.read_into(name, flat)
        return flat.view(info.dtype).reshape(info.shape)

    def close(self) -> None:
        """Close the file; reading from it afterwards is a ValueError."""
        self._file.close()

    def __enter__(self) -> "TensorFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def aligned(nbytes: int) -> np.ndarray:
    """Return an uninitialised uint8 [nbytes] whose first byte lies on a 64-byte boundary.

    A large one is a mapping of its own, in huge pages but for its end: a tenth of the page faults,
    no more memory, and all of it goes back to the system when it is dropped.
    """
    step = _HUGE if nbytes >= _HUGE else _ALIGN
    if step == _ALIGN:
        raw = np.empty(nbytes + step, np.uint8)
    else:
        block = mmap.mmap(-1, nbytes + step, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        raw = np.frombuffer(block, np.uint8)
    offset = -raw.ctypes.data % step
    if step == _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            block.madvise(mmap.MADV_HUGEPAGE, offset, nbytes // step * step)
    return raw[offset : offset + nbytes]


def open_file(path: Path) -> tuple[Any, int]:
    """Return a regular file, opened unbuffered, and its size in bytes; see `TensorFile`."""
    # Non-blocking, so that a named pipe is refused and not waited for.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: no such file; check the path") from None
    except PermissionError:
        raise PermissionError(f"{path}: may not be read; check its permissions") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CheckpointError(
                f"{path}: found a symbolic link that leads to itself, expected a file; restore it"
            ) from None
        if error.errno == errno.ENAMETOOLONG:
            raise CheckpointError(f"{show(str(path))}: the name is too long; rename it") from None
        raise
    except ValueError as error:
        raise CheckpointError(f"{show(str(path))}: not a file name ({error})") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise CheckpointError(f"{path}: found {kind}, expected a file; check the path")
    return os.fdopen(descriptor, "rb", buffering=0), status.st_size


def _header_bytes(file: Any, size: int, path: Path) -> tuple[bytes, int]:
    if size < 8:
        raise CheckpointError(
            f"{path}: found {size} bytes, expected at least 8; download the file again"
        )
    length = int.from_bytes(read_bytes(file, 8, 0, path), "little")
    if length > MAX_HEADER:
        raise CheckpointError(
            f"{path}: found a header of {length} bytes, expected at most {MAX_HEADER}; "
            "this is not a safetensors file"
        )
    if length > size - 8:
        raise CheckpointError(
            f"{path}: found a header of {length} bytes in a file of {size}, expected it to fit; "
            "download the file again"
        )
    return read_bytes(file, length, 8, path), size - 8 - length


def read_bytes(file: Any, length: int, position: int, where: object) -> bytes:
    """Return `length` bytes of a file from `position` on."""
    data = bytearray(length)
    fill(file, memoryview(data), position, where)
    return bytes(data)


def fill(file: Any, view: memoryview, position: int, where: object) -> None:
    """Fill a buffer with the bytes of a file from `position` on."""
    done = 0
    while done < len(view):
        count = os.preadv(file.fileno(), [view[done : done + _CHUNK]], position + done)
        if count == 0:
            raise CheckpointError(
                f"{where}: the file ended {len(view) - done} bytes early while it was read; "
                "leave it alone meanwhile, or download it again"
            )
        done += count


def bytes_of(out: Any) -> memoryview:
    """Return the bytes of a buffer, or of an array, to be written to."""
    array = out if isinstance(out, np.ndarray) else np.asarray(memoryview(out))
    if not (array.flags.c_contiguous and array.flags.writeable):
        raise ValueError("out: the buffer to read into must be contiguous and writable")
    return array.reshape(-1).view(np.uint8).data


def find(names: Mapping[str, Any], name: str, path: Path) -> Any:
    """Return `names[name]`, or raise a KeyError that says which checkpoint lacks it."""
    if name not in names:
        raise KeyError(f"{path}: has no tensor {show(name)} among its {len(names)}")
    return names[name]
