"""Writing a tokenizer: a folder that transformers 4 and 5 load."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from zoo.tokenizers.families import family

_DROPPED = (
    "added_tokens_decoder",
    "name_or_path",
    "special_tokens_map_file",
    "tokenizer_file",
    "chat_template",
    "extra_special_tokens",
)


def save(tokenizer: Any, folder: str | os.PathLike) -> tuple[str, ...]:
    """Write `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, chat templates.

    Every file appears whole or not at all. Returns the paths.

    Raises:
        OSError: the folder cannot be written.
        ValueError: a chat template's name is no file name.
    """
    whole = tokenizer.backend_tokenizer.to_str(pretty=True)
    return write_all(folder, {"tokenizer.json": whole, **settings_files(tokenizer)})


def settings_files(tokenizer: Any) -> dict[str, str]:
    """Name -> text of all files but the one that holds the vocabulary."""
    more = _list("additional_special_tokens", tokenizer.additional_special_tokens)
    return {
        "tokenizer_config.json": _json(_config(tokenizer)),
        "special_tokens_map.json": _json({**tokenizer.special_tokens_map, **more}),
        **_template_files(tokenizer.chat_templates),
    }


def write_all(folder: str | os.PathLike, files: Mapping[str, str]) -> tuple[str, ...]:
    """Writes files by name, each whole or not at all, and returns their paths."""
    root = Path(folder)
    for name, text in files.items():
        _write(root / name, text)
    return tuple(str(root / name) for name in files)


def _config(tokenizer: Any) -> dict[str, Any]:
    """The stored config with the present state of what can change."""
    stored = tokenizer.init_kwargs
    kept = {k: v for k, v in stored.items() if k not in _DROPPED and not k.endswith("_token")}
    flags = {k: v for k, v in stored.items() if k in ("add_bos_token", "add_eos_token")}
    return {
        **_plain(kept),
        **flags,
        **{f"{name}_token": None for name in family(tokenizer.tokenizer_class).tokens},
        **tokenizer.special_tokens_map,
        **_list("additional_special_tokens", tokenizer.additional_special_tokens),
        "clean_up_tokenization_spaces": tokenizer.clean_up_tokenization_spaces,
        "model_input_names": list(tokenizer.model_input_names),
        "model_max_length": tokenizer.model_max_length,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "tokenizer_class": tokenizer.tokenizer_class or "PreTrainedTokenizerFast",
    }


def _list(key: str, values: list[str]) -> dict[str, Any]:
    return {key: values} if values else {}


def _template_files(templates: Mapping[str, str]) -> dict[str, str]:
    files = {}
    for name, text in templates.items():
        if not name or name != Path(name).name or name.startswith("."):
            raise ValueError(f"chat_template: {name!r} is no file name; rename the template")
        inner = f"additional_chat_templates/{name}.jinja"
        files["chat_template.jinja" if name == "default" else inner] = text
    return files


def _plain(value: Any) -> Any:
    if isinstance(value, AddedToken):
        return value.content
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
