"""`flax_model.msgpack`: the parameter tree of a Flax class, read without its bytes.

The file is one MessagePack map of maps. A leaf is an extension of type 1 (or 3, a scalar) that
holds the array `[shape, dtype name, bytes]`; an array above 1 GiB is a map with the key
`__msgpack_chunked_array__`, its `shape`, and flat `chunks`. Only what describes the arrays is
read here, a few bytes for each, so nothing is decoded that could be large, deep or executable.
"""

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from bridges.header import MAX_RANK, CheckpointError, show
from bridges.legacy.checkpoint import Format
from bridges.legacy.rules import from_flax
from bridges.legacy.stored import BY_NAME, Stored, stored
from bridges.tensorfile import read_bytes

MAX_DEPTH = 64
MAX_TEXT = 4096
MAX_TOKENS = 2_000_000
CHUNKED = "__msgpack_chunked_array__"
_ARRAYS = (1, 3)
_WINDOW = 4096
# first byte -> (kind, bytes of the length that follows, or of the value for numbers)
_LONG = {
    0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4),
    0xC7: ("extension", 1), 0xC8: ("extension", 2), 0xC9: ("extension", 4),
    0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4),
    0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4),
}  # fmt: skip
_FIXED = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_INTEGERS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
             0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}  # fmt: skip
_OTHER = {0xC0: "nothing", 0xC2: "a truth value", 0xC3: "a truth value",
          0xCA: "a number", 0xCB: "a number"}  # fmt: skip


class Token(NamedTuple):
    """The start of a value: its kind, and its length, count or integer value."""

    kind: str
    size: int


def scan(path: Path, file: Any, size: int, expected: list[str] | None) -> Mapping[str, Stored]:
    """Return the arrays of a file under their paths in the tree, joined by `/`.

    Raises:
        CheckpointError: it is not a map of maps of arrays, or it does not fit the file.
    """
    cursor = _Cursor(path, file, size)
    found: dict[str, Stored] = {}
    token = cursor.token()
    if token.kind != "map":
        cursor.refuse(f"begins with {token.kind}, expected a map of parameters")
    _walk(cursor, token.size, (), found)
    if cursor.at != size:
        cursor.refuse(f"found {size - cursor.at} bytes behind the map, expected none")
    return found


def _walk(cursor: "_Cursor", count: int, path: tuple[str, ...], found: dict[str, Stored]) -> None:
    if len(path) > MAX_DEPTH:
        cursor.refuse(f"nested more than {MAX_DEPTH} maps deep")
    seen: set[str] = set()
    for _ in range(count):
        key = cursor.text()
        inner = (*path, key)
        if key in seen or "/" in key:
            cursor.refuse(f"{show('/'.join(inner))} is given twice, or holds a '/'")
        seen.add(key)
        if key == CHUNKED and len(seen) == 1 and path:
            found["/".join(path)] = _chunked(cursor, count, path)
            return
        token = cursor.token()
        if token.kind == "map":
            _walk(cursor, token.size, inner, found)
        else:
            found["/".join(inner)] = _array(cursor, token, inner)


def _array(cursor: "_Cursor", token: Token, path: tuple[str, ...]) -> Stored:
    name = show("/".join(path))
    if token.kind != "extension":
        cursor.refuse(f"{name}: found {token.kind}, expected an array")
    code, end = cursor.byte(), cursor.at + token.size
    if code not in _ARRAYS:
        cursor.refuse(f"{name}: found an extension of type {code}, expected an array (type 1)")
    if cursor.token() != Token("list", 3):
        cursor.refuse(f"{name}: the array is not a shape, a dtype and bytes")
    sizes = cursor.token()
    if sizes.kind != "list" or sizes.size > MAX_RANK:
        cursor.refuse(f"{name}: found no shape of up to {MAX_RANK} sizes")
    shape = [cursor.integer(name) for _ in range(sizes.size)]
    code = cursor.text()
    if code not in BY_NAME:
        cursor.refuse(f"{name}: found dtype {show(code)}, expected one of {', '.join(BY_NAME)}")
    payload = cursor.token()
    nbytes = math.prod(shape) * BY_NAME[code].itemsize
    if payload != Token("bytes", nbytes) or cursor.at + nbytes != end:
        cursor.refuse(
            f"{name}: found {payload.size} bytes, expected {nbytes} for {code} of shape "
            f"{show(shape)} at the array's end"
        )
    start = cursor.skip(nbytes)
    return stored(BY_NAME[code], shape, [(start, nbytes)])


