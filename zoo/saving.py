"""From a model to a folder, or a repository, that transformers loads."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer

from bridges import checkpoint, config, hub, repository, safetensors
from bridges.folder import atomic_folder
from zoo import spec

if TYPE_CHECKING:
    from zoo.model import Model

MODEL = frozenset({"config.json", *hub.FORMATS.values()})  # a folder with one of them is a model's


def save_pretrained(
    model: "Model",
    folder: str | os.PathLike,
    *,
    dtype: Any = None,
    max_shard_size: int | str = "50GB",
) -> Path:
    """Writes weights, config, and what came with them: tokenizer, processor, card, licence.

    The folder is replaced in one step: a process that is killed leaves the old one or the new.
    Tensors have their Hub names and layouts. Where loading widened half precision for the CPU and
    the values still fit, they are stored in the dtype they came in, so that loading and saving
    give the same bytes.

    Args:
      model: what to save.
      folder: where to; created, or replaced.
      dtype: of the stored weights; None as described.
      max_shard_size: bytes, or "5GB"; more are spread over several files with an index.

    Returns:
      the folder.

    Raises:
      ValueError: the parameters are not those that the config declares, or are not known yet
        under `jax.jit`; a dtype that no weights have; no name for a folder.
      FileExistsError: a file is there, or a working tree (hidden folders and no model).
      PermissionError: the folder may not be written.
      OSError: the disk is full.
    """
    _check_target(folder)
    _check_params(model)
    specs, origin = model.specs, model.origin
    kinds = _stored_dtypes(model, dtype)
    files = checkpoint.tensors(specs, model.params, dtype=kinds)
    entries = sorted(files, key=lambda entry: entry[0])
    common = checkpoint.common_dtype(info for _, info, _ in entries).name
    raw = model.raw_config
    key = "torch_dtype" if "torch_dtype" in raw and "dtype" not in raw else "dtype"
    out = config.dump(
        model.forward.architecture,
        model.config,
        raw,
        {"architectures": [model.forward.class_name], key: common},
    )
    with _said_clearly(folder), atomic_folder(folder) as target:
        has_card = os.path.lexists(os.path.join(folder, "README.md"))
        repository.carry(origin, target, card=not has_card)
        safetensors.write(target, entries, max_shard_size=max_shard_size)
        (target / "config.json").write_text(config.text(out), encoding="utf-8")
    return Path(folder)


@contextmanager
def _said_clearly(folder: str | os.PathLike) -> Iterator[None]:
    """Says which save failed where the system only says why."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(
            error.errno, f"{folder}: not saved: {error.strerror}; what was there is unchanged"
        ) from None


def _check_target(folder: str | os.PathLike) -> None:
    """Refuses to replace a folder that is not a model's: somebody may be at work in it."""
    path = os.fspath(folder)
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise ValueError(f"folder: found {path!r}, expected the name of a folder; choose one")
    names = os.listdir(path) if os.path.isdir(path) else []
    hidden = sorted(n for n in names if n[0] == "." and os.path.isdir(os.path.join(path, n)))
    if hidden and not MODEL.intersection(names):
        raise FileExistsError(
            f"{folder}: found {', '.join(hidden[:3])} and no model, so it is in use otherwise, and "
            f"the folder is replaced as a whole; choose another"
        )


def _check_params(model: "Model") -> None:
    """Compares the parameters with their declarations."""
    flat, structure = jax.tree.flatten_with_path(model.params)
    wanted = jax.tree.structure(model.specs, is_leaf=spec.is_spec)
    if structure != wanted:
        raise ValueError(
            f"params: found a tree of {structure.num_leaves} arrays, expected the "
            f"{wanted.num_leaves} of model.specs in the same places; keep the tree as it is"
        )
    problems = []
    for (path, x), s in zip(flat, spec.leaves(model.specs), strict=True):
        if isinstance(x, Tracer):
            raise ValueError("params: found values that are traced; save outside of jax.jit")
        if getattr(x, "shape", None) != s.shape:
            found = getattr(x, "shape", type(x).__name__)
            problems.append(f"{jax.tree_util.keystr(path)}: found {found}, expected {s.shape}")
    if problems:
        raise ValueError(
            f"params: {len(problems)} arrays differ from model.specs: {'; '.join(problems[:3])}; "
            f"save the model that they belong to"
        )


def _stored_dtypes(model: "Model", dtype: Any) -> Callable[[str, Any], Any]:
    """Chooses the dtype in the file of a tensor: (name, array) -> dtype."""
    if dtype is not None:
        wanted = checkpoint.float_dtype(dtype)
        return lambda name, x: wanted if checkpoint.is_float(np.dtype(x.dtype)) else x.dtype
    origin, others = model.origin, dict(model.origin.dtypes)
    exact: dict[tuple[int, str], bool] = {}  # an array may hold many tensors: test it once

    def choose(name: str, x: Any) -> Any:
        stored = others.get(name, origin.dtype)
        if x.dtype != np.float32 or not stored or np.dtype(stored) not in checkpoint.HALF:
            return x.dtype
        if (id(x), stored) not in exact:
            exact[id(x), stored] = checkpoint.narrows_exactly(x, np.dtype(stored))
        return np.dtype(stored) if exact[id(x), stored] else x.dtype

    return choose


def push_to_hub(
    model: "Model",
    repo: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload model",
    create_pr: bool = False,
    dtype: Any = None,
    max_shard_size: int | str = "50GB",
) -> str:
    """Uploads what `save_pretrained` writes and returns the address of the commit.

    Raises:
      PermissionError: the token does not allow it, or there is none.
      ConnectionError: the Hub cannot be reached.
      ValueError: the name is not a repository id.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        save_pretrained(model, folder, dtype=dtype, max_shard_size=max_shard_size)
        return hub.push(
            folder,
            repo,
            token=token,
            private=private,
            revision=revision,
            commit_message=commit_message,
            create_pr=create_pr,
        )
