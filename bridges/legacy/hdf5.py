"""HDF5 files in the layout that Keras's files have, read by position and believed only in part.

The HDF5 library does not come to an end with some damaged files, and it follows links out of a
file, so the little that is needed is read here: superblock version 0, groups as symbol tables,
version 1 object headers, attributes of text, and datasets whose elements lie in one piece.
Whatever else HDF5 can do (links, virtual, external, chunked or compressed datasets, user blocks)
is refused, and so is a file whose description is read for more than `MAX_WORK` bytes.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import ml_dtypes
import numpy as np

from bridges.header import MAX_RANK, CheckpointError, show
from bridges.legacy.stored import Stored, stored
from bridges.tensorfile import read_bytes

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_DEPTH = 32
MAX_WORK = 1 << 27
UNDEFINED = 2**64 - 1
_SUPERBLOCK = 96
_DATASPACE, _DATATYPE, _EXTERNAL, _LAYOUT, _FILTERS = 1, 3, 7, 8, 11
_ATTRIBUTE, _CONTINUATION, _SYMBOLS = 12, 16, 17
_INTEGER, _FLOAT, _TEXT, _ENUM, _VARIABLE = 0, 1, 3, 8, 9
# the bits of the sign, of the exponent (position, size) and of the mantissa (position, size)
_FLOATS = {
    bytes((15, 10, 5, 0, 10)): np.dtype("<f2"),
    bytes((15, 7, 8, 0, 7)): np.dtype(ml_dtypes.bfloat16),
    bytes((31, 23, 8, 0, 23)): np.dtype("<f4"),
    bytes((63, 52, 11, 0, 52)): np.dtype("<f8"),
}


class Message(NamedTuple):
    """One message of an object header: its type, its flags, its bytes and where they lie."""

    kind: int
    flags: int
    data: bytes
    at: int


class Hdf5File:
    """An open HDF5 file, of `size` bytes.

    Raises:
        CheckpointError: it is not an HDF5 file, or not in the layout that Keras writes.
    """

    def __init__(self, path: Path, file: Any, size: int):
        self.path, self._file, self._size = path, file, size
        self._children: dict[int, Mapping[str, int]] = {}
        self._heaps: dict[int, Mapping[int, bytes]] = {}
        self._work = 0
        head = self._bytes(0, min(size, _SUPERBLOCK))
        if head[:8] != MAGIC:
            self.refuse("does not begin like an HDF5 file")
        if len(head) < _SUPERBLOCK or head[8] != 0 or head[13:15] != b"\x08\x08":
            self.refuse(f"found superblock version {show(head[8:9])}, expected 0 as Keras writes")
        if _number(head, 24) != 0:
            self.refuse("found a user block, expected none")
        self.root = _number(head, 64)

    def refuse(self, problem: str) -> NoReturn:
        """Raise a CheckpointError that names the file."""
        raise CheckpointError(f"{self.path}: {problem}; download it again, or do not trust it")

    def find(self, start: int, parts: list[str]) -> int:
        """Return the address of the object at a path below a group."""
        for part in parts:
            children = self._group(start)
            if part not in children:
                self.refuse(f"{show('/'.join(parts))} is listed, but there is no {show(part)}")
            start = children[part]
        return start

    def texts(self, address: int) -> Mapping[str, list[str]]:
        """Return the attributes of an object that are lists of text, or empty."""
        found = {}
        for message in self._messages(address):
            if message.kind == _ATTRIBUTE:
                name, texts = self._attribute(message)
                if texts is not None:
                    found[name] = texts
        return found

    def dataset(self, address: int, name: str) -> Stored:
        """Return the tensor that a dataset is."""
        parts: dict[int, Message] = {}
        for message in self._messages(address):
            if message.kind in (_EXTERNAL, _FILTERS):
                self.refuse(f"{show(name)} is compressed or kept in another file")
            if message.kind in (_DATASPACE, _DATATYPE, _LAYOUT):
                if message.flags & 2 or message.kind in parts:
                    self.refuse(f"{show(name)} shares its description, expected its own")
                parts[message.kind] = message
        if len(parts) < 3:
            self.refuse(f"{show(name)} is not a dataset")
        shape = self._shape(parts[_DATASPACE].data)
        dtype = self._dtype(parts[_DATATYPE].data)
        if shape is None or dtype is None:
            self.refuse(f"{show(name)} does not hold little-endian numbers of a shape")
        tensor = stored(dtype, shape, ())
        if not tensor.info.nbytes:
            return tensor
        start, nbytes = self._place(parts[_LAYOUT], name)
        if nbytes != tensor.info.nbytes or start + nbytes > self._size:
            self.refuse(
                f"{show(name)}: found {nbytes} bytes at {start}, expected {tensor.info.nbytes} for "
                f"{dtype} of shape {show(shape)} inside the file"
            )
        return tensor._replace(extents=((start, nbytes),))

    def _bytes(self, start: int, length: int) -> bytes:
        if start + length > self._size:
            self.refuse(f"refers to bytes {start} to {start + length} of {self._size}")
        self._spend(length)
        return read_bytes(self._file, length, start, self.path)

    def _group(self, address: int) -> Mapping[str, int]:
        if address not in self._children:
            tables = [m.data for m in self._messages(address) if m.kind == _SYMBOLS]
            if len(tables) != 1 or len(tables[0]) < 16:
                self.refuse(f"the object at {address} is no group of the layout that Keras writes")
            tree, heap = _number(tables[0], 0), _number(tables[0], 8)
            head = self._bytes(heap, 32)
            if head[:4] != b"HEAP":
                self.refuse(f"found no names at {heap}")
            names = self._bytes(_number(head, 24), _number(head, 8))
            self._children[address] = dict(self._entries(tree, names, set()))
        return self._children[address]

    def _entries(self, node: int, names: bytes, seen: set[int]) -> Iterator[tuple[str, int]]:
        head = self._bytes(node, 8)
        if node in seen or len(seen) > self._size // 8:
            self.refuse(f"the group at {node} contains itself")
        seen.add(node)
        count = int.from_bytes(head[6:8], "little")
        if head[:4] == b"TREE" and head[4] == 0 and head[5] < MAX_DEPTH:
            body = self._bytes(node + 24, 16 * count + 8)
            for i in range(count):
                yield from self._entries(_number(body, 16 * i + 8), names, seen)
        elif head[:4] == b"SNOD":
            body = self._bytes(node + 8, 40 * count)
            for i in range(count):
                start, address = _number(body, 40 * i), _number(body, 40 * i + 8)
                name = names[start:].partition(b"\0")[0] if start < len(names) else b""
                if address == UNDEFINED or body[40 * i + 16] == 2:
                    self.refuse(f"{show(name)} is a link to elsewhere, which is not followed")
                yield self._text(name), address
        else:
            self.refuse(f"found no entries of a group at {node}")

    def _messages(self, address: int) -> Iterator[Message]:
        head = self._bytes(address, 16)
        if head[0] != 1:
            self.refuse(f"found no object header of version 1 at {address}")
        left = int.from_bytes(head[2:4], "little")
        blocks = [(address + 16, int.from_bytes(head[8:12], "little"))]
        for start, length in blocks:
            data, at = self._bytes(start, length), 0
            while left and at + 8 <= length:
                kind = int.from_bytes(data[at : at + 2], "little")
                size = int.from_bytes(data[at + 2 : at + 4], "little")
                body = data[at + 8 : at + 8 + size]
                if len(body) < size:
                    self.refuse(f"a message of the header at {address} does not fit")
                if kind == _CONTINUATION and size >= 16:
                    blocks.append((_number(body, 0), _number(body, 8)))
                    if len(blocks) > 256 or len({first for first, _ in blocks}) < len(blocks):
                        self.refuse(f"the header at {address} continues without end")
                yield Message(kind, data[at + 4], body, start + at + 8)
                at, left = at + 8 + size, left - 1

    def _attribute(self, message: Message) -> tuple[str, list[str] | None]:
        data = message.data.ljust(9, b"\0")
        version, flags = data[0], data[1]
        sizes = [int.from_bytes(data[i : i + 2], "little") for i in (2, 4, 6)]
        steps = [-(-size // 8) * 8 for size in sizes] if version == 1 else sizes
        at = 9 if version == 3 else 8
        fields = []
        for size, step in zip(sizes, steps, strict=True):
            fields.append(data[at : at + size])
            at += step
        name = self._text(fields[0].partition(b"\0")[0])
        shape = self._shape(fields[2])
        if version not in (1, 2, 3) or (version > 1 and flags & 3) or shape is None:
            return name, None
        count, kind = math.prod(shape), fields[1].ljust(8, b"\0")
        width = int.from_bytes(kind[4:8], "little")
        if count == 0:
            return name, []
        is_variable = kind[0] & 15 == _VARIABLE and kind[1] & 15 == 1 and width == 16
        if not (is_variable or kind[0] & 15 == _TEXT) or not 0 < width * count <= len(data) - at:
            return name, None
        items = [data[at + i * width : at + (i + 1) * width] for i in range(count)]
        if is_variable:
            items = [self._item(item) for item in items]
        return name, [self._text(item.rstrip(b"\0 ")) for item in items]

    def _item(self, reference: bytes) -> bytes:
        """Return the text that a length, a heap's address and an index refer to."""
        length, heap = int.from_bytes(reference[:4], "little"), _number(reference, 4)
        if not length:
            return b""
        if heap not in self._heaps:
            self._heaps[heap] = dict(self._objects(heap))
        item = self._heaps[heap].get(int.from_bytes(reference[12:], "little"))
        if item is None or len(item) < length:
            self.refuse(f"found no text of {length} bytes in the heap at {heap}")
        return item[:length]

    def _objects(self, heap: int) -> Iterator[tuple[int, bytes]]:
        head = self._bytes(heap, 16)
        if head[:4] != b"GCOL":
            self.refuse(f"found no heap of texts at {heap}")
        data, at = self._bytes(heap, _number(head, 8)), 16
        while at + 16 <= len(data):
            index, size = int.from_bytes(data[at : at + 2], "little"), _number(data, at + 8)
            if index == 0:
                return
            yield index, data[at + 16 : at + 16 + size]
            at += 16 + -(-size // 8) * 8

    def _shape(self, data: bytes) -> tuple[int, ...] | None:
        data = data.ljust(4, b"\0")
        version, rank = data[0], data[1]
        start = {1: 8, 2: 4}.get(version, 0)
        missing = version == 2 and data[3] == 2
        if not start or missing or rank > MAX_RANK or len(data) < start + 8 * rank:
            return None
        return tuple(_number(data, start + 8 * i) for i in range(rank))

    def _dtype(self, data: bytes) -> np.dtype | None:
        if len(data) < 12 or data[1] & 1:
            return None
        kind, size = data[0] & 15, int.from_bytes(data[4:8], "little")
        if kind == _INTEGER and size in (1, 2, 4, 8) and data[8:12] == bytes((0, 0, 8 * size, 0)):
            return np.dtype(f"<{'i' if data[1] & 8 else 'u'}{size}")
        if kind == _FLOAT and len(data) >= 16:
            dtype = _FLOATS.get(data[2:3] + data[12:16])
            return dtype if dtype is not None and dtype.itemsize == size else None
        if (
            kind == _ENUM
            and size == 1
            and data[1] == 2
            and b"FALSE\0" in data
            and b"TRUE\0" in data
        ):
            return np.dtype(np.bool_)
        return None

    def _place(self, message: Message, name: str) -> tuple[int, int]:
        data = message.data.ljust(18, b"\0")
        if data[0] in (3, 4) and data[1] == 0:
            return message.at + 4, int.from_bytes(data[2:4], "little")
        if data[0] in (3, 4) and data[1] == 1:
            return _number(data, 2), _number(data, 10)
        self.refuse(f"{show(name)} is virtual or in chunks, expected one piece")

    def _spend(self, nbytes: int) -> None:
        self._work += nbytes
        if self._work > MAX_WORK:
            self.refuse(f"its description takes more than {MAX_WORK} bytes")

    def _text(self, data: bytes) -> str:
        self._spend(len(data))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(f"found the name {show(data)}, which is not UTF-8")


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")
