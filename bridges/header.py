"""The safetensors header: bytes to tensor descriptions and back, held to the format's rules.

The header is a JSON object: for each tensor its `dtype`, its `shape` and the `data_offsets` of its
bytes in what follows the header; under `__metadata__` strings that the format does not interpret.
"""

import json
import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

# In the order of the format's reference implementation, which sorts the tensors of a file by it.
DTYPES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "U8": np.dtype(np.uint8),
        "I8": np.dtype(np.int8),
        "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
        "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
        "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
        "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
        "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
        "I16": np.dtype("<i2"),
        "U16": np.dtype("<u2"),
        "F16": np.dtype("<f2"),
        "BF16": np.dtype(ml_dtypes.bfloat16),
        "I32": np.dtype("<i4"),
        "U32": np.dtype("<u4"),
        "F32": np.dtype("<f4"),
        "C64": np.dtype("<c8"),
        "F64": np.dtype("<f8"),
        "I64": np.dtype("<i8"),
        "U64": np.dtype("<u8"),
    }
)
SUB_BYTE = frozenset({"F4", "F6_E2M3", "F6_E3M2"})
MAX_HEADER = 100_000_000
MAX_RANK = 64
METADATA = "__metadata__"

_CODES = {dtype: code for code, dtype in DTYPES.items()}
_ORDER = {dtype: position for position, dtype in enumerate(DTYPES.values())}
_LIMIT = 2**63
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 80


class CheckpointError(ValueError):
    """The files of a checkpoint break the rules of their format."""


class TensorInfo(NamedTuple):
    """What a file says of one tensor: its dtype, its shape, its size in bytes."""

    dtype: np.dtype
    shape: tuple[int, ...]
    nbytes: int


class Header(NamedTuple):
    """A header's tensors in file order, its metadata, and where each tensor's bytes begin."""

    names: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    starts: Mapping[str, int]


def show(value: object) -> str:
    """Return a short one-line form of a value that came out of a file."""
    return _repr.repr(value)


def named(name: object) -> str:
    """Return a name out of a file as it stands, unless it is long or cannot be printed."""
    plain = isinstance(name, str) and 0 < len(name) < 160 and name.isprintable()
    return name if plain and isinstance(name, str) else show(name)


def refuse(where: object, problems: Sequence[str], advice: str) -> None:
    """Raise a CheckpointError that counts the problems and names the first three, if any."""
    if problems:
        count = f"{len(problems)} problems, the first three: " if len(problems) > 3 else ""
        raise CheckpointError(f"{where}: {count}{'; '.join(problems[:3])}; {advice}")


def describe(name: str, dtype: Any, shape: Iterable[int]) -> TensorInfo:
    """Return the TensorInfo of a tensor that is to be written.

    Raises:
        ValueError: the format has no such dtype, or no file can hold the shape.
    """
    dtype, shape = np.dtype(dtype), tuple(int(size) for size in shape)
    if dtype not in _CODES:
        raise ValueError(
            f"{name}: dtype {dtype} does not exist in safetensors; cast it to one of "
            f"{', '.join(str(known) for known in _CODES)}"
        )
    return TensorInfo(dtype, shape, _nbytes(dtype, shape))


