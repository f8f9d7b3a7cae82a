"""Bad files and bad arguments: one clear error each, of a documented type, never a panic."""

import copy
import json
import pickle

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.tokenizers import BatchEncoding, Tokenizer

DOCUMENTED = (ValueError, KeyError, OSError)


@pytest.fixture
def copied(folders, tmp_path):
    """A kind's folder, copied so that it may be broken; extra files by name."""

    def make(kind, **files):
        for path in folders(kind).iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        for name, text in files.items():
            data = text if isinstance(text, bytes) else text.encode()
            (tmp_path / name.replace("__", ".")).write_bytes(data)
        return tmp_path

    return make


def test_no_tokenizer(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        FileNotFoundError, match=r"no tokenizer; expected tokenizer.json, vocab.txt"
    ):
        Tokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("kind", "files", "match"),
    [
        (
            "bert",
            {"tokenizer_config__json": "{"},
            r"tokenizer_config.json: not valid JSON at line 1",
        ),
        ("bert", {"tokenizer_config__json": "[1]"}, "found a list, expected a JSON object"),
        ("bert", {"tokenizer_config__json": b"\xff{}"}, "byte 0 is not UTF-8"),
        ("bert", {"config__json": "[" * 100_000}, "nested too deeply|not valid JSON"),
        ("bert", {"special_tokens_map__json": '{"pad_token": 3}'}, "pad_token: found 3"),
        ("bert", {"special_tokens_map__json": '{"pad_token": {"content": 1}}'}, "expected a token"),
        ("bert", {"added_tokens__json": '{"x": "y"}'}, "id of 'x' is 'y'"),
        ("bert", {"tokenizer__json": "{}"}, "tokenizer.json: the tokenizers library refuses"),
        ("bert", {"tokenizer__json": '{"model": {"type": "BPE"}}'}, "library refuses"),
        ("bert", {"vocab__txt": "a\nb\n"}, r"unk_token '\[UNK\]' is not in the vocabulary of 2"),
        ("bert", {"vocab__txt": b"\xff\xfe"}, "vocab.txt: byte 0 is not UTF-8"),
        ("bert", {"vocab__txt": ""}, "is not in the vocabulary of 0"),
        (
            "bert",
            {"tokenizer_config__json": '{"never_split": ["a"]}'},
            "never_split is not supported",
        ),
        (
            "bert",
            {"tokenizer_config__json": '{"do_basic_tokenize": false}'},
            "do_basic_tokenize=False is not supported",
        ),
        (
            "bert",
            {"tokenizer_config__json": '{"tokenizer_class": "FooTokenizer"}'},
            "cannot build tokenizer class 'FooTokenizer' from vocab.txt",
        ),
        (
            "bert",
            {"tokenizer_config__json": '{"tokenizer_class": "LlamaTokenizer"}'},
            "cannot build tokenizer class 'LlamaTokenizer' from vocab.txt",
        ),
        ("bert", {"tokenizer_config__json": '{"padding_side": "up"}'}, "padding_side: found 'up'"),
        ("bert", {"tokenizer_config__json": '{"chat_template": 3}'}, "chat_template: found 3"),
        (
            "bert",
            {"tokenizer_config__json": '{"model_max_length": "x"}'},
            "model_max_length: found 'x'",
        ),
        (
            "bert",
            {"tokenizer_config__json": '{"model_input_names": 3}'},
            "model_input_names: found 3",
        ),
        (
            "bert",
            {"tokenizer_config__json": '{"do_lower_case": "yes"}'},
            "do_lower_case: found 'yes'",
        ),
        (
            "bert",
            {"tokenizer_config__json": '{"added_tokens_decoder": {"x": {"content": "y"}}}'},
            "'x' is not an id",
        ),
        (
            "bert",
            {"tokenizer_config__json": '{"additional_special_tokens": "x"}'},
            "expected a list of tokens",
        ),
        ("gpt2", {"vocab__json": '{"a": "b"}'}, "id of 'a' is 'b'"),
        ("gpt2", {"vocab__json": '{"a": 0}'}, "which vocab.json lacks"),
        ("gpt2", {"merges__txt": "#version: 0.2\na b c\n"}, "line 2 is 'a b c'"),
        ("gpt2", {"tokenizer_config__json": "{}"}, "cannot build tokenizer class None"),
        ("llama", {"tokenizer__model": b"IQ== 0\nIg== 1\n"}, "not a SentencePiece model"),
        ("llama", {"tokenizer__model": b""}, "not a SentencePiece model"),
        (
            "llama",
            {"tokenizer_config__json": '{"tokenizer_class": "T5Tokenizer"}'},
            "SentencePiece model type 2, expected unigram",
        ),
        (
            "t5",
            {"tokenizer_config__json": '{"tokenizer_class": "LlamaTokenizer"}'},
            "SentencePiece model type 1, expected BPE",
        ),
        (
            "t5",
            {"tokenizer_config__json": '{"tokenizer_class": "T5Tokenizer", "extra_ids": "x"}'},
            "extra_ids is 'x'",
        ),
    ],
)
def test_broken_files(copied, capfd, kind, files, match):
    with pytest.raises(ValueError, match=match):
        Tokenizer.from_pretrained(copied(kind, **files))
    assert "panicked" not in capfd.readouterr().err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
