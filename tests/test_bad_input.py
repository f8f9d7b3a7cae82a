"""Bad files, configs and arguments: one clear error of a documented type, and nothing else."""

import hashlib
import json
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import zoo
from bridges import tensorfile
from bridges.safetensors import CheckpointError
from zoo.errors import UnknownNameError

DOCUMENTED = (ValueError, KeyError, OSError)  # FileNotFoundError, ConnectionError, ... are OSErrors
BERT = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 8,
}
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
    "max_position_embeddings": 8,
}
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    zoo.from_config(BERT).save_pretrained(folder / "whole")
    zoo.from_pretrained(folder / "whole").save_pretrained(folder / "shards", max_shard_size="2KB")
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved / "whole", tmp_path / "model")


@pytest.fixture
def shards(saved, tmp_path):
    return shutil.copytree(saved / "shards", tmp_path / "model")


def complaint(call, kind=DOCUMENTED):
    """What a call is refused with: one line, of a documented type, without another behind it."""
    with pytest.raises(DOCUMENTED) as caught:
        call()
    error = caught.value
    assert isinstance(error, kind), repr(error)
    assert error.__cause__ is None or error.__suppress_context__, "a second traceback"
    assert error.__context__ is None or error.__suppress_context__, "a second traceback"
    text = str(error)
    assert "\n" not in text
    assert not text.startswith(("'", '"'))
    assert len(text) < 1500
    return text


def refused(folder, match, kind=DOCUMENTED, **options):
    """Loading is refused, and the folder stays as it was."""
    before = digest(folder)
    text = complaint(lambda: zoo.from_pretrained(folder, progress=False, **options), kind)
    assert re.search(match, text), text
    assert digest(folder) == before


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha1(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def change(folder, remove=(), **keys):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | keys
    path.write_text(json.dumps({k: v for k, v in config.items() if k not in remove}))


# Weights


def split(data):
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(header, rest):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def entry(key, value):
    def edit(data):
        header, rest = split(data)
        header["embeddings.LayerNorm.bias"][key] = value
        return join(header, rest)

    return edit


def twice(data):
    header, rest = split(data)
    return join((json.dumps(header)[:-1] + ', "pooler.dense.bias": {}}').encode(), rest)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        pytest.param(lambda data: b"", "found 0 bytes, expected at least 8", id="empty"),
        pytest.param(lambda data: data[:-4], "is truncated: found", id="truncated"),
        pytest.param(lambda data: data[:100], "expected it to fit", id="truncated-header"),
        pytest.param(lambda data: data + b"1234", "bytes that no tensor names", id="longer"),
        pytest.param(
            lambda data: struct.pack("<Q", len(data)) + data[8:],
            "found a header of .* expected it to fit; download the file again",
            id="header-longer-than-the-file",
        ),
        pytest.param(
            lambda data: struct.pack("<Q", 2**63) + data[8:],
            "expected at most 100000000",
            id="huge",
        ),
        pytest.param(
            lambda data: join(b"{" + b" " * 1000, b""), "invalid JSON", id="invalid-header"
        ),
        pytest.param(
            lambda data: join(b'{"a":' * 50_000, b""), "nested more deeply", id="nested-header"
        ),
        pytest.param(twice, "'pooler.dense.bias' appears more than once", id="duplicate-key"),
        pytest.param(entry("dtype", "F99"), "found dtype 'F99', expected one of", id="dtype"),
        pytest.param(entry("dtype", "F4"), "dtype F4 packs values below a byte", id="sub-byte"),
        pytest.param(entry("shape", [-8]), r"found shape \[-8\]", id="negative-shape"),
        pytest.param(entry("shape", [2**62, 2**62]), "larger than any file", id="huge-shape"),
        pytest.param(
            entry("data_offsets", [64, 96]), "'embeddings.*: overlaps|leaves a gap", id="overlap"
        ),
        pytest.param(
            entry("data_offsets", [2**40, 2**40 + 32]), "leaves a gap|is truncated", id="outside"
        ),
        pytest.param(entry("data_offsets", [32, 0]), r"expected \[begin, end\]", id="reversed"),
    ],
)
def test_a_broken_file(folder, edit, match):
    path = folder / "model.safetensors"
    path.write_bytes(edit(path.read_bytes()))
    refused(folder, match, CheckpointError)