def parse(data: bytes, where: object, kind: type = dict, *, infinity: Any = None) -> Any:
    """Return the JSON object, or the array, that `data` spells; duplicate keys and NaN are refused.

    `infinity(text)` is what stands for the Infinity and -Infinity that Python writes; without it
    they are refused too.

    Raises:
        CheckpointError: it is not UTF-8, not JSON, nested too deeply or of another kind.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))
            raise CheckpointError(
                f"{where}: the key {show(twice)} appears more than once, expected once; "
                "download the file again or ask its author"
            )
        return found

    def constant(text: str) -> Any:
        if infinity is not None and text != "NaN":
            return infinity(text)
        raise CheckpointError(f"{where}: holds {text}, which is not JSON; ask its author")

    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except CheckpointError:
        raise
    except RecursionError:
        raise CheckpointError(
            f"{where}: nested more deeply than the format allows; do not trust this file"
        ) from None
    except ValueError as error:
        raise CheckpointError(
            f"{where}: found invalid JSON ({error}); download the file again"
        ) from None
    if not isinstance(value, kind):
        form = "object" if kind is dict else "array"
        raise CheckpointError(
            f"{where}: found {show(value)}, expected a JSON {form}; download the file again"
        )
    return value


def decode(data: bytes, payload: int, where: object) -> Header:
    """Return what a header says of a file whose tensors take `payload` bytes.

    Raises:
        CheckpointError: the header breaks the format's rules or does not fit the payload.
    """
    if not data.startswith(b"{"):
        raise CheckpointError(
            f"{where}: the header begins with {show(data[:8])}, expected '{{'; "
            "this is not a safetensors file"
        )
    entries = parse(data, where)
    metadata = _metadata(entries.pop(METADATA, None), where)
    found: dict[str, tuple[int, int, TensorInfo]] = {}
    problems = []
    for name, entry in entries.items():
        try:
            found[name] = _entry(name, entry)
        except ValueError as error:
            problems.append(f"{show(name)}: {error}")
    refuse(where, problems, "the file cannot be used as it is")
    order = sorted(found, key=lambda name: found[name][:2])
    _check_layout([(name, *found[name][:2]) for name in order], payload, where)
    return Header(
        MappingProxyType({name: found[name][2] for name in order}),
        MappingProxyType(metadata),
        {name: found[name][0] for name in order},
    )


def encode(infos: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """Return a header with its length in front, and the order in which the tensors follow.

    The order (dtype from wide to narrow, then name) and the padding to 8 bytes are those of the
    format's reference implementation.

    Raises:
        ValueError: a name or the metadata is not text, or the header is longer than allowed.
    """
    if METADATA in infos or not all(map(_is_text, infos)):
        raise ValueError(f"tensor names must be text other than {METADATA!r}; rename the tensor")
    if not all(_is_text(text) for pair in metadata.items() for text in pair):
        raise ValueError(f"metadata: found {show(dict(metadata))}, expected text under text")
    order = sorted(infos, key=lambda name: (-_ORDER[infos[name].dtype], name.encode()))
    entries: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    reached = 0
    for name in order:
        dtype, shape, nbytes = infos[name]
        offsets = [reached, reached := reached + nbytes]
        entries[name] = {"dtype": _CODES[dtype], "shape": shape, "data_offsets": offsets}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"the header would take {len(text)} bytes, {MAX_HEADER} are allowed; use more shards"
        )
    return len(text).to_bytes(8, "little") + text, order


def _metadata(value: Any, where: object) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, dict) and all(_is_text(t) for pair in value.items() for t in pair):
        return value
    raise CheckpointError(
        f"{where}: {METADATA}: found {show(value)}, expected text under text; write the file again"
    )


def _entry(name: str, entry: Any) -> tuple[int, int, TensorInfo]:
    if not _is_text(name):
        raise ValueError("the name is not valid Unicode")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"found {show(entry)}, expected dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        if isinstance(code, str) and code in SUB_BYTE:
            raise ValueError(f"dtype {code} packs values below a byte, which is not supported")
        raise ValueError(f"found dtype {show(code)}, expected one of {', '.join(DTYPES)}")
    if not _are_sizes(shape) or len(shape) > MAX_RANK:
        raise ValueError(f"found shape {show(shape)}, expected up to {MAX_RANK} sizes")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"found data_offsets {show(offsets)}, expected [begin, end]")
    dtype, (begin, end) = DTYPES[code], offsets
    nbytes = _nbytes(dtype, shape)
    if nbytes != end - begin:
        raise ValueError(
            f"found {end - begin} bytes, expected {nbytes} for {code} of shape {show(shape)}"
        )
    return begin, end, TensorInfo(dtype, tuple(shape), nbytes)


def _check_layout(spans: list[tuple[str, int, int]], payload: int, where: object) -> None:
    reached, problems = 0, []
    for name, begin, end in spans:
        if begin != reached:
            kind = "overlaps the tensor before it" if begin < reached else "leaves a gap before it"
            problems.append(f"{show(name)}: begins at byte {begin}, expected {reached}: {kind}")
        reached = max(reached, end)
    refuse(where, problems, "do not trust this file")
    if reached != payload:
        fault = "is truncated" if reached > payload else "has bytes that no tensor names"
        raise CheckpointError(
            f"{where}: {fault}: found {payload} bytes after the header, expected {reached}; "
            "download the file again"
        )


def _nbytes(dtype: np.dtype, shape: Sequence[int]) -> int:
    nbytes = math.prod(shape) * dtype.itemsize
    # numpy multiplies the sizes without regard to zeros among them
    if (nbytes or math.prod(size or 1 for size in shape) * dtype.itemsize) >= _LIMIT:
        raise ValueError(f"shape {show(shape)} is larger than any file")
    return nbytes


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        [type(size) is int and 0 <= size < _LIMIT for size in value]
    )


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False
