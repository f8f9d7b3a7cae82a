"""The files of a model: in a local folder, in the Hub's cache, or on the Hub itself.

Everything goes through `huggingface_hub`, so its cache, its tokens, its progress bars and its
environment (`HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`) apply. What it raises is said
again as one built-in error that tells what to do.
"""

import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bridges.hub_errors import said_clearly
from bridges.index import read_index

FORMATS = {
    "safetensors": "model.safetensors",
    "pytorch": "pytorch_model.bin",
    "flax": "flax_model.msgpack",
    "tensorflow": "tf_model.h5",
}


class Weights(NamedTuple):
    """The weight files of a repository that are to be read.

    `format` is a key of `FORMATS`; `main` is the only file, or the index; `files` are all of them.
    """

    format: str
    main: str
    files: tuple[str, ...]


def snapshot(
    repo: str | os.PathLike,
    patterns: Sequence[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
    progress: bool = True,
) -> Path:
    """Return a folder with the files of a repository that match the glob patterns.

    A local folder, given as a path or found under this name, is returned as it is. Otherwise the
    files are downloaded into the cache, those that are not there yet. Without a connection, or
    with `local_files_only`, the cache alone serves.

    Raises:
        FileNotFoundError: there is no such folder, repository, revision or file, or it is not in
            the cache and nothing may be downloaded.
        PermissionError: the repository is gated, or the token does not give access to it.
        ConnectionError: the Hub cannot be reached or does not answer as it should.
        ValueError: the name is neither a path nor a repository id.
        OSError: the cache cannot be written, for example because the disk is full.
    """
    if is_local(repo):
        return _local(repo)
    import huggingface_hub

    repo = os.fspath(repo)
    with said_clearly(repo, revision):
        path = huggingface_hub.snapshot_download(
            repo,
            revision=revision,
            token=token,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            local_files_only=local_files_only,
            allow_patterns=list(patterns),
            tqdm_class=None if progress else _silent(),
        )
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"{repo}: has no file that matches {', '.join(patterns)}; check the repository"
        )
    return Path(path)


def weights_files(
    repo: str | os.PathLike,
    *,
    variant: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
) -> Weights:
    """Return the first of `FORMATS` that a repository has, whole or as an index with shards.

    What only torch reads comes last where torch is not installed. The repository is listed once;
    only an index is downloaded. Without a connection the files in the cache are listed. `variant`
    ("fp16") selects `model.fp16.safetensors` and the like.

    Raises:
        FileNotFoundError: there are no weights, or what `snapshot` raises it for.
        CheckpointError: the index is broken.
        PermissionError, ConnectionError, ValueError: as in `snapshot`.
    """
    where: dict[str, Any] = {
        "revision": revision,
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
    }
    names, unreachable = _list(repo, **where)
    suffix = f".{variant}" if variant else ""
    torch = importlib.util.find_spec("torch") is not None
    for kind, name in sorted(FORMATS.items(), key=lambda item: item[0] == "pytorch" and not torch):
        stem, extension = os.path.splitext(name)
        whole, index = f"{stem}{suffix}{extension}", f"{name}.index{suffix}.json"
        if whole in names:
            return Weights(kind, whole, (whole,))
        if index in names:
            folder = snapshot(repo, [index], progress=False, **where)
            shards = sorted(set(read_index(folder / index).values()))
            return Weights(kind, index, (index, *shards))
    if unreachable is not None:
        raise unreachable
    kind = f"weights of the variant {variant!r}" if variant else "weights"
    likely = sorted(n for n in names if re.search(r"\.(safetensors|bin|msgpack|h5|gguf|pth?)$", n))
    raise FileNotFoundError(
        f"{repo}: found no {kind}, expected {', '.join(FORMATS.values())}, whole or sharded; "
        + (f"it has {', '.join(likely[:3])}" if likely else "choose another repository")
    )


def push(
    folder: str | os.PathLike,
    repo: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload model",
    create_pr: bool = False,
) -> str:
    """Upload a folder to a repository, created where it is missing; return the commit's address.

    `revision` names a branch, created where it is missing; `create_pr` opens a pull request
    against the main branch instead, and its address is returned.

    Raises:
        FileNotFoundError: there is no such folder, or no such repository for this token.
        PermissionError: the token does not allow it, or there is none.
        ConnectionError: the Hub cannot be reached or does not answer as it should.
        ValueError: the name is not a repository id, or both a branch and a pull request are asked.
    """
    if create_pr and revision is not None:
        raise ValueError("create_pr: found a revision as well, expected one of them; drop one")
    folder = _local(folder)
    import huggingface_hub

    api = huggingface_hub.HfApi(token=token)
    with said_clearly(repo, revision):
        repo = api.create_repo(repo, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            folder_path=folder,
            repo_id=repo,
            revision=revision,
            commit_message=commit_message,
            create_pr=create_pr,
        )
    return commit.pr_url or commit.commit_url


def commit_of(path: str | os.PathLike) -> str | None:
    """Return the commit that a folder of the cache holds, None for any other folder."""
    match = re.search(
        r"[/\\]models--[^/\\]+[/\\]snapshots[/\\]([0-9a-f]{40})(?=$|[/\\])", str(path)
    )
    return match[1] if match else None


def is_local(repo: str | os.PathLike) -> bool:
    """Return whether a name means a local folder: by its form, or because it exists."""
    return (
        not isinstance(repo, str)
        or repo.startswith(("/", "./", "../", "~"))
        or repo in (".", "..")
        or os.path.exists(repo)
    )


def _local(folder: str | os.PathLike) -> Path:
    path = Path(folder).expanduser()
    if path.is_dir():
        return path
    found = "a file" if os.path.lexists(path) else "nothing"
    raise FileNotFoundError(f"{folder}: found {found}, expected a folder; check the path")


def _list(repo: str | os.PathLike, **where: Any) -> tuple[set[str], OSError | None]:
    """Return the names of a repository's files, and why those in the cache had to do, if so."""
    if is_local(repo):
        return set(os.listdir(_local(repo))), None
    unreachable = None
    if not where["local_files_only"]:
        import huggingface_hub

        repo = os.fspath(repo)
        try:
            with said_clearly(repo, where["revision"]):
                api = huggingface_hub.HfApi(token=where["token"])
                info = api.model_info(repo, revision=where["revision"])
                return {file.rfilename for file in info.siblings or ()}, None
        except OSError as error:
            unreachable = error
    try:
        folder = snapshot(repo, [], **{**where, "local_files_only": True})
        return set(os.listdir(folder)), unreachable
    except FileNotFoundError as error:
        missing = error
    raise unreachable or missing


def _silent() -> type:
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **{**kwargs, "disable": True})

    return Silent