KEYS = [
    *("pad_token", "unk_token", "image_token", "additional_special_tokens", "chat_template"),
    *("added_tokens_decoder", "model_max_length", "padding_side", "truncation_side", "legacy"),
    *("model_input_names", "tokenizer_class", "do_lower_case", "strip_accents", "extra_ids"),
    *("add_bos_token", "add_prefix_space", "extra_special_tokens", "never_split", "max_len"),
    *("clean_up_tokenization_spaces", "split_special_tokens", "tokenize_chinese_chars"),
]


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama", "t5"])
@given(config=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4), data=st.data())
@settings(max_examples=60)
def test_any_config_loads_or_says_why(folders, tmp_path_factory, kind, config, data):
    stored = json.loads((folders(kind) / "tokenizer_config.json").read_text())
    folder = tmp_path_factory.mktemp("any")
    for path in folders(kind).iterdir():
        (folder / path.name).symlink_to(path)
    name = data.draw(st.sampled_from(["tokenizer_config.json", "special_tokens_map.json"]))
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(json.dumps({**stored, **config}))
    try:
        tokenizer = Tokenizer.from_pretrained(folder)
    except DOCUMENTED:
        return
    assert tokenizer("the fox").input_ids
    tokenizer.save_pretrained(folder / "saved")


@given(cut=st.integers(0, 20_000), flip=st.integers(0, 255))
@settings(max_examples=60)
def test_any_damaged_sentencepiece_model(folders, tmp_path_factory, cut, flip):
    folder = tmp_path_factory.mktemp("damaged")
    stored = (folders("llama") / "tokenizer.model").read_bytes()
    at = cut % len(stored)
    (folder / "tokenizer.model").write_bytes(
        stored[:at] + bytes([flip]) + stored[at + 1 + at % 2 :]
    )
    (folder / "config.json").write_text('{"model_type": "llama"}')
    try:
        Tokenizer.from_pretrained(folder)
    except DOCUMENTED:
        pass


@pytest.mark.parametrize(
    ("args", "options", "match"),
    [
        (([],), {}, "the batch is empty"),
        ((None,), {}, "text: found a NoneType, expected a string"),
        ((3,), {}, "text: found a int, expected a string"),
        ((b"bytes",), {}, "text: found a bytes"),
        ((["a", 3],), {}, r"text\[1\]: found a int"),
        (([("a", "b", "c")],), {}, r"text\[0\]: found a tuple"),
        (([["a", 3]],), {}, r"text\[0\]\[1\]: found a int"),
        ((["a"], "b"), {}, "text_pair: found a str"),
        ((["a"], ["b", "c"]), {}, "text_pair: found 2, expected a list as long as text"),
        (("a", 3), {}, "text_pair: found a int"),
        (("x\ud800y",), {}, r"text: character 1 is the lone surrogate U\+D800"),
        ((["ok", "\udfff"],), {}, r"text\[1\]: character 0 is the lone surrogate U\+DFFF"),
        (("a b",), {"is_split_into_words": True}, "expected a list of words"),
        ((["a", 3],), {"is_split_into_words": True}, r"text\[1\]: found a int"),
        (("a",), {"padding": "longer"}, "padding: found 'longer', expected a boolean or one of"),
        (("a",), {"truncation": "first"}, "truncation: found 'first'"),
        (("a",), {"padding_side": "up"}, "padding_side: found 'up'"),
        (("a",), {"truncation_side": "up"}, "truncation_side: found 'up'"),
        (("a",), {"return_tensors": "pt"}, "return_tensors: 'pt' is not supported"),
        ((["a", "a a a"],), {"return_tensors": "jax"}, "lengths 3 to 5, expected one length"),
        (("a",), {"max_length": -1}, "max_length: found -1"),
        (("a",), {"max_length": 1.5}, "max_length: found 1.5"),
        (("a",), {"max_length": 2**70}, "max_length: found"),
        (("a",), {"stride": -1}, "stride: found -1"),
        (("a",), {"pad_to_multiple_of": 0, "padding": True}, "pad_to_multiple_of: found 0"),
        (
            ("a",),
            {"pad_to_multiple_of": 8, "padding": True, "truncation": True, "max_length": 12},
            "max_length 12 is not a multiple of 8",
        ),
        (("a",), {"padding": "max_length"}, "knows no model_max_length"),
        (("a b",), {"max_length": 1}, "max_length: 1 leaves -1 tokens beside 2 special"),
        (("a b", "c"), {"max_length": 2}, "max_length: 2 leaves -1 tokens beside 3 special"),
        (("a b",), {"max_length": 4, "stride": 2}, "stride is 2"),
        (
            ("the " * 9,),
            {"max_length": 4, "truncation": "only_second"},
            "has no pair; pass text_pair",
        ),
        (
            ("the", "the " * 9),
            {"max_length": 8, "truncation": "only_first"},
            "keeps 0 tokens of the truncated text, expected more than the stride of 0",
        ),
    ],
)
def test_wrong_input(pairs, capfd, args, options, match):
    ours, _ = pairs("bert")
    with pytest.raises(ValueError, match=match):
        ours(*args, **options)
    assert "panicked" not in capfd.readouterr().err


