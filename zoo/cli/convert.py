"""`zoo convert`: any format in, safetensors out."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.text import Text

from zoo import loading
from zoo.cli.app import Settings
from zoo.cli.console import NUMBER, dump, err, facts, millions, out, size


def show(
    model: str,
    target: Path,
    settings: Settings,
    dtype: str | None,
    max_shard_size: str,
    task: str | None,
    verify: bool,
    json: bool,
) -> None:
    """Converts, and tells what was written."""
    wanted = None if dtype is None else _dtype(dtype)
    start = time.perf_counter()
    loaded = loading.from_pretrained(model, task=task, **settings.where)  # pyright: ignore[reportArgumentType]
    with err().status("Writing weights"):
        loaded.save_pretrained(target, dtype=wanted, max_shard_size=max_shard_size)
    taken = time.perf_counter() - start
    same = None
    if verify:
        with err().status("Reading back"):
            same = compare(loaded, target, wanted)
    files = sorted(target.glob("model*.safetensors"))
    found = {
        "model": model,
        "out": str(target),
        "class": loaded.forward.class_name,
        "task": loaded.task,
        "parameters": loaded.num_params,
        "dtype": str(dtype or loaded.origin.dtype or loaded.dtype),
        "files": [path.name for path in files],
        "bytes": sum(path.stat().st_size for path in files),
        "verified": same,
        "seconds": round(taken, 3),
    }
    if json:
        dump(found)
        return
    rate = f"{size(found['bytes'] / max(taken, 1e-9))}/s"
    out().print(
        facts(
            [
                ("wrote", str(target)),
                ("class", found["class"]),
                ("parameters", f"{millions(loaded.num_params)} ({loaded.num_params:,})"),
                ("weights", f"{size(found['bytes'])} in {found['dtype']}, {_files(files)}"),
                ("time", f"{taken:.1f} s, {rate}"),
                ("verified", same and Text(f"{same} tensors equal, every bit", NUMBER)),
            ]
        )
    )


def compare(loaded: Any, target: Path, dtype: Any) -> int:
    """Reads a folder back and compares every bit; the number of tensors.

    Raises:
      ValueError: some of them differ.
    """
    again = loading.from_pretrained(
        target, task=loaded.task, dtype=dtype or loaded.dtype, local_files_only=True, progress=False
    )
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(loaded.params),
        jax.tree.leaves(again.params),
        strict=True,
    )
    count, bad = 0, []
    for (path, before), after in pairs:
        count += 1
        expected = np.asarray(before).astype(np.asarray(after).dtype)
        if expected.tobytes() != np.asarray(after).tobytes():
            bad.append(jax.tree_util.keystr(path))
    if bad:
        raise ValueError(
            f"{target}: {len(bad)} of {count} tensors differ from what was written, first: "
            f"{', '.join(bad[:3])}; convert again, onto another disk"
        )
    return count


def _dtype(name: str) -> Any:
    known = ("float32", "bfloat16", "float16")
    if name not in known:
        raise ValueError(f"dtype: found {name!r}, expected one of {', '.join(known)}")
    return jax.numpy.dtype(name)


def _files(files: list[Path]) -> str:
    return files[0].name if len(files) == 1 else f"{len(files)} files"
