"""Building the tokenizer of a `vocab.json` of characters, of one language or of several."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from zoo.tokenizers.files import read_json

DELIMITER = "|"
FILE = "vocab.json"


def build(folder: Path, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """A backend whose tokens are the characters of `vocab.json`.

    Raises:
        ValueError: no vocabulary of characters, or not one of the language that is asked for.
    """
    return backend(language(folder / FILE, config.get("target_lang")), tokens)


def language(path: Path, wanted: Any) -> dict[str, int]:
    """The vocabulary of a language, or the only one there is.

    Raises:
        ValueError: no such language, or ids that are none.
    """
    vocab = read_json(path)
    nested = any(isinstance(value, Mapping) for value in vocab.values())
    if nested or wanted is not None:
        if wanted not in vocab or not isinstance(vocab[wanted], Mapping):
            known = ", ".join(sorted(k for k, v in vocab.items() if isinstance(v, Mapping))[:9])
            raise ValueError(
                f"{path}: target_lang: found {wanted!r}, expected one of {known or 'none'}; "
                "pass it, or None for a file of one language"
            )
        vocab = vocab[wanted]
    bad = [t for t, i in vocab.items() if not isinstance(i, int) or isinstance(i, bool) or i < 0]
    if bad:
        raise ValueError(f"{path}: the id of {bad[0]!r} is {vocab[bad[0]]!r}, expected an integer")
    return vocab


def backend(vocab: Mapping[str, int], tokens: Mapping[str, str]) -> Backend:
    """A backend for a vocabulary; tokens of several characters are never split."""
    found = Backend(models.WordLevel(dict(vocab), unk_token=tokens.get("unk_token", "<unk>")))
    delimiter = tokens.get("word_delimiter_token") or DELIMITER
    found.normalizer = normalizers.Replace(" ", delimiter)
    found.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    whole = [token for token in vocab if len(token) > 1]
    found.add_tokens(
        [AddedToken(t, rstrip=True, lstrip=True, normalized=False, special=False) for t in whole]
    )
    return found