def test_unknown_arguments(pairs, folders):
    with pytest.raises(TypeError, match="max_lenght"):
        pairs("bert")[0]("a", max_lenght=3)
    with pytest.raises(TypeError, match="unknown argument 'paddingside'; expected one of"):
        Tokenizer.from_pretrained(folders("bert"), paddingside="left")
    with pytest.raises(ValueError, match="trust_remote_code"):
        Tokenizer.from_pretrained(folders("bert"), trust_remote_code=True)
    with pytest.raises(ValueError, match="only the fast tokenizer"):
        Tokenizer.from_pretrained(folders("bert"), use_fast=False)


def test_padding_without_pad_token(folders):
    ours = Tokenizer.from_pretrained(folders("gpt2"))
    with pytest.raises(ValueError, match=r"no pad token; set tokenizer.pad_token"):
        ours(["a", "a b"], padding=True)
    with pytest.raises(ValueError, match="no pad token"):
        ours.pad([{"input_ids": [1]}, {"input_ids": [1, 2]}])
    ours.pad_token = ours.eos_token
    assert ours(["a", "a b c"], padding=True, return_tensors="jax").input_ids.shape[0] == 2


def test_overrides(folders, tmp_path):
    folder = folders("llama")
    load = Tokenizer.from_pretrained
    ids = load(folder).encode("hello")
    assert load(folder, add_bos_token=False).encode("hello") == ids[1:]
    assert load(folder, add_eos_token=True).encode("hello") == [*ids, 2]
    assert load(folder, padding_side="right").padding_side == "right"
    assert load(folder, add_prefix_space=False).encode("hello") != ids
    assert load(folders("bert"), do_lower_case=False).tokenize("THE") != ["the"]
    assert load(folders("gpt2"), pad_token="!").pad_token == "!"
    load(folder).save_pretrained(tmp_path)
    assert load(tmp_path, add_bos_token=False).encode("hello") == ids[1:]
    with pytest.raises(ValueError, match=r"legacy=True has no effect on tokenizer.json"):
        load(tmp_path, legacy=True)
    with pytest.raises(ValueError, match="has no bos_token"):
        load(folders("qwen2"), add_bos_token=True)
    tokenizer = load(folder)
    tokenizer.add_bos_token, tokenizer.add_eos_token = False, True
    assert tokenizer.encode("hello") == [*ids[1:], 2]
    tokenizer.eos_token = "<s>"
    assert tokenizer.encode("hello") == [*ids[1:], 1]


def test_bert_switches_rule_over_tokenizer_json(pairs, tmp_path):
    from transformers import AutoTokenizer

    pairs("bert")[0].save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["do_lower_case"] = False
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours, ref = Tokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert ours.encode("The Fox é") == ref.encode("The Fox é")
    assert ours.encode("THE") != ours.encode("the")