def rewrite(folder, edit):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("edit", "kind", "match"),
    [
        pytest.param(
            lambda t: [t.pop(name) for name in sorted(t)[:5]],
            UnknownNameError,
            r"model: 5 tensors missing, first: embeddings.LayerNorm.bias, embeddings.LayerNorm."
            r"weight, embeddings.position_embeddings.weight; is config.json that of these",
            id="missing",
        ),
        pytest.param(
            lambda t: t.update({f"more.{i}": np.zeros(2, np.float32) for i in range(4)}),
            UnknownNameError,
            r"4 tensors not declared by the model, first: more.0, more.1, more.2; is",
            id="extra",
        ),
        pytest.param(
            lambda t: t.update({n: np.zeros((3, 3), np.float32) for n in sorted(t)[:4]}),
            ValueError,
            r"4 tensors differ from what config.json says: embeddings.LayerNorm.bias: found shape "
            r"\[3, 3\], expected \[8\]; .*; is config.json that of these weights",
            id="shape",
        ),
        pytest.param(
            lambda t: t.update({n: t[n].T.copy() for n in t if "intermediate.dense.w" in n}),
            ValueError,
            r"intermediate.dense.weight: found shape \[8, 16\], expected \[16, 8\]",
            id="transposed",
        ),
        pytest.param(
            lambda t: t.update({n: t[n].astype(np.int64) for n in sorted(t)[:2]}),
            ValueError,
            r"2 tensors differ .*: found int64, expected floats of 16, 32 or 64 bits",
            id="integers",
        ),
        pytest.param(
            lambda t: t.update({n: t[n].astype(ml_dtypes.float8_e4m3fn) for n in list(t)[:1]}),
            ValueError,
            r"1 tensors differ .*: found float8_e4m3fn, expected floats of 16",
            id="float8",
        ),
    ],
)
def test_other_weights_than_the_config_says(folder, edit, kind, match):
    rewrite(folder, edit)
    refused(folder, match, kind)


def test_weights_that_are_not_finite_are_refused_on_request(folder):
    def edit(tensors):
        for name, value in zip(sorted(tensors), (np.nan, np.inf, -np.inf, np.nan), strict=False):
            tensors[name].reshape(-1)[-1] = value

    rewrite(folder, edit)
    refused(
        folder,
        "4 tensors hold infinite or undefined values, first: embeddings.LayerNorm.bias, .*; "
        "download the weights again or load without check_finite",
        ValueError,
        check_finite=True,
    )
    assert zoo.from_pretrained(folder).num_params


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        ({"a": "../../../etc/passwd"}, r"'a' is said to be in '\.\./\.\./.*do not trust this"),
        ({"a": "/etc/passwd"}, r"'a' is said to be in '/etc/passwd'; expected a relative path"),
        ({"a": "model-00099-of-00099.safetensors"}, "the shard model-00099-of-00099.* is missing"),
        ({"a": "README.md"}, "README.md: found a header of"),
        ({"a": 3}, "'a' is said to be in 3"),
        ({}, None),
    ],
)
def test_an_index_that_lies(shards, edit, match):
    index = json.loads((shards / INDEX).read_text())
    if match is None:  # one tensor is said to be where it is not
        name = next(iter(index["weight_map"]))
        others = set(index["weight_map"].values()) - {index["weight_map"][name]}
        edit, match = {name: sorted(others)[0]}, "expected each tensor in exactly its shard"
    index["weight_map"] |= edit
    (shards / INDEX).write_text(json.dumps(index))
    refused(shards, match, CheckpointError)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "found invalid JSON"),
        ("[]", r"found \[\], expected a JSON object"),
        ('{"weight_map": []}', r"weight_map: found \[\], expected file names"),
        ('{"weight_map": {"a": "b", "a": "b"}}', "'a' appears more than once"),
        ("[" * 100_000, "nested more deeply"),
    ],
)
def test_a_broken_index(shards, text, match):
    (shards / INDEX).write_text(text)
    refused(shards, match, CheckpointError)


