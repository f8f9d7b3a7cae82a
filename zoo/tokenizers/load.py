"""From a folder to a backend: `tokenizer.json` as it is, or built from vocabulary."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import normalizers, pre_tokenizers, processors

from zoo.tokenizers import characters, special, spm, vocab
from zoo.tokenizers.families import FAMILIES, Family, family
from zoo.tokenizers.files import SETTINGS, VOCABULARY, Settings
from zoo.tokenizers.guard import guard

_SPM: dict[str, Callable[..., Backend]] = {
    "albert": spm.albert,
    "deberta-v2": spm.deberta_v2,
    "gemma": spm.gemma,
    "llama": spm.llama,
    "t5": spm.t5,
    "xlm-roberta": spm.xlm_roberta,
}
_WORD: dict[str, Callable[..., Backend]] = {
    "bert": vocab.wordpiece,
    "mpnet": vocab.mpnet,
}
_BPE: dict[str, Callable[..., Backend]] = {
    "gpt2": vocab.gpt2,
    "gpt_neox": vocab.gpt_neox,
    "qwen2": vocab.qwen2,
    "roberta": vocab.roberta,
}


def locate(repo_or_folder: str | os.PathLike, **hub: Any) -> Path:
    """A local folder with the tokenizer's files; from the Hub only those that are needed."""
    folder = Path(repo_or_folder)
    if folder.is_dir():
        return folder
    from bridges.hub import snapshot

    found = snapshot(repo_or_folder, list(SETTINGS), **hub)
    if (found / "tokenizer.json").is_file():
        return found
    return snapshot(repo_or_folder, [*SETTINGS, *VOCABULARY], **hub)


def backend(folder: Path, settings: Settings) -> tuple[Backend, list]:
    """The backend of a folder, and the extra tokens that its vocabulary file declares.

    Raises:
        FileNotFoundError: the folder holds no tokenizer.
        ValueError: a file is broken, or the class cannot be built from the files that exist.
    """
    if (folder / "tokenizer.json").is_file():
        return from_file(folder / "tokenizer.json", settings), []
    model = spm.find(folder)
    word = (folder / "vocab.txt").is_file()
    json = (folder / "vocab.json").is_file()
    bpe = json and (folder / "merges.txt").is_file()
    name = settings.tokenizer_class
    recipe = family(name)
    if not (model or word or bpe or (json and recipe.build == "ctc")):
        raise FileNotFoundError(
            f"{folder}: no tokenizer; expected tokenizer.json, vocab.txt, vocab.json with "
            f"merges.txt, or one of {', '.join(VOCABULARY[3:])}"
        )
    tokens = default_tokens(recipe, settings)
    with guard(str(folder)):
        if recipe.build == "ctc" and json:
            return characters.build(folder, settings.config, tokens), []
        if recipe.build in _SPM and model:
            proto = spm.read(model)
            built = _SPM[recipe.build](model, proto, settings.config, tokens)
            return built, spm.added(proto) + _sentinels(recipe, settings)
        if recipe.build in _BPE and bpe:
            return _BPE[recipe.build](folder, settings.config, tokens), []
        if recipe.build in _WORD and word:
            return _WORD[recipe.build](folder, settings.config, tokens), []
    found = [n for n in VOCABULARY if (folder / n).is_file()]
    buildable = sorted(n for n, f in FAMILIES.items() if f.build)
    raise ValueError(
        f"{folder}: cannot build tokenizer class {name!r} from {', '.join(found)}; use a "
        f"repository with tokenizer.json, or pass tokenizer_class as one of {', '.join(buildable)}"
    )


def from_file(path: Path, settings: Settings) -> Backend:
    """`tokenizer.json`, with the few switches of `tokenizer_config.json` that rule over it.

    These are BERT's `do_lower_case`, `strip_accents` and `tokenize_chinese_chars`, and
    `add_prefix_space` of byte-level tokenizers.

    Raises:
        ValueError: the file is not a tokenizer.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; replace the file") from error
    with guard(str(path)):
        built = Backend.from_str(text)
    if family(settings.tokenizer_class).build == "bert":
        if isinstance(built.normalizer, normalizers.BertNormalizer):
            built.normalizer = vocab.bert_normalizer(settings.config)
    prefix = settings.config.get("add_prefix_space")
    if prefix is not None:
        _set_prefix(built, bool(prefix))
    return built


def default_tokens(recipe: Family, settings: Settings) -> dict[str, str]:
    """The named special tokens as text: the family's, over them the files' (null unsets)."""
    tokens = {f"{name}_token": token for name, token in recipe.tokens.items()}
    stored = {**tokens, **settings.named}
    return {name: special.str_of(token) for name, token in stored.items() if token is not None}


def ends(folder: Path, built: Backend, settings: Settings) -> dict[str, bool]:
    """Whether texts get `<s>` and `</s>`, for a backend from vocabulary files without a template.

    A `tokenizer.json` says this itself, so that the config is not asked.
    """
    if (folder / "tokenizer.json").is_file() or built.post_processor is not None:
        return {}
    recipe = family(settings.tokenizer_class)
    tokens = default_tokens(recipe, settings)
    wanted = {"bos_token": recipe.add_bos, "eos_token": False}
    return {
        f"add_{name}": bool(settings.config.get(f"add_{name}", default)) and name in tokens
        for name, default in wanted.items()
    }


def _sentinels(recipe: Family, settings: Settings) -> list[str]:
    if recipe.build != "t5":
        return []
    return [f"<extra_id_{i}>" for i in range(settings.config.get("extra_ids", 100))]


def _set_prefix(built: Backend, prefix: bool) -> None:
    current: Any = built.pre_tokenizer
    for step in current if isinstance(current, pre_tokenizers.Sequence) else [current]:
        if isinstance(step, pre_tokenizers.ByteLevel):
            step.add_prefix_space = prefix
    if current is not None:
        built.pre_tokenizer = current
    after: Any = built.post_processor
    if isinstance(after, processors.RobertaProcessing):
        after.add_prefix_space = prefix
        built.post_processor = after


def overrides(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of from_pretrained that stand for keys of `tokenizer_config.json`.

    Raises:
        TypeError: an argument that no tokenizer has.
        ValueError: an argument of transformers that is not supported.
    """
    if values.get("trust_remote_code"):
        raise ValueError(
            "trust_remote_code: code from a repository is never run; drop the argument"
        )
    if values.get("use_fast") is False:
        raise ValueError("use_fast=False: there is only the fast tokenizer; drop the argument")
    kept = {k: v for k, v in values.items() if k not in ("trust_remote_code", "use_fast")}
    unknown = [k for k in kept if k not in OVERRIDES and k not in special.NAMES]
    if unknown:
        raise TypeError(
            f"from_pretrained: unknown argument {unknown[0]!r}; expected one of "
            f"{', '.join((*OVERRIDES, *special.NAMES))}"
        )
    return kept


OVERRIDES = (
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "additional_special_tokens",
    "chat_template",
    "clean_up_tokenization_spaces",
    "do_lower_case",
    "extra_ids",
    "extra_special_tokens",
    "keep_accents",
    "legacy",
    "model_input_names",
    "model_max_length",
    "padding_side",
    "split_special_tokens",
    "strip_accents",
    "target_lang",
    "tokenize_chinese_chars",
    "tokenizer_class",
    "trim_offsets",
    "truncation_side",
)
