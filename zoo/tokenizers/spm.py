"""Building the tokenizer of a SentencePiece model: Llama's BPE with byte fallback, T5's unigram.

SentencePiece: arXiv 1808.06226. The file is read through the `sentencepiece` package's own message
classes, which need `protobuf`; the tokenizer built from it runs without either.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from zoo.tokenizers.files import SENTENCEPIECE
from zoo.tokenizers.vocab import require

UNIGRAM, BPE = 1, 2
CONTROL, USER_DEFINED = 3, 4
SPACE = "▁"


def find(folder: Path) -> Path | None:
    """The SentencePiece model of a folder."""
    return next((folder / name for name in SENTENCEPIECE if (folder / name).is_file()), None)


def read(path: Path) -> Any:
    """The parsed model.

    Raises:
        ImportError: `sentencepiece` or `protobuf` is not installed.
        ValueError: the file is not a SentencePiece model.
    """
    try:
        from google.protobuf.message import DecodeError
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise ImportError(
            f"{path}: reading a SentencePiece model needs the packages sentencepiece and protobuf; "
            "pip install sentencepiece protobuf"
        ) from error
    messages: Any = sentencepiece_model_pb2
    proto = messages.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError:
        proto.Clear()
    if not proto.pieces:
        raise ValueError(
            f"{path}: not a SentencePiece model (a tiktoken vocabulary is not supported); "
            "use a repository with tokenizer.json"
        )
    return proto


def added(proto: Any) -> list[AddedToken]:
    """The control pieces (special) and user-defined pieces (not special) of a model."""
    return [
        AddedToken(piece.piece, normalized=False, special=piece.type == CONTROL)
        for piece in proto.pieces
        if piece.type in (CONTROL, USER_DEFINED)
    ]


def llama(path: Path, proto: Any, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """Llama 1 and 2, Mistral: BPE with byte fallback and a dummy prefix.

    The prefix is added once with `legacy=False`, after every special token with `legacy=True`.
    """
    backend = _bpe(path, proto, None)
    prefix = config.get("add_prefix_space")
    prefix = True if prefix is None else bool(prefix)
    scheme = ("always" if config.get("legacy") else "first") if prefix else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, scheme, split=False)
    strip = [decoders.Strip(content=" ", left=1)] if prefix else []
    backend.decoder = decoders.Sequence([*_fallback_decoders(), *strip])
    return backend


def gemma(path: Path, proto: Any, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """Gemma: BPE with byte fallback, spaces kept as they are."""
    backend = _bpe(path, proto, tokens["unk_token"])
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence(_fallback_decoders())
    return backend


def t5(path: Path, proto: Any, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """T5: unigram, `a </s>`, with `extra_ids` sentinels after the vocabulary."""
    count = config.get("extra_ids", 100)
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"{path}: extra_ids is {count!r}, expected a number of sentinels")
    pieces = _pieces(proto) + [(f"<extra_id_{i}>", 0.0) for i in reversed(range(count))]
    backend = _unigram(path, proto, pieces, proto.trainer_spec.unk_id)
    backend.normalizer = _charsmap(proto)
    eos = tokens["eos_token"]
    require(path, backend.get_vocab(), tokens, ("eos_token",))
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {eos}",
        pair=f"$A {eos} $B {eos}",
        special_tokens=[(eos, backend.token_to_id(eos))],
    )
    return backend


def xlm_roberta(
    path: Path, proto: Any, config: Mapping[str, Any], tokens: Mapping[str, str]
) -> Backend:
    """XLM-RoBERTa: unigram behind fairseq's four first ids, `<s> a </s></s> b </s>`."""
    bos, pad, eos, unk, mask = (
        tokens[f"{name}_token"] for name in ("bos", "pad", "eos", "unk", "mask")
    )
    pieces = [(token, 0.0) for token in (bos, pad, eos, unk)] + _pieces(proto)[3:] + [(mask, 0.0)]
    backend = _unigram(path, proto, pieces, 3, bool(config.get("add_prefix_space", True)))
    backend.normalizer = _charsmap(proto)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, backend.token_to_id(bos)), (eos, backend.token_to_id(eos))],
    )
    return backend