def test_a_missing_shard(shards):
    os.remove(min(shards.glob("model-*")))
    refused(shards, "the shard model-00001.* is missing; download", CheckpointError)


def test_a_folder_without_weights(folder):
    os.remove(folder / "model.safetensors")
    refused(folder, "found no weights, expected model.safetensors,", FileNotFoundError)


# Nothing is executed


class Payload:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_is_never_executed(folder, tmp_path):
    os.remove(folder / "model.safetensors")
    proof = tmp_path / "executed"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Payload(proof)}, protocol=2))
    refused(folder, "torch refuses it with weights_only=True", CheckpointError)
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Payload(proof)}, protocol=2))
        archive.writestr("archive/version", "3\n")
    refused(folder, "torch refuses it|not an archive of torch", CheckpointError)
    assert not proof.exists()


def test_code_in_a_repository_is_never_imported(folder, tmp_path, monkeypatch):
    proof = tmp_path / "executed"
    for name in ("modeling_x.py", "configuration_x.py", "__init__.py", "conftest.py"):
        (folder / name).write_text(f"open({str(proof)!r}, 'w')\n")
    change(folder, auto_map={"AutoConfig": "configuration_x.C", "AutoModel": "modeling_x.M"})
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    model = zoo.from_pretrained(folder)
    assert model.raw_config["auto_map"]["AutoModel"] == "modeling_x.M"
    assert not proof.exists()
    assert not {name for name in set(sys.modules) - before if name.endswith("_x")}
    model.save_pretrained(tmp_path / "copy")
    assert not list((tmp_path / "copy").glob("*.py"))


@pytest.mark.parametrize(
    "card",
    [
        "---\nlicense: !!python/object/apply:os.system ['true']\n---\n",
        "---\nlicense: 2020-99-99\n---\n",
        "---\nlicense: " + "[" * 5000 + "\n---\n",
        "---\n? [a]\n: b\n---\n",
        "---\nlicense: &a [*a]\n---\n",
        "---\nlicense: " + "9" * 5000 + "\n---\n",
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
)
def test_a_strange_card_is_no_reason_not_to_load(folder, card):
    (folder / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    licence = zoo.from_pretrained(folder).licence
    assert licence is None or isinstance(licence, str)


# Configs


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "invalid JSON"),
        (b"{", "invalid JSON"),
        (b"[]", r"found \[\], expected a JSON object; download the file again"),
        (b"null", "found None, expected a JSON object"),
        (b'{"a": 1, "a": 2}', "the key 'a' appears more than once"),
        (b'{"model_type": "bert", "layer_norm_eps": NaN}', "holds NaN, which is not JSON"),
        (b"\xff{}", "invalid JSON"),
        (b"[" * 100_000, "nested more deeply"),
        (b'{"a":' * 100_000, "nested more deeply"),
        (b'{"model_type": "bert", "hidden_size": ' + b"9" * 5000 + b"}", "invalid JSON"),
        (b'{"model_type": "bert", "layer_norm_eps": 1e999}', "layer_norm_eps: found inf"),
        (b"{}", "config.json: has no model_type; add it, one of bart, bert, "),
        (b"{" + b" " * (1 << 25) + b"}", "found 33554434 bytes, expected at most 33554432"),
    ],
)
def test_a_broken_config(folder, text, match):
    (folder / "config.json").write_bytes(text)
    refused(folder, match)


def test_an_unknown_model_type_lists_the_nearest():
    text = complaint(lambda: zoo.from_config(BERT | {"model_type": "brt"}), UnknownNameError)
    assert (
        text == "model_type: 'brt' is not supported; nearest: bert, bart, roberta; see `zoo list`"
    )
    assert "known: bart, bert, bloom" in complaint(lambda: zoo.from_config({"model_type": "zzz"}))
    for odd in (None, 3, [], {}, [["bert"]], "", 10**400):
        complaint(lambda odd=odd: zoo.from_config(BERT | {"model_type": odd}), UnknownNameError)


