"""Weights in the formats before safetensors, read as the Hub's PyTorch files have them.

`pytorch_model.bin` (through torch, never unpickling anything but tensors), `flax_model.msgpack`
and `tf_model.h5`, each as one file or as shards with an index. Names and axes come out as in the
PyTorch file of the same model, so that nothing after this has to know where weights came from.
"""

import os
import re
from pathlib import Path

from bridges.header import show
from bridges.legacy import flax_msgpack, tf_h5, torch_bin
from bridges.legacy.checkpoint import Format, LegacyCheckpoint, is_missing, load

__all__ = ["LegacyCheckpoint", "open_checkpoint"]

FORMATS: tuple[Format, ...] = (torch_bin.FORMAT, flax_msgpack.FORMAT, tf_h5.FORMAT)


def open_checkpoint(path: str | os.PathLike, *, variant: str | None = None) -> LegacyCheckpoint:
    """Open an old weights file, its index, or the folder that holds one of them.

    In a folder, PyTorch's comes before Flax's before TensorFlow's, but one that needs a package
    which is not installed comes last; a single file comes before shards. `variant` ("fp16")
    selects `pytorch_model.fp16.bin` or `pytorch_model.bin.index.fp16.json`, and so on.

    Raises:
        CheckpointError: a file breaks the rules of its format, or a shard is missing.
        ValueError: the package that reads the format is not installed; the message names it.
        FileNotFoundError: there is no checkpoint at the path.
        PermissionError: a file may not be read.
    """
    path = Path(path)
    if not os.path.isdir(path):
        return load(path, _format(path))
    if variant is not None and not re.fullmatch(r"[\w-]+", variant):
        raise ValueError(f"variant: found {show(variant)}, expected a word such as 'fp16'")
    candidates = []
    for form in sorted(FORMATS, key=is_missing):
        stem, suffix = form.name.rsplit(".", 1)
        part = f".{variant}" if variant else ""
        candidates += [f"{stem}{part}.{suffix}", f"{form.name}.index{part}.json"]
    for name in candidates:
        if os.path.lexists(path / name):
            return load(path / name, _format(path / name))
    raise FileNotFoundError(f"{path}: found none of {', '.join(candidates)}; check the folder")


def _format(path: Path) -> Format:
    suffixes = path.name.split(".")[1:]
    for form in FORMATS:
        if form.name.rsplit(".", 1)[1] in suffixes:
            return form
    if {"pt", "pth", "ckpt"} & set(suffixes):
        return torch_bin.FORMAT
    raise ValueError(
        f"{path}: found a name of no known format, expected one that ends like "
        f"{', '.join(form.name for form in FORMATS)}; rename it"
    )