def albert(path: Path, proto: Any, config: Mapping[str, Any], tokens: Mapping[str, str]) -> Backend:
    """ALBERT: unigram, quotes unified, accents and case as the config asks, BERT's template."""
    steps: list = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not config.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if config.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    charsmap = _charsmap(proto)
    steps += [charsmap] if charsmap is not None else []
    prefix = bool(config.get("add_prefix_space", True))
    backend = _unigram(path, proto, _pieces(proto), proto.trainer_spec.unk_id, prefix)
    backend.normalizer = normalizers.Sequence(steps)
    backend.post_processor = _bert_template(path, backend, tokens)
    return backend


def deberta_v2(
    path: Path, proto: Any, config: Mapping[str, Any], tokens: Mapping[str, str]
) -> Backend:
    """DeBERTa v2 and v3: unigram, spaces joined, NFC, BERT's template."""
    _expect(path, proto, UNIGRAM, "unigram")
    pieces, unk = _pieces(proto), (tokens["unk_token"], 0.0)
    index = pieces.index(unk) if unk in pieces else 1
    backend = Backend(models.Unigram(pieces, unk_id=index, byte_fallback=False))
    lower = [normalizers.Lowercase()] if config.get("do_lower_case", False) else []
    joined = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    ended = normalizers.Strip(left=False, right=True)
    backend.normalizer = normalizers.Sequence([*lower, joined, normalizers.NFC(), ended])
    scheme = "always" if config.get("add_prefix_space", True) else "first"
    apart = config.get("split_by_punct", False)
    marks = [pre_tokenizers.Punctuation(behavior="isolated")] if apart else []
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*marks, pre_tokenizers.Metaspace(SPACE, scheme)]
    )
    backend.decoder = decoders.Metaspace(SPACE, scheme)
    backend.post_processor = _bert_template(path, backend, tokens)
    return backend


def _bert_template(
    path: Path, backend: Backend, tokens: Mapping[str, str]
) -> processors.TemplateProcessing:
    require(path, backend.get_vocab(), tokens, ("cls_token", "sep_token"))
    cls, sep = tokens["cls_token"], tokens["sep_token"]
    return processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, backend.token_to_id(cls)), (sep, backend.token_to_id(sep))],
    )


def merges(vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every split of a piece into two pieces, best piece first, as BPE merges.

    SentencePiece stores no merges; the order of the pieces is the order in which they were made.
    """
    found = []
    for piece, rank in vocab.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocab and right in vocab:
                found.append((rank, len(left), len(right), left, right))
    found.sort(key=lambda item: item[:3])
    return [(left, right) for *_, left, right in found]


def _bpe(path: Path, proto: Any, unk: str | None) -> Backend:
    _expect(path, proto, BPE, "BPE")
    vocab = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    model = models.BPE(vocab, merges(vocab), unk_token=unk, fuse_unk=True, byte_fallback=True)
    return Backend(model)


def _unigram(
    path: Path, proto: Any, pieces: list[tuple[str, float]], unk: int, prefix: bool = True
) -> Backend:
    _expect(path, proto, UNIGRAM, "unigram")
    backend = Backend(models.Unigram(pieces, unk_id=unk, byte_fallback=False))
    scheme = "always" if prefix else "never"
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(SPACE, scheme)]
    )
    backend.decoder = decoders.Metaspace(SPACE, scheme)
    return backend


def _expect(path: Path, proto: Any, kind: int, name: str) -> None:
    if proto.trainer_spec.model_type != kind:
        raise ValueError(
            f"{path}: SentencePiece model type {proto.trainer_spec.model_type}, expected {name} "
            f"({kind}); pass the tokenizer_class that belongs to the file"
        )


def _pieces(proto: Any) -> list[tuple[str, float]]:
    return [(piece.piece, piece.score) for piece in proto.pieces]


def _charsmap(proto: Any) -> normalizers.Precompiled | None:
    charsmap = proto.normalizer_spec.precompiled_charsmap
    return normalizers.Precompiled(charsmap) if charsmap else None


def _fallback_decoders() -> list:
    return [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