def test_an_unknown_key_is_named_with_the_nearest():
    text = complaint(lambda: zoo.from_config(BERT | {"hiden_size": 3}), ValueError)
    assert text == "config: hiden_size: unknown key, nearest is hidden_size; correct the config"
    many = {f"foo{i}": i for i in range(5)}
    text = complaint(lambda: zoo.from_config(BERT | many), ValueError)
    assert text.startswith("config: 5 problems, first: foo0: unknown key")
    assert "foo2" in text
    assert "foo3" not in text
    assert "\x07" not in complaint(lambda: zoo.from_config(BERT | {"a\x07b" * 99: 1}))


def test_an_unknown_task_or_class():
    text = complaint(lambda: zoo.from_config(BERT, task="fill_mask"), UnknownNameError)
    assert text == "task: 'fill_mask' is not known; nearest: fill-mask"
    text = complaint(lambda: zoo.from_config(BERT, task="image-classification"), KeyError)
    assert text.startswith("task: bert has no 'image-classification'; it has causal-lm, ")
    text = complaint(lambda: zoo.from_config(BERT | {"architectures": ["FooModel"]}), KeyError)
    assert text.startswith("architectures: 'FooModel' is not known of bert, which has BertModel, ")
    complaint(lambda: zoo.from_config(BERT, task=3), KeyError)
    for odd in ("BertModel", 3, [3], [[]], {"a": 1}, True):
        text = complaint(lambda odd=odd: zoo.from_config(BERT | {"architectures": odd}))
        assert "architectures: found" in text


ABSURD = (-1, 10**30, 10**400, -0.5, 1e308, "x", "", [], [1], {}, {"a": 1}, [[[[1]]]], "9" * 5000)


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    ("config", "key"),
    [
        (BERT, "hidden_size"),
        (BERT, "num_hidden_layers"),
        (BERT, "num_attention_heads"),
        (BERT, "vocab_size"),
        (BERT, "layer_norm_eps"),
        (BERT, "hidden_dropout_prob"),
        (BERT, "hidden_act"),
        (BERT, "tie_word_embeddings"),
        (BERT, "position_embedding_type"),
        (LLAMA, "head_dim"),
        (LLAMA, "sliding_window"),
        (LLAMA, "attention_bias"),
    ],
)
def test_absurd_values_are_refused(config, key, value):
    text = complaint(lambda: zoo.from_config(config | {key: value}), ValueError)
    assert key in text
    assert len(text) < 400


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "hidden_act", "vocab_size"])
@pytest.mark.parametrize("value", [0, None, True])
def test_zero_null_and_true_are_no_sizes(key, value):
    text = complaint(lambda: zoo.from_config(BERT | {key: value}), ValueError)
    assert re.match(rf"config: {key}: found {value}, expected", text), text


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"rope_scaling": 0}, "rope_parameters: found 0, expected an object"),
        ({"rope_scaling": {"type": "x"}}, "rope_type: found 'x', expected one of default"),
        ({"rope_scaling": {"rope_type": "linear"}}, "'linear' needs factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": -1}}, "factor: found -1, expected a"),
        ({"rope_scaling": {"rope_type": "linear", "factor": [2]}}, r"factor: found \[2\]"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2, "z": 1}}, "unknown keys z"),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_theta: found 0, expected a number above 1"),
        (
            {"rope_scaling": {"rope_type": "longrope", "short_factor": ["a"], "long_factor": [1]}},
            r"short_factor: found \['a'\], expected a list of numbers",
        ),
        ({"rope_theta": -1}, "rope_theta: found -1, expected a number above 1"),
        ({"rope_theta": [[1]]}, r"rope_theta: found \[\[1\]\], expected a number"),
        ({"rope_theta": 10**400}, "rope_theta: found 1000"),
        ({"layer_types": 3}, "layer_types: found 3"),
        ({"layer_types": [[1]]}, r"layer_types: found \[\[1\]\]"),
        ({"pruned_heads": {"0": [1]}}, "pruned heads are not supported; prune the weights"),
        ({"quantization_config": {"bits": 4}}, "quantised checkpoints are not supported"),
        ({"num_key_value_heads": 3}, "num_attention_heads: 2 is not a multiple"),
        ({"id2label": [1]}, r"id2label: found \[1\], expected an object"),
        ({"id2label": {"²": "a"}}, "id2label: found"),
        ({"id2label": {"0": "a"}, "num_labels": 3}, "num_labels: found 3, but id2label has 1"),
        ({"head_dim": 3}, "head_dim: found 3, expected an even number: dimensions"),
    ],
)
def test_options_that_contradict_or_make_no_sense(keys, match):
    assert re.search(match, complaint(lambda: zoo.from_config(LLAMA | keys), ValueError))


