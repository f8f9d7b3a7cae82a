"""Checkpoint tensors <-> parameter trees, both directions from the same declarations.

Reading fills the final buffers straight from the file, one group of arrays at a time, so that peak
memory is the parameters plus a few tensors, also when the dtype changes on the way.
"""

import concurrent.futures
import math
import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import ml_dtypes
import numpy as np

from bridges.header import CheckpointError, TensorInfo, named
from bridges.layout import Layout, flat, layout
from bridges.tensorfile import aligned
from zoo import spec
from zoo.errors import UnknownNameError
from zoo.spec import ArraySpec, Tree

CHUNK = 1 << 22  # bytes re-arranged or converted at a time
HALF = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
OLD_NAMES = ((re.compile(r"LayerNorm\.gamma$"), "LayerNorm.weight"),
             (re.compile(r"LayerNorm\.beta$"), "LayerNorm.bias"),
             (re.compile(r"\.weight_g$"), ".parametrizations.weight.original0"),
             (re.compile(r"\.weight_v$"), ".parametrizations.weight.original1"))  # fmt: skip


class Source(Protocol):
    """An open checkpoint of any format, with the Hub's PyTorch names and layouts."""

    @property
    def names(self) -> Mapping[str, TensorInfo]:
        """Every tensor's dtype and shape."""
        ...

    def read(self, name: str) -> np.ndarray:
        """One whole tensor."""
        ...

    def read_into(self, name: str, out: Any, start: int = 0) -> None:
        """Bytes of one tensor from `start` on, into a buffer."""
        ...


class Names(NamedTuple):
    """Which tensor of a file is which declared one.

    Attributes:
      found: declared name -> name in the file.
      new: declared names that the file does not have and that may be drawn at random.
      unused: names in the file that the model has no use for, known ones.
    """

    found: Mapping[str, str]
    new: tuple[str, ...]
    unused: tuple[str, ...]


def resolve(
    declared: Iterable[str],
    present: Iterable[str],
    *,
    prefix: str,
    prefixes: Iterable[str],
    known: Callable[[], Collection[str]],
    ignored: Sequence[str] = (),
    renamed: Sequence[tuple[str, str]] = (),
    same: Sequence[Sequence[str]] = (),
    where: str = "checkpoint",
) -> Names:
    """Matches declared names with those in a file.

    Bare bodies load into models with a head and the other way round: `prefix` is where the model
    keeps its body, `prefixes` where other classes of the architecture keep theirs. Old spellings
    of layer and weight norms are understood. Heads that the file lacks are `new`; tensors of other
    heads, or outside the body of a file that has a body, are `unused`.

    Args:
      declared: names of the model.
      present: names in the file.
      prefix: "" for a bare model.
      prefixes: of all classes of the architecture.
      known: names, without prefix, that some class of the architecture declares, but not all;
        asked only where something is missing or left over.
      ignored: patterns of buffers that old files carry.
      renamed: patterns of old spellings, and today's.
      same: names, without prefix, of one tensor; files have any of them, or several.
      where: for messages.

    Raises:
      KeyError: tensors of the body are missing, or others are in the file that no class knows.
    """
    declared = set(declared)
    modern = spelled(present, renamed)
    all_prefixes = sorted({p for p in prefixes if p}, key=len, reverse=True)
    file_prefix = next(
        (p for p in all_prefixes if any(name.startswith(f"{p}.") for name in modern)), ""
    )
    if 2 * len(declared & modern.keys()) > len(declared):  # of this class, whatever else is there
        file_prefix = prefix

    def in_file(name: str) -> str:
        inside = name.startswith(f"{prefix}.") if prefix else name in bare
        stem = name[len(prefix) + 1 :] if prefix and inside else name
        return f"{file_prefix}.{stem}" if inside and file_prefix else stem

    bare = declared if not prefix else set()
    twins = {name: set(group) for group in same for name in group}

    def present_twin(home: str) -> str:
        """The name itself if the file has it, or else another name of the same tensor."""
        stem = home.removeprefix(f"{file_prefix}.") if file_prefix else home
        lead = home.removesuffix(stem)
        others = (f"{lead}{other}" for other in sorted(twins.get(stem, ())))
        return home if home in modern else next((o for o in others if o in modern), home)

    homes = {name: present_twin(in_file(name)) for name in declared}
    found = {name: modern[home] for name, home in homes.items() if home in modern}

    def stem(name: str) -> str:
        return name[len(prefix) + 1 :] if prefix and name.startswith(f"{prefix}.") else name

    absent = sorted(declared - found.keys())
    drop = re.compile("|".join(f"(?:{p})" for p in ignored) or r"(?!)")
    left = set(modern) - set(homes.values())
    left = sorted(name for name in left if not drop.fullmatch(name))
    optional = known() if absent or left else ()
    new = [name for name in absent if stem(name) in optional]
    missing = [name for name in absent if stem(name) not in optional]
    partly = {name for name in new if _sibling(name) & found.keys()}
    missing += sorted(partly)
    extra, unused = [], []
    for name in left:
        body = file_prefix and name.startswith(f"{file_prefix}.")
        inner = name[len(file_prefix) + 1 :] if body else name
        outside = bool(file_prefix) and not body
        if inner not in twins:
            (unused if outside or inner in optional else extra).append(modern[name])
    if missing or extra:
        said = [
            f"{len(names)} tensors {what}, first: {', '.join(map(named, names[:3]))}"
            for names, what in ((missing, "missing"), (extra, "not declared by the model"))
            if names
        ]
        raise UnknownNameError(f"{where}: {'; '.join(said)}; is config.json that of these weights?")
    return Names(found, tuple(new), tuple(unused))