def test_adding_tokens(folders):
    from transformers import AutoTokenizer

    ours = Tokenizer.from_pretrained(folders("gpt2"))
    ref = AutoTokenizer.from_pretrained(folders("gpt2"))
    for one in (ours, ref):
        assert one.add_tokens(["newtoken", "the"]) >= 1
        assert one.add_special_tokens({"pad_token": "[PAD]"}) == 1
        assert one.add_special_tokens({"additional_special_tokens": ["<a>", "<b>"]}) == 2
    text = "a newtoken <a>[PAD] <b>the"
    assert ours.encode(text) == ref.encode(text)
    assert (len(ours), ours.vocab_size) == (len(ref), ref.vocab_size)
    assert ours.all_special_tokens == ref.all_special_tokens
    ids = ours.encode(text)
    assert ours.decode(ids, skip_special_tokens=True) == ref.decode(ids, skip_special_tokens=True)
    mask = ours.get_special_tokens_mask(ids, already_has_special_tokens=True)
    assert mask == ref.get_special_tokens_mask(ids, already_has_special_tokens=True)
    for bad, match in (
        ({"pad": "x"}, "unknown 'pad'; expected bos_token"),
        ({"pad_token": 3}, "pad_token: found 3"),
        ({"additional_special_tokens": "<a>"}, "expected a list of tokens"),
    ):
        with pytest.raises(ValueError, match=match):
            ours.add_special_tokens(bad)
    with pytest.raises(ValueError, match="'<none>' is not in the vocabulary; add it with"):
        ours.mask_token = "<none>"
    with pytest.raises(ValueError, match="no token has id 99999"):
        ours.mask_token_id = 99999
    ours.mask_token_id = ours.pad_token_id
    assert ours.mask_token == "[PAD]"
    with pytest.raises(ValueError, match=r"new_tokens\[0\]: found 3"):
        ours.add_tokens([3])
    with pytest.raises(ValueError, match="empty string"):
        ours.add_tokens("")


def test_decoding_arrays_and_what_is_no_id(pairs):
    ours, ref = pairs("bert")
    ids = ours(["the fox", "a dog"], padding=True, return_tensors="jax").input_ids
    assert ids.dtype == jax.numpy.int32
    rows = np.asarray(ids).tolist()
    assert ours.decode(ids) == ours.batch_decode(rows) == ref.batch_decode(rows)
    assert ours.decode(ids[0]) == ours.decode(list(ids[0])) == ref.decode(rows[0])
    assert ours.decode(int(ids[0, 1])) == "the"
    assert ours.decode([]) == ""
    assert ours.decode("the fox".split() and rows[0], clean_up_tokenization_spaces=True)
    for bad in ([1, -100], ["the"], [1.5], [2**40], None, [[1], [-1]]):
        with pytest.raises(ValueError, match="expected a token id"):
            ours.decode(bad)
    assert ours.convert_ids_to_tokens([2, 10**6]) == ["[CLS]", None]


def test_clean_up(folders):
    from transformers import AutoTokenizer

    for kind in ("bert", "gpt2"):
        options = {"clean_up_tokenization_spaces": True}
        ours = Tokenizer.from_pretrained(folders(kind), **options)
        ref = AutoTokenizer.from_pretrained(folders(kind), **options)
        ids = ours.encode("hello , don ' t stop . I 'm here ?")
        assert ours.decode(ids) == ref.decode(ids)
    assert ours.decode(ids, clean_up_tokenization_spaces=True).endswith("here?")


def test_batch_encoding(pairs):
    ours, _ = pairs("bert")
    found = ours(["the fox", "a dog"], padding=True)
    assert found.input_ids is found["input_ids"]
    assert set({**found}) == {"input_ids", "token_type_ids", "attention_mask"}
    assert found[1].tokens == found.tokens(1)
    assert list(found[:1]["input_ids"]) == found["input_ids"][:1]
    with pytest.raises(AttributeError, match="no 'labels'; it holds input_ids"):
        _ = found.labels
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert again.tokens() == found.tokens()
    arrays = found.convert_to_tensors("jax")
    doubled = jax.tree.map(lambda x: x * 2, arrays)
    assert isinstance(doubled, BatchEncoding)
    with pytest.raises(ValueError, match="known only for what a tokenizer returned"):
        doubled.tokens()
    assert jax.jit(lambda batch: batch["input_ids"].sum())(arrays) == arrays.input_ids.sum()