def test_sizes_in_pairs_are_sizes():
    vit = {"model_type": "vit", "hidden_size": 8, "num_attention_heads": 2, "patch_size": 4}
    for odd in ([-8, -8], [0, 8], [8, 10**30]):
        text = complaint(lambda odd=odd: zoo.from_config(vit | {"image_size": odd}), ValueError)
        assert re.match(r"config: image_size: found (-8|0|1000000+), expected 1 to", text), text


def test_configs_that_cannot_be_written_as_json():
    circle: dict = {}
    circle["circle"] = circle
    for odd in ({1}, object(), float("nan"), circle, 10**5000):
        text = complaint(lambda odd=odd: zoo.from_config(BERT | {"temperature": odd}), ValueError)
        assert "config: cannot be written as JSON" in text
    complaint(lambda: zoo.from_config(5), ValueError)
    complaint(lambda: zoo.from_config(None), ValueError)


def test_more_parameters_than_memory_are_refused_before_they_are_made():
    huge = BERT | {"vocab_size": 2**39, "hidden_size": 2**20}
    text = complaint(lambda: zoo.from_config(huge), ValueError)
    assert re.search(r"would take 2\.31 EB as float32, found .*; choose a smaller size", text)


def test_a_head_that_does_not_fit_the_memory_is_not_drawn(folder):
    refused(
        folder,
        "the parameters would take .* of memory",
        ValueError,
        task="text-classification",
        config={"num_labels": 2**39},
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dtype": "float13"}, "dtype: 'float13' is not known; try 'bfloat16'"),
        ({"dtype": "int8"}, "dtype: found int8, expected a floating type"),
        ({"dtype": "float64"}, "dtype: found float64, which JAX has only with jax_enable_x64"),
        ({"layers": "x"}, "layers: found 'x', expected loop or stacked"),
        ({"seed": "x"}, "seed: found 'x', expected a whole number"),
        ({"seed": 2**70}, "seed: found 1180591620717411303424"),
        ({"mesh": 3}, "mesh: found int, expected what sharding.mesh returns"),
    ],
)
def test_arguments(folder, options, match):
    assert re.match(match, complaint(lambda: zoo.from_config(BERT, **options), ValueError))
    refused(folder, match, ValueError, **options)


def test_arguments_of_loading_alone(folder):
    refused(folder, "config: found int, expected keys", ValueError, config=3)
    refused(folder, "config: cannot be written as JSON", ValueError, config={"a": {1}})
    refused(folder, "hidden_size: found 'x', expected int", config={"hidden_size": "x"})
    refused(folder, "no weights of the variant 'fp16'", FileNotFoundError, variant="fp16")
    refused(folder, "no weights of the variant", FileNotFoundError, variant="../../etc")


# Folders


def test_what_is_no_folder(folder, tmp_path):
    def load(name):
        return complaint(lambda: zoo.from_pretrained(name))

    assert "found nothing, expected a folder; check the path" in load(tmp_path / "missing")
    assert "found a file, expected a folder" in load(folder / "config.json")
    assert "expected a folder" in load("/tmp/\0x")
    (tmp_path / "empty").mkdir()
    assert "there is no such file; a model folder has a config.json" in load(tmp_path / "empty")
    os.symlink("circle", tmp_path / "circle")
    assert "expected a folder" in load(tmp_path / "circle")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("what", ["folder", "circle", "pipe", "denied", "dangling"])
