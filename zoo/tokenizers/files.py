"""Reading a tokenizer's folder: which files there are, and what they say.

`tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`, `config.json` and the chat
templates end up in one `Settings`; the vocabulary is built from it elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from zoo.tokenizers import special
from zoo.tokenizers.families import FAMILIES, MODEL_TYPES

SETTINGS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
)
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")
VOCABULARY = ("vocab.txt", "vocab.json", "merges.txt", *SENTENCEPIECE)


@dataclass(frozen=True)
class Settings:
    """What the JSON files of a folder say about its tokenizer.

    `stored` is `tokenizer_config.json` with the overrides, `config` the same without nulls;
    `named`, `extra` and `declared` (by id) are the special and added tokens; `templates` the chat
    templates by name.
    """

    stored: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    tokenizer_class: str | None = None
    named: Mapping[str, str | AddedToken | None] = field(default_factory=dict)
    extra: tuple[str | AddedToken, ...] = ()
    declared: Mapping[int, AddedToken] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: the file is not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; replace the file") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno} ({error.msg}); "
            "replace the file"
        ) from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply to be a tokenizer file") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: found a {type(value).__name__}, expected a JSON object")
    return value


def read_settings(folder: Path, overrides: Mapping[str, Any]) -> Settings:
    """Everything but the vocabulary; `overrides` win over the files.

    Raises:
        ValueError: a file does not hold what its name promises.
    """
    stored = _optional(folder / "tokenizer_config.json")
    model = _optional(folder / "config.json")
    config = {**stored, **overrides}
    declared = _declared(folder, config)
    config = {**_special_map(folder, config, overrides), **overrides}
    named, extra = _tokens(config)
    declared = declared or _added(folder, named, extra)
    by_text = {token.content: token for token in declared.values()}
    named = {k: v and by_text.get(special.str_of(v), v) for k, v in named.items()}
    return Settings(
        stored={**stored, **overrides},
        config=_checked(folder / "tokenizer_config.json", {**stored, **overrides}),
        tokenizer_class=_class(folder, config, model),
        named=named,
        extra=tuple(extra),
        declared=declared,
        templates=_templates(folder, config, overrides),
    )


_SWITCHES = (
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "clean_up_tokenization_spaces",
    "do_basic_tokenize",
    "do_lower_case",
    "keep_accents",
    "legacy",
    "split_special_tokens",
    "strip_accents",
    "tokenize_chinese_chars",
    "trim_offsets",
)


def _checked(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without nulls; ValueError where a key that is read has another type."""

    def lists_text(value: Any) -> bool:
        return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)

    def is_length(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1

    expected = {
        **{key: (lambda value: isinstance(value, bool), "true or false") for key in _SWITCHES},
        "max_len": (is_length, "a number of tokens"),
        "model_input_names": (lists_text, "a list of names"),
        "model_max_length": (is_length, "a number of tokens"),
        "tokenizer_class": (lambda value: isinstance(value, str), "a class name"),
    }
    kept = {key: value for key, value in config.items() if value is not None}
    for key, (fits, what) in expected.items():
        if key in kept and not fits(kept[key]):
            raise ValueError(f"{path}: {key}: found {kept[key]!r}, expected {what}")
    return kept


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _class(folder: Path, config: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """The class that the files name, else the model type's, else BERT's for a vocab.txt."""
    for value in (config.get("tokenizer_class"), model.get("tokenizer_class")):
        if isinstance(value, str) and value.removesuffix("Fast") in FAMILIES:
            return value
    named = config.get("tokenizer_class") or model.get("tokenizer_class")
    named = named if isinstance(named, str) else None
    present = [name for name in ("tokenizer.json", *VOCABULARY) if (folder / name).is_file()]
    bare = "BertTokenizer" if present == ["vocab.txt"] else None
    return named or MODEL_TYPES.get(str(model.get("model_type")), bare)


def _declared(folder: Path, config: Mapping[str, Any]) -> dict[int, AddedToken]:
    """`added_tokens_decoder` of tokenizer_config.json: id -> token."""
    where = f"{folder / 'tokenizer_config.json'}: added_tokens_decoder"
    stored = config.get("added_tokens_decoder") or {}
    if not isinstance(stored, Mapping):
        raise ValueError(f"{where}: found {type(stored).__name__}, expected id -> token")
    found = {}
    for key, value in stored.items():
        if not str(key).isdecimal():
            raise ValueError(f"{where}: {key!r} is not an id")
        token = special.parse(f"{where}[{key}]", value, special=False)
        found[int(key)] = AddedToken(token, special=False) if isinstance(token, str) else token
    return found


def _special_map(
    folder: Path, config: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """The config, over it special_tokens_map.json where the config declares no added tokens."""
    path = folder / "special_tokens_map.json"
    if "added_tokens_decoder" in config or not path.is_file():
        return dict(config)
    found = {k: v for k, v in read_json(path).items() if k not in overrides}
    return {**config, **found}


def _added(folder: Path, named: Mapping[str, Any], extra: list) -> dict[int, AddedToken]:
    """added_tokens.json of old repositories: text -> id."""
    path = folder / "added_tokens.json"
    specials = {special.str_of(v) for v in (*named.values(), *extra) if v is not None}
    found = {}
    for content, index in _optional(path).items():
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise ValueError(f"{path}: the id of {content!r} is {index!r}, expected an integer")
        one = content in specials
        found[index] = AddedToken(content, normalized=not one, special=one)
    return found


def _tokens(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str | AddedToken]]:
    """The named tokens (also a model's own, such as `image_token`) and the extra ones."""
    where = "tokenizer_config.json"
    named: dict[str, Any] = {}
    for key, value in config.items():
        own = key.endswith("_token") and isinstance(value, (str, Mapping, AddedToken))
        if key in special.NAMES or own:
            named[key] = None if value is None else special.parse(f"{where}: {key}", value)
    more = config.get("extra_special_tokens")
    if isinstance(more, Mapping):
        named.update({k: special.parse(f"{where}: {k}", v) for k, v in more.items()})
        more = None
    return named, special.extras(
        f"{where}: additional_special_tokens", more or config.get("additional_special_tokens")
    )


def _templates(
    folder: Path, config: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, str]:
    """The chat templates by name; files win over the config, an override over both."""
    found = templates(config.get("chat_template"))
    if overrides.get("chat_template") is not None:
        return found
    single = folder / "chat_template.jinja"
    paths = {p.stem: p for p in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    if single.is_file():
        paths["default"] = single
    if paths:
        found = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    return found


def templates(value: Any) -> dict[str, str]:
    """`chat_template` of a config: text, name -> text, or a list of {name, template}.

    Raises:
        ValueError: it is none of these.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, (list, tuple)):
        value = {t.get("name"): t.get("template") for t in value if isinstance(t, Mapping)}
    ok = isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    )
    if not ok:
        raise ValueError(
            f"chat_template: found {value!r}, expected a text, or names with their texts"
        )
    return dict(value)