def spelled(names: Iterable[str], renamed: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """Today's spelling of names in a file -> these names.

    `renamed` are patterns and replacements as of `re.sub`, applied one after another.
    """
    pairs = [*OLD_NAMES, *((re.compile(old), new) for old, new in renamed)]

    def today(name: str) -> str:
        for pattern, new in pairs:
            name = pattern.sub(new, name)
        return name

    return {today(name): name for name in names}


def _sibling(name: str) -> set[str]:
    """The other half of a weight and its bias."""
    stem, _, last = name.rpartition(".")
    return {f"{stem}.{other}" for other in ("weight", "bias") if other != last}


def common_dtype(infos: Iterable[TensorInfo]) -> np.dtype:
    """The floating dtype that holds most of the bytes; float32 where there is none."""
    sizes: dict[np.dtype, int] = {}
    for info in infos:
        if is_float(info.dtype):
            sizes[info.dtype] = sizes.get(info.dtype, 0) + info.nbytes
    return max(sizes, key=lambda d: sizes[d]) if sizes else np.dtype(np.float32)


def is_float(dtype: np.dtype) -> bool:
    """Whether a dtype is one in which weights are stored: 16, 32 or 64 bits."""
    return dtype in HALF or dtype in (np.dtype(np.float32), np.dtype(np.float64))


def float_dtype(wanted: Any) -> np.dtype:
    """A dtype by its name or type.

    Raises:
      ValueError: unknown, or not one in which weights are stored.
    """
    try:
        kind = np.dtype(jax.numpy.dtype(wanted))
    except TypeError as error:
        raise ValueError(f"dtype: {wanted!r} is not known; try 'bfloat16' or 'float32'") from error
    if not is_float(kind):
        raise ValueError(f"dtype: found {kind}, expected a floating type of 16 bits or more")
    return kind


def check(specs: Tree, source: Source, found: Mapping[str, str], *, where: str) -> None:
    """Compares every tensor that will be read with its declaration.

    Raises:
      ValueError: wrong shapes or dtypes; the message counts them and names the first three.
    """
    problems = []
    for s in spec.leaves(specs):
        want = layout(s).stored
        for name in s.names:
            if name not in found:
                continue
            info = source.names[found[name]]
            if tuple(info.shape) != want:
                problems.append(
                    f"{found[name]}: found shape {list(info.shape)}, expected {list(want)}"
                )
            elif s.dtype is None and not is_float(info.dtype):
                problems.append(
                    f"{found[name]}: found {info.dtype}, expected floats of 16, 32 or 64 bits"
                )
            elif _is_count(s) and info.dtype != np.dtype(s.dtype):
                problems.append(f"{found[name]}: found {info.dtype}, expected {np.dtype(s.dtype)}")
    problems = list(dict.fromkeys(problems))
    if problems:
        first = "; ".join(problems[:3])
        raise ValueError(
            f"{where}: {len(problems)} tensors differ from what config.json says: {first}; "
            f"is config.json that of these weights?"
        )


def _is_count(s: ArraySpec) -> bool:
    """Whether an array holds whole numbers, whose dtype in the file is the declared one."""
    return s.dtype is not None and np.issubdtype(s.dtype, np.integer)


def load(
    specs: Tree,
    source: Source,
    found: Mapping[str, str],
    *,
    dtype: Any,
    place: Callable[[ArraySpec, np.ndarray], jax.Array] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tree:
    """Reads parameters.

    Args:
      specs: what to read; every name must be in `found`.
      source: where from.
      found: declared name -> name in the source.
      dtype: of arrays that do not declare their own.
      place: puts a host array where it lives; by default on the default device.
      progress: called with the number of bytes just read.

    Returns:
      the tree, with `jax.Array` leaves.
    """
    leaves, structure = jax.tree.flatten(specs, is_leaf=spec.is_spec)
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, s in enumerate(leaves):  # arrays that share fused tensors are read together
        groups.setdefault(s.names, []).append(i)
    put = place or (lambda s, x: jax.device_put(x))
    out: list[Any] = [None] * len(leaves)
    scratch = _Scratch(), _Scratch()

    def fill(members: list[int]) -> None:
        some = [leaves[i] for i in members]
        arrays = [_empty(s.shape, s.held(dtype)) for s in some]
        items = [a.reshape(-1, *s.item_shape) for s, a in zip(some, arrays, strict=True)]
        layouts = [layout(s) for s in some]
        for n, name in enumerate(some[0].names):
            _read(source, found[name], layouts, [item[n, ...] for item in items], scratch)
        for i, s, a in zip(members, some, arrays, strict=True):
            out[i] = put(s, a)
        if progress:
            progress(sum(a.nbytes for a in arrays))

    large_first = sorted(groups.values(), key=lambda group: -sum(leaves[i].size for i in group))
    workers = min(4, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(fill, large_first):
            pass
    return jax.tree.unflatten(structure, out)


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array at an address that XLA on CPU can use without copying."""
    size = int(np.prod(shape)) * dtype.itemsize
    return aligned(size).view(dtype).reshape(shape)


class _Scratch(threading.local):
    """A buffer per thread, kept from tensor to tensor: fresh memory costs more than reading."""

    buffer = aligned(0)

    def __call__(self, size: int, dtype: np.dtype) -> np.ndarray:
        if self.buffer.size < size * dtype.itemsize:
            self.buffer = aligned(size * dtype.itemsize)
        return self.buffer[: size * dtype.itemsize].view(dtype)


def _read(
    source: Source,
    name: str,
    layouts: list[Layout],
    outs: list[np.ndarray],
    scratch: tuple[_Scratch, _Scratch],
) -> None:
    """Reads a tensor into its arrays: in place where file and memory agree, else by rows."""
    info, out, whole = source.names[name], outs[0], len(outs) == 1 and layouts[0].is_view
    if (whole and info.dtype == out.dtype) or not info.nbytes:
        source.read_into(name, out.reshape(-1))
        return
    if whole:
        layouts, outs = [flat(out.size)], [out.reshape(-1)]
    rows = math.gcd(*(form.factored[0] for form in layouts))
    width = math.prod(info.shape) // rows
    step = max(1, CHUNK // (width * info.dtype.itemsize))
    for start in range(0, rows, step):
        x = scratch[0](min(step, rows - start) * width, info.dtype)
        source.read_into(name, x, start * width * info.dtype.itemsize)
        if x.dtype != out.dtype and not whole:  # converting is slow while transposing
            x, stored = scratch[1](x.size, out.dtype), x
            np.copyto(x, stored, casting="unsafe")
        for form, array in zip(layouts, outs, strict=True):
            form.load(x, start * form.factored[0] // rows, array)


def tensors(
    specs: Tree, params: Tree, *, dtype: Callable[[str, Any], np.dtype] | None = None
) -> Iterator[tuple[str, TensorInfo, Callable[[], np.ndarray]]]:
    """The inverse of `load`: what to write, by checkpoint name, each made when it is asked for.

    `dtype(name, array)` chooses the dtype in the file; by default that of the array.

    Raises:
      CheckpointError: parts of a fused tensor are not all there.
    """
    groups: dict[str, list[tuple[ArraySpec, Any, int]]] = {}
    pairs = zip(spec.leaves(specs), jax.tree.leaves(params), strict=True)
    for s, x in pairs:
        for i, name in enumerate(s.names):
            groups.setdefault(name, []).append((s, x, i))
    for name, members in groups.items():
        s, x, _ = members[0]
        shape = layout(s).stored
        covered = sum(int(np.prod(s.item_shape)) for s, _, _ in members)
        if covered != int(np.prod(shape)):
            raise CheckpointError(
                f"{name}: the model holds {covered} of {int(np.prod(shape))} elements; "
                f"declare the missing parts of the fused tensor"
            )
        kind = np.dtype(s.dtype if _is_count(s) else dtype(name, x) if dtype else x.dtype)
        size = int(np.prod(shape)) * kind.itemsize

        def make(members=members, shape=shape, kind=kind) -> np.ndarray:
            out = np.empty(shape, kind)
            for s, x, i in members:
                item = np.asarray(x if not s.index else x.reshape(-1, *s.item_shape)[i])
                layout(s).save(item.astype(kind, copy=False), out)
            return out

        yield name, TensorInfo(kind, tuple(shape), size), make


def narrows_exactly(x: Any, dtype: np.dtype) -> bool:
    """Whether every value of `x` survives being stored in a narrower dtype."""
    narrow = np.asarray(x).astype(dtype)
    bits = np.uint32
    return bool(np.array_equal(narrow.astype(np.float32).view(bits), np.asarray(x).view(bits)))
