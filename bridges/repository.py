"""What a model's folder holds besides weights: where it came from, its licence, its companions."""

import dataclasses
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridges.config import read_json, text
from bridges.header import show
from zoo.layers.pooling import MODES, Pooling

CARD = 1 << 20  # characters of a card that are looked at
# Files that travel with the weights: tokenizer, processor, generation, pooling, card and licence.
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "*.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "[0-9]_*/config.json",
    "README.md",
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
    "USE_POLICY*",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Provenance of a model, hashable.

    Attributes:
      raw: the `config.json` it was loaded with, as JSON text; "{}" for a new model.
      generation: the `generation_config.json` beside it, as JSON text; "{}" where there is none.
      repo: repository id, or "" for a local folder or a new model.
      folder: local folder with the companions, or "".
      commit: of the repository, where it is known.
      licence: identifier, such as `apache-2.0`, where the card or a file tells.
      dtype: in which most weights were stored, "" for a new model.
      dtypes: (checkpoint name, dtype) of those that were stored in another one.
    """

    raw: str = "{}"
    generation: str = "{}"
    repo: str = ""
    folder: str = ""
    commit: str | None = None
    licence: str | None = None
    dtype: str = ""
    dtypes: tuple[tuple[str, str], ...] = ()


NEW = Origin()


def generation(folder: Path) -> str:
    """The `generation_config.json` of a folder as JSON text; "{}" where there is none.

    Raises:
      ValueError: it is not a JSON object.
    """
    path = folder / "generation_config.json"
    return text(read_json(path)) if path.is_file() else "{}"


def card(folder: Path) -> Mapping[str, Any]:
    """The metadata of a model card; empty where there is none or it cannot be read."""
    path = folder / "README.md"
    if not path.is_file():
        return {}
    import yaml

    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            content = file.read(CARD)
        metadata = yaml.safe_load(_front_matter(content) or "{}")
    except Exception:  # whatever a card written by hand makes the reader of YAML raise
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _front_matter(content: str) -> str | None:
    found = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---", content, re.DOTALL)
    return found[1] if found else None


_LICENCE_TEXTS = (
    ("apache-2.0", "Apache License"),
    ("mit", "MIT License"),
    ("llama3.1", "LLAMA 3.1 COMMUNITY LICENSE"),
    ("llama3", "META LLAMA 3 COMMUNITY LICENSE"),
    ("llama2", "LLAMA 2 COMMUNITY LICENSE"),
    ("gemma", "Gemma Terms of Use"),
)


def licence(folder: Path) -> str | None:
    """The licence identifier that the card or a licence file tells."""
    found = card(folder).get("license")
    if isinstance(found, list):
        found = found[0] if found else None
    if isinstance(found, str) and found:
        return found
    for path in sorted(folder.glob("LICEN[SC]E*")):
        try:
            start = path.read_text(encoding="utf-8", errors="replace")[:2000].lower()
        except OSError:
            continue
        for name, phrase in _LICENCE_TEXTS:
            if phrase.lower() in start:
                return name
    return None


def pooling(folder: Path) -> Pooling | None:
    """How sentence-transformers pools, read from `modules.json`; None for other repositories.

    Raises:
      ValueError: a module or a pooling that is not supported here.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return None
    found, normalize = None, False
    for module in read_json(path, list):
        if not isinstance(module, dict) or not isinstance(module.get("type"), str):
            raise ValueError(
                f"{path}: found {show(module)}, expected a module with a type and a path; download "
                f"it again"
            )
        kind, where = module["type"].rpartition(".")[2], module.get("path", "")
        if kind == "Pooling":
            if not isinstance(where, str) or not re.fullmatch(r"[\w-]{1,99}", where):
                raise ValueError(
                    f"{path}: found the path {show(where)}, expected the name of a folder beside "
                    f"it; do not trust this repository"
                )
            found = _modes(folder / where / "config.json")
        elif kind == "Normalize":
            normalize = True
        elif kind not in ("Transformer", "Dropout"):
            raise ValueError(
                f"{path}: found module {show(kind)}, expected Transformer, Pooling or Normalize; "
                f"remove modules.json to get vectors of tokens"
            )
    if found is None:
        return None
    return Pooling(modes=found, normalize=normalize)


def _modes(path: Path) -> tuple[str, ...]:
    try:
        config = read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: missing, but modules.json names it; download it again"
        ) from None
    names = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean",
        "pooling_mode_lasttoken": "lasttoken",
    }
    if isinstance(config.get("pooling_mode"), str):
        modes = (config["pooling_mode"],)
    else:
        modes = tuple(mode for key, mode in names.items() if config.get(key))
    unknown = sorted(k for k, v in config.items() if k.startswith("pooling_mode_") and v
                     and k not in names)  # fmt: skip
    if unknown or not modes or set(modes) - set(MODES):
        raise ValueError(
            f"{path}: found {', '.join(unknown) or ', '.join(modes) or 'no pooling'}, expected one "
            f"of {', '.join(names)}"
        )
    return modes


def carry(origin: Origin, target: Path, *, card: bool = True) -> None:
    """Copies the companions of the folder a model came from and, with `card`, its model card.

    An existing card travels unchanged. A model without one gets one that says where it came from
    and under which licence.
    """
    source = Path(origin.folder) if origin.folder else None
    if source and source.is_dir():
        for pattern in COMPANIONS:
            for path in source.glob(pattern):
                if path.is_file() and (card or path.name != "README.md"):
                    copy = target / path.relative_to(source)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
    readme = target / "README.md"
    if card and not readme.exists():
        readme.write_text(_card(origin), encoding="utf-8")


def _card(origin: Origin) -> str:
    lines = ["---", "library_name: transformers"]
    if origin.licence:
        lines.append(f"license: {origin.licence}")
    if origin.repo:
        lines.append(f"base_model: {origin.repo}")
    lines += ["tags:", "- jax-zoo", "---", ""]
    if origin.repo:
        commit = f" at commit {origin.commit}" if origin.commit else ""
        lines.append(f"Weights of `{origin.repo}`{commit}, saved with jax-zoo.")
    else:
        lines.append("Saved with jax-zoo.")
    lines.append(f"Licence: {origin.licence or 'not stated by the source'}.")
    return "\n".join(lines) + "\n"