def _chunked(cursor: "_Cursor", count: int, path: tuple[str, ...]) -> Stored:
    """Read what follows the mark of an array in chunks: a flag, `shape` and `chunks`."""
    name = show("/".join(path))
    flag = cursor.token()
    shape: list[int] = []
    chunks: list[Stored] = []
    for _ in range(count - 1):
        key, entries = cursor.text(), cursor.token()
        if key not in ("shape", "chunks") or entries.kind != "map":
            cursor.refuse(f"{name}: found {show(key)}, expected maps of a shape and of chunks")
        for i in range(entries.size):
            if cursor.text() != str(i):
                cursor.refuse(f"{name}: {key}: entry {i} is missing or out of order")
            if key == "shape":
                shape.append(cursor.integer(name))
            else:
                chunks.append(_array(cursor, cursor.token(), (*path, key, str(i))))
    dtypes = {chunk.info.dtype for chunk in chunks}
    nbytes = sum(chunk.info.nbytes for chunk in chunks)
    if flag.kind != "a truth value" or count != 3 or len(shape) > MAX_RANK or len(dtypes) != 1:
        cursor.refuse(f"{name}: found no shape and chunks of one dtype")
    extents = [extent for chunk in chunks for extent in chunk.extents]
    whole = stored(dtypes.pop(), shape, extents)
    if whole.info.nbytes != nbytes:
        cursor.refuse(
            f"{name}: found {nbytes} bytes in chunks, expected {whole.info.nbytes} for "
            f"shape {show(shape)}"
        )
    return whole


class _Cursor:
    """A place in the file, moved over the values' heads; reads a window at a time."""

    def __init__(self, path: Path, file: Any, size: int):
        self.path, self.at, self._file, self._size = path, 0, file, size
        self._window, self._base, self._tokens = b"", 0, 0

    def refuse(self, problem: str) -> NoReturn:
        raise CheckpointError(
            f"{self.path}: byte {self.at}: {problem}; download it again, or do not trust it"
        )

    def skip(self, length: int) -> int:
        """Move over `length` bytes that the file must hold; return where they began."""
        start = self.at
        if length > self._size - start:
            self.refuse(f"found {self._size - start} bytes to the file's end, expected {length}")
        self.at += length
        return start

    def take(self, length: int) -> bytes:
        start = self.skip(length) - self._base
        if start < 0 or start + length > len(self._window):
            self._base, start = self.at - length, 0
            window = min(max(length, _WINDOW), self._size - self._base)
            self._window = read_bytes(self._file, window, self._base, self.path)
        return self._window[start : start + length]

    def byte(self) -> int:
        return self.take(1)[0]

    def token(self) -> Token:
        first = self.byte()
        self._tokens += 1
        if self._tokens > MAX_TOKENS:
            self.refuse(f"holds more than {MAX_TOKENS} values")
        if first < 0x80 or first >= 0xE0:
            return Token("an integer", first if first < 0x80 else first - 256)
        if first < 0xC0:
            kind, size = ("map", "list", "text", "text")[(first >> 4) - 8], first & 0x0F
            size = first & 0x1F if kind == "text" else size
        elif first in _LONG:
            kind, width = _LONG[first]
            size = int.from_bytes(self.take(width), "big")
        elif first in _FIXED:
            kind, size = "extension", _FIXED[first]
        elif first in _INTEGERS:
            form = _INTEGERS[first]
            return Token("an integer", struct.unpack(form, self.take(struct.calcsize(form)))[0])
        elif first in _OTHER:
            self.take({0xCA: 4, 0xCB: 8}.get(first, 0))
            return Token(_OTHER[first], 0)
        else:
            self.refuse(f"found the byte {first:#x}, which MessagePack does not use")
        if size > self._size - self.at:
            self.refuse(f"found {kind} of {size}, more than the {self._size - self.at} bytes left")
        return Token(kind, size)

    def text(self) -> str:
        token = self.token()
        if token.kind not in ("text", "bytes") or token.size > MAX_TEXT:
            self.refuse(f"found {token.kind} of {token.size}, expected a name")
        data = self.take(token.size)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(f"found the name {show(data)}, which is not UTF-8")

    def integer(self, name: str) -> int:
        token = self.token()
        if token.kind != "an integer" or token.size < 0:
            self.refuse(f"{name}: found {token.kind}, expected a size")
        return token.size


FORMAT = Format("flax_model.msgpack", scan, from_flax, None)
