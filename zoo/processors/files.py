"""Finding, reading and writing the JSON files that hold a processor's settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

NESTED = "processor_config.json"
PLAIN = "preprocessor_config.json"
MODEL = "config.json"
WHERE = ("revision", "token", "cache_dir", "local_files_only")  # of a repository


def folder(
    repo_or_folder: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return a local folder that holds the settings files of a repository.

    Raises:
        FileNotFoundError: no such folder or repository.
    """
    path = Path(repo_or_folder)
    if path.is_dir():
        return path
    from bridges import hub

    return hub.snapshot(
        repo_or_folder,
        [NESTED, PLAIN, MODEL],
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not hold one JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not valid JSON ({error}); fetch or write the file again"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: found a {type(value).__name__}, expected a JSON object")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object so that a killed process leaves the old file or the new one.

    Raises:
        OSError: the folder cannot be written to.
    """
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path, section: str) -> dict[str, Any]:
    """Read one processor's settings from a folder, {} where it has none.

    transformers 5 nests them as `section` of processor_config.json, which wins over the older
    preprocessor_config.json.

    Raises:
        ValueError: a file does not hold what it should.
    """
    nested = path / NESTED
    if nested.is_file():
        value = read_json(nested).get(section)
        if isinstance(value, dict):
            return value
        if value is not None:
            raise ValueError(
                f"{nested}: {section}: found a {type(value).__name__}, expected a JSON object"
            )
    plain = path / PLAIN
    return read_json(plain) if plain.is_file() else {}


def write(path: Path, section: str, value: dict[str, Any]) -> Path:
    """Write one processor's settings into a folder, where `read` and transformers find them.

    A processor_config.json that already nests the section is kept in step.

    Raises:
        OSError: the folder cannot be written to.
        ValueError: a processor_config.json that is there cannot be read.
    """
    path.mkdir(parents=True, exist_ok=True)
    nested = path / NESTED
    if nested.is_file():
        whole = read_json(nested)
        if section in whole:
            write_json(nested, {**whole, section: value})
    write_json(path / PLAIN, value)
    return path / PLAIN


def model_type(path: Path) -> str | None:
    """Return the model type that a folder's config.json states, if any."""
    config = path / MODEL
    value = read_json(config).get("model_type") if config.is_file() else None
    return value if isinstance(value, str) else None


def processor_class(path: Path) -> str | None:
    """Return the processor class that a folder names, None where it names none."""
    for name in (NESTED, PLAIN):
        if (path / name).is_file():
            found = read_json(path / name).get("processor_class")
            if isinstance(found, str):
                return found
    return None