def test_targets_and_pairs(pairs):
    ours, ref = pairs("t5")
    options = {"text_target": ["a dog", "fox"], "padding": True}
    assert dict(ours(["the fox", "a"], **options)) == dict(ref(["the fox", "a"], **options))
    listed = [("the fox", "a dog"), ("a", "")]
    assert dict(ours(listed)) == dict(ref(listed))
    assert dict(ours(text_target="a", text=None)) == dict(ref(text_target="a"))


def test_copies_are_independent(pairs):
    ours, _ = pairs("bert")
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert other("the fox") == ours("the fox")
        other.add_tokens("brandnew")
        assert len(other) == len(ours) + 1


def test_pad_refuses(pairs):
    ours, _ = pairs("bert")
    for bad, match in (
        ([{"ids": [1]}], "found no 'input_ids'"),
        ([{"input_ids": [1]}, {"input_ids": [1], "x": [2]}], "encoding 1 does not have the keys"),
        ({"input_ids": [[1], [2]], "attention_mask": [[1]]}, "'attention_mask' has 1 rows"),
        ({"input_ids": [["x"], [2]]}, "is no list of token ids"),
        ({"input_ids": 3}, "is no list of token ids"),
    ):
        with pytest.raises(ValueError, match=match):
            ours.pad(bad, return_tensors="np")


def test_model_specific_tokens(copied):
    folder = copied("gpt2")
    config = {"tokenizer_class": "GPT2Tokenizer", "image_token": "<image>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    from transformers import AutoTokenizer

    ours, ref = Tokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert ours.image_token == ref.image_token
    assert ours.image_token_id == ref.image_token_id
    assert ours.encode("a<image>") == ref.encode("a<image>")
    with pytest.raises(AttributeError, match="no attribute 'audio_token'"):
        _ = ours.audio_token


def test_threads_do_not_mix_options(pairs):
    from concurrent.futures import ThreadPoolExecutor

    ours, _ = pairs("bert")
    text = "the quick brown fox " * 5
    sizes = [4 + i % 17 for i in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: len(ours.encode(text, max_length=n)), sizes))
    assert found == sizes


@given(data=st.data(), kind=st.sampled_from(["bert", "roberta", "llama", "t5"]))
@settings(max_examples=150)
def test_any_damaged_tokenizer_json(pairs, tmp_path_factory, data, kind):
    stored = json.loads(pairs(kind)[0].backend_tokenizer.to_str())
    where, path = stored, []
    while isinstance(where, (dict, list)) and where and (not path or data.draw(st.booleans())):
        keys = list(where) if isinstance(where, dict) else range(min(len(where), 5))
        path.append((where, data.draw(st.sampled_from(keys))))
        where = path[-1][0][path[-1][1]]
    parent, key = path[-1]
    parent[key] = data.draw(JSON | st.just(-1) | st.just(where))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "tokenizer.json").write_text(json.dumps(stored))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    try:
        tokenizer = Tokenizer.from_pretrained(folder)
        ids = tokenizer("the fox [MASK] é日", "a dog", truncation=True, max_length=9).input_ids
        tokenizer.decode(ids)
        tokenizer.save_pretrained(folder / "saved")
    except DOCUMENTED:
        pass


def test_only_needed_files_are_fetched(folders, pairs, monkeypatch, tmp_path):
    from bridges import hub

    asked = []
    monkeypatch.setattr(
        hub, "snapshot", lambda repo, patterns, **kw: asked.append((patterns, kw)) or tmp_path
    )
    for path in folders("bert").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    found = Tokenizer.from_pretrained("owner/name", revision="v1", local_files_only=True)
    assert found.name_or_path == "owner/name"
    assert ["vocab.txt" in patterns for patterns, _ in asked] == [False, True]
    assert asked[0][1]["revision"] == "v1"
    assert asked[0][1]["local_files_only"] is True
    pairs("bert")[0].save_pretrained(tmp_path)
    asked.clear()
    Tokenizer.from_pretrained("owner/name")
    assert len(asked) == 1


def test_wraps_a_backend(pairs):
    ours, _ = pairs("bert")
    bare = Tokenizer(copy.deepcopy(ours.backend_tokenizer))
    assert bare.encode("the fox") == ours.encode("the fox")
    assert bare.special_tokens_map == {}
    bare.pad_token = "[PAD]"
    padded = bare("the", padding="max_length", max_length=5).input_ids
    assert padded == ours("the", padding="max_length", max_length=5).input_ids