def test_files_that_are_none(folder, name, what, monkeypatch):
    path = folder / name
    if what != "denied":
        path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "circle":
        os.symlink(name, path)
    elif what == "dangling":
        os.symlink("nowhere", path)
    elif what == "pipe":
        os.mkfifo(path)
    else:
        deny(monkeypatch, path)
    expected = {
        "folder": (ValueError, "found a directory, expected a file"),
        "circle": (ValueError, "a symbolic link that leads to itself, expected a file"),
        "pipe": (ValueError, "found a device, pipe or socket, expected a file"),
        "denied": (PermissionError, "may not be read; check its permissions"),
        "dangling": (FileNotFoundError, "no such file"),
    }
    kind, match = expected[what]
    text = complaint(lambda: zoo.from_pretrained(folder), kind)
    assert f"{path}: " in text
    assert match in text


def deny(monkeypatch, path):
    """Root may read everything, so that the system's answer has to be played."""
    real = os.open

    def refuse(name, *args, **options):
        if os.fspath(name) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(name, *args, **options)

    monkeypatch.setattr(tensorfile.os, "open", refuse)


def test_companions_that_are_no_files_are_left_out(folder, tmp_path):
    for name in ("vocab.txt", "LICENSE", "README.md"):
        (folder / name).unlink(missing_ok=True)
        os.symlink(name, folder / name)
    (folder / "tokenizer.json").mkdir()
    model = zoo.from_pretrained(folder)
    model.save_pretrained(tmp_path / "copy")
    assert sorted(os.listdir(tmp_path / "copy")) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


# Pooling of sentence-transformers


@pytest.mark.parametrize(
    ("modules", "match"),
    [
        ("{", "modules.json: found invalid JSON"),
        ("{}", "modules.json: found {}, expected a JSON array"),
        ("[1]", "found 1, expected a module with a type and a path"),
        ('[{"type": 3}]', "expected a module with a type and a path"),
        ('[{"type": "x.Dense"}]', "found module 'Dense', expected Transformer, Pooling"),
        ('[{"type": "x.Pooling", "path": "../up"}]', "found the path '../up', expected the name"),
        ('[{"type": "x.Pooling", "path": "/etc"}]', "found the path '/etc'"),
        ('[{"type": "x.Pooling", "path": 3}]', "found the path 3"),
        ('[{"type": "x.Pooling", "path": "1_P"}]', "missing, but modules.json names it"),
        ("[" * 100_000, "nested more deeply"),
    ],
)
def test_modules(folder, modules, match):
    (folder / "modules.json").write_text(modules)
    refused(folder, match)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ("[]", "expected a JSON object"),
        ("{}", "found no pooling, expected one of"),
        ('{"pooling_mode_new_tokens": true}', "found pooling_mode_new_tokens, expected one of"),
        ('{"pooling_mode": "new"}', "found new, expected one of"),
    ],
)
def test_pooling_settings(folder, settings, match):
    (folder / "modules.json").write_text('[{"type": "x.Pooling", "path": "1_Pooling"}]')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(settings)
    refused(folder, match)


# Tokenizers and processors


def test_folders_without_a_tokenizer_or_a_processor(folder, tmp_path):
    assert "no tokenizer; expected tokenizer.json" in complaint(
        lambda: zoo.Tokenizer.from_pretrained(folder), FileNotFoundError
    )
    assert "found no preprocessor_config.json" in complaint(
        lambda: zoo.Processor.from_pretrained(folder), FileNotFoundError
    )
    for kind in (zoo.Tokenizer, zoo.Processor):
        text = complaint(lambda kind=kind: kind.from_pretrained(tmp_path / "x"), FileNotFoundError)
        assert "found nothing, expected a folder" in text
