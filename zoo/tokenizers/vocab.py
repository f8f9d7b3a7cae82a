"""Building the tokenizer of `vocab.txt` (WordPiece) or `vocab.json` with `merges.txt` (BPE).

BERT: arXiv 1810.04805. Byte-level BPE: GPT-2. Qwen2 splits digits one by one and normalises to NFC.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from zoo.tokenizers.files import read_json

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def wordpiece(folder: Path, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """BERT's tokenizer from `vocab.txt`.

    Raises:
        ValueError: the vocabulary lacks a special token, or a switch of the config is unsupported.
    """
    path = folder / "vocab.txt"
    if config.get("never_split"):
        raise ValueError(f"{path}: never_split is not supported; add the tokens with add_tokens()")
    if config.get("do_basic_tokenize", True) is False:
        raise ValueError(f"{path}: do_basic_tokenize=False is not supported")
    vocab = {token: index for index, token in enumerate(_lines(path))}
    require(path, vocab, tokens, ("unk_token", "cls_token", "sep_token"))
    backend = Backend(models.WordPiece(vocab, unk_token=tokens["unk_token"]))
    backend.normalizer = bert_normalizer(config)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    cls, sep = tokens["cls_token"], tokens["sep_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, vocab[cls]), (sep, vocab[sep])],
    )
    return backend


def mpnet(folder: Path, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """MPNet's: BERT's with `<s> a </s></s> b </s>` around it; `<mask>` takes the space before."""
    backend = wordpiece(folder, config, tokens)
    vocab, mask = backend.get_vocab(), tokens.get("mask_token", "")
    if mask in vocab:
        backend.add_special_tokens([AddedToken(mask, lstrip=True, special=True)])
    cls, sep = tokens["cls_token"], tokens["sep_token"]
    backend.post_processor = processors.RobertaProcessing(
        (sep, vocab[sep]), (cls, vocab[cls]), add_prefix_space=False
    )
    return backend


def bert_normalizer(config: Mapping[str, Any]) -> normalizers.BertNormalizer:
    """Cleaning, CJK spacing, accents and case as `tokenizer_config.json` asks."""
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )


def gpt2(folder: Path, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """GPT-2's byte-level BPE from `vocab.json` and `merges.txt`."""
    backend = _byte_level(folder)
    prefix = bool(config.get("add_prefix_space", False))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return backend


def gpt_neox(folder: Path, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """GPT-NeoX's: GPT-2's after NFC."""
    backend = gpt2(folder, config, tokens)
    backend.normalizer = normalizers.NFC()
    return backend


def roberta(folder: Path, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """RoBERTa's: GPT-2's with `<s> a </s></s> b </s>` around it."""
    backend = gpt2(folder, config, tokens)
    vocab = backend.get_vocab()
    require(folder / "vocab.json", vocab, tokens, ("cls_token", "sep_token"))
    cls, sep = tokens["cls_token"], tokens["sep_token"]
    backend.post_processor = processors.RobertaProcessing(
        (sep, vocab[sep]),
        (cls, vocab[cls]),
        trim_offsets=bool(config.get("trim_offsets", True)),
        add_prefix_space=bool(config.get("add_prefix_space", False)),
    )
    return backend


def qwen2(folder: Path, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """Qwen2's byte-level BPE: NFC, digits one by one."""
    backend = _byte_level(folder)
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(
                add_prefix_space=bool(config.get("add_prefix_space", False)), use_regex=False
            ),
        ]
    )
    return backend


def require(
    path: Path, vocab: Mapping[str, int], tokens: Mapping[str, str], names: tuple[str, ...]
) -> None:
    """Raise ValueError unless the named special tokens are in the vocabulary."""
    for name in names:
        if tokens.get(name) not in vocab:
            raise ValueError(
                f"{path}: {name} {tokens.get(name)!r} is not in the vocabulary of {len(vocab)} "
                f"tokens; pass {name}=... or replace the file"
            )


def _byte_level(folder: Path) -> Backend:
    path = folder / "vocab.json"
    vocab = read_json(path)
    bad = [t for t, i in vocab.items() if not isinstance(i, int) or isinstance(i, bool) or i < 0]
    if bad:
        raise ValueError(f"{path}: the id of {bad[0]!r} is {vocab[bad[0]]!r}, expected an integer")
    merges = _merges(folder / "merges.txt", vocab)
    backend = Backend(
        models.BPE(vocab, merges, continuing_subword_prefix="", end_of_word_suffix="")
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def _merges(path: Path, vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(_lines(path), 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2:
            raise ValueError(f"{path}: line {number} is {line!r}, expected two tokens and a space")
        absent = [token for token in (*pair, "".join(pair)) if token not in vocab]
        if absent:
            raise ValueError(
                f"{path}: line {number} merges into {absent[0]!r}, which vocab.json lacks; "
                "the two files do not belong together"
            )
        merges.append((pair[0], pair[1]))
    return merges


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; replace the file") from error
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines
