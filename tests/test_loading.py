"""Loading: from a hub on a local port, from old formats, into other heads."""

import importlib.util
import json
import logging
from pathlib import Path

import huggingface_hub.utils
import jax
import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file

import zoo

HERE = Path(__file__).resolve().parent
LEGACY = HERE / "fixtures" / "legacy"
_spec = importlib.util.spec_from_file_location("hub_server", HERE / "bridges" / "hub_server.py")
hub_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hub_server)

BERT = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 8,
}
WEIGHTS = "model.safetensors"
BESIDE = {
    "vocab.txt": b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n",
    "tokenizer_config.json": b'{"tokenizer_class": "BertTokenizer"}',
    "LICENSE": b"Apache License",
    "pytorch_model.bin": b"not needed",
    "tf_model.h5": b"not needed",
    "onnx/model.onnx": b"not needed",
    "training_args.bin": b"not needed",
}


# huggingface_hub's upload of large files calls its HTTP client in a deprecated way
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "bert"
    zoo.from_config(BERT, seed=1).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server():
    with hub_server.Hub() as server:
        yield server


@pytest.fixture
def hub(server, saved, monkeypatch, tmp_path):
    """A hub with one model, reachable, and an empty cache."""
    server.repos.clear()
    server.requests.clear()
    server.broken = None
    files = {path.name: path.read_bytes() for path in saved.iterdir() if path.name != "README.md"}
    server.repos["me/bert"] = hub_server.Repo(files | BESIDE)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    huggingface_hub.utils.close_session()
    yield server
    huggingface_hub.utils.close_session()


def equal(a, b):
    assert jax.tree.structure(a.params) == jax.tree.structure(b.params)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


# The Hub


def test_only_the_files_that_are_needed_are_fetched(hub, saved):
    model = zoo.from_pretrained("me/bert", progress=False)
    equal(model, zoo.from_pretrained(saved))
    commit = hub.repos["me/bert"].branches["main"]
    assert (model.origin.repo, model.origin.commit) == ("me/bert", commit)
    assert model.licence == "apache-2.0"
    fetched = {path.rpartition("/")[2] for path in hub.asked("GET", "/resolve/")}
    assert fetched == {"config.json", WEIGHTS, "vocab.txt", "tokenizer_config.json", "LICENSE"}
    assert len(hub.asked("GET", "/resolve/")) == len(fetched)
    zoo.from_pretrained("me/bert", progress=False)
    assert len(hub.asked("GET", "/resolve/")) == len(fetched)


def test_the_cache_serves_without_a_connection(hub, monkeypatch):
    model = zoo.from_pretrained("me/bert", progress=False)
    asked = len(hub.requests)
    equal(zoo.from_pretrained("me/bert", local_files_only=True), model)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.utils.close_session()
    offline = zoo.from_pretrained("me/bert")
    equal(offline, model)
    assert offline.origin.commit == model.origin.commit
    assert zoo.Tokenizer.from_pretrained("me/bert")("a").input_ids
    assert len(hub.requests) == asked


def test_shards_and_revisions(hub, saved, tmp_path):
    model = zoo.from_pretrained(saved)
    changed = jax.tree.map(lambda x: x + 1, model)
    changed.save_pretrained(tmp_path / "new", max_shard_size="1KB")
    files = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    sha = hub.repos["me/bert"].commit(files, "next")
    for revision in ("next", sha):
        found = zoo.from_pretrained("me/bert", revision=revision, progress=False)
        equal(found, changed)
        assert found.origin.commit == sha
    equal(zoo.from_pretrained("me/bert", progress=False), model)


def test_pushing_and_reading_back(hub, saved, tmp_path):
    model = zoo.from_pretrained("me/bert", progress=False)
    source = model.origin.commit
    url = model.push_to_hub("me/copy", token="writer", commit_message="Copy")
    assert url.startswith(hub.url)
    copy = zoo.from_pretrained("me/copy", progress=False)
    equal(copy, model)
    files = hub.repos["me/copy"].find("main")[1]
    assert files[WEIGHTS] == (saved / WEIGHTS).read_bytes()
    assert files["vocab.txt"] == BESIDE["vocab.txt"]
    card = files["README.md"].decode()
    assert "base_model: me/bert" in card
    assert f"at commit {source}" in card
    assert "license: apache-2.0" in card
    with pytest.raises(PermissionError):
        model.push_to_hub("me/other", token="reader")
    with pytest.raises(ValueError, match=r"not a repository id|expected 'owner/name'"):
        model.push_to_hub("no/such/name", token="writer")


@pytest.mark.parametrize(
    ("spoil", "kind", "match"),
    [
        (lambda hub: hub.repos.clear(), FileNotFoundError, "no such repository, or it is private"),
        (
            lambda hub: setattr(hub.repos["me/bert"], "gated", True),
            PermissionError,
            "is gated; acc",
        ),
        (lambda hub: setattr(hub, "broken", (503, "")), ConnectionError, "answered 503; try again"),
        (
            lambda hub: hub.repos["me/bert"].commit({"config.json": b"{}"}),
            KeyError,
            "has no model_type; add it",
        ),
        (
            lambda hub: hub.repos["me/bert"].commit({"config.json": json.dumps(BERT).encode()}),
            FileNotFoundError,
            "found no weights, expected model.safetensors",
        ),
    ],
)
def test_what_the_hub_may_lack(hub, spoil, kind, match):
    spoil(hub)
    with pytest.raises(kind, match=match) as refused:
        zoo.from_pretrained("me/bert", progress=False)
    assert "\n" not in str(refused.value)


def test_names_that_are_no_repositories(hub):
    for name in ("a b/c", "a/b/c", "", "me/../bert"):
        with pytest.raises(ValueError, match="found neither a folder nor a repository id"):
            zoo.from_pretrained(name)
    assert not hub.requests


# Old formats


OLD = [
    (folder.name, file.name)
    for folder in sorted(LEGACY.iterdir())
    if folder.name.split("-")[0] in ("bert", "gpt2", "llama", "mistral", "vit")
    for file in sorted(folder.iterdir())
    if file.name in ("flax_model.msgpack", "tf_model.h5")
    or file.name.endswith((".msgpack.index.json", ".h5.index.json"))
]


@pytest.mark.parametrize(("name", "file"), OLD)
def test_old_formats_give_the_same_model(name, file, tmp_path):
    stem, _, suffix = file.removesuffix(".index.json").rpartition(".")
    for path in (LEGACY / name).iterdir():
        if path.name == "config.json" or (path.name.startswith(stem) and f".{suffix}" in path.name):
            (tmp_path / path.name).symlink_to(path)
    want = zoo.from_pretrained(LEGACY / name)
    model = zoo.from_pretrained(tmp_path)
    for s, x, y in zip(
        jax.tree.leaves(model.specs, is_leaf=lambda s: hasattr(s, "name")),
        jax.tree.leaves(want.params),
        jax.tree.leaves(model.params),
        strict=True,
    ):
        np.testing.assert_array_equal(x, y, err_msg=s.name)
    model.save_pretrained(tmp_path / "saved")
    ours, theirs = load_file(tmp_path / "saved" / WEIGHTS), load_file(LEGACY / name / WEIGHTS)
    for tensor in ours:
        np.testing.assert_array_equal(ours[tensor], theirs[tensor])


def test_pytorch_files_give_the_same_model(saved, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {k: torch.tensor(x) for k, x in load_file(saved / WEIGHTS).items()}
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    for zipped in (True, False):
        path = tmp_path / "pytorch_model.bin"
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
        equal(zoo.from_pretrained(tmp_path), zoo.from_pretrained(saved))


def test_safetensors_come_first(saved, tmp_path):
    for name in ("config.json", WEIGHTS):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    for name in ("pytorch_model.bin", "flax_model.msgpack", "tf_model.h5"):
        (tmp_path / name).write_bytes(b"broken")
    equal(zoo.from_pretrained(tmp_path), zoo.from_pretrained(saved))


# Names


def rename(saved, out, change, config=None):
    out.mkdir()
    tensors = {}
    for name, x in load_file(saved / WEIGHTS).items():
        if (new := change(name)) is not None:
            tensors[new] = x
    save_file(tensors, out / WEIGHTS)
    (out / "config.json").write_text(json.dumps(BERT | (config or {})))
    return out


def test_old_and_unprefixed_names(saved, tmp_path):
    want = zoo.from_pretrained(saved, task="feature-extraction")

    def old(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        )

    equal(zoo.from_pretrained(rename(saved, tmp_path / "a", old)), zoo.from_pretrained(saved))
    bare = rename(
        saved,
        tmp_path / "b",
        lambda name: name.removeprefix("bert.") if name.startswith("bert.") else None,
        {"architectures": ["BertModel"]},
    )
    for task in ("feature-extraction", "fill-mask", "text-classification"):
        model = zoo.from_pretrained(bare, task=task)
        np.testing.assert_array_equal(
            model.params["embed"]["words"]["weight"], want.params["embed"]["words"]["weight"]
        )


def test_what_is_new_or_unused_is_said_once(saved, caplog):
    with caplog.at_level(logging.INFO, logger="zoo"):
        model = zoo.from_pretrained(saved, task="text-classification")
    drawn = [r for r in caplog.records if r.levelno == logging.WARNING]
    unused = [r for r in caplog.records if r.levelno == logging.INFO]
    assert len(drawn) == 1
    assert (
        "4 tensors of BertForSequenceClassification are not in the checkpoint" in drawn[0].message
    )
    assert "(bert.pooler.dense.bias, " in drawn[0].message
    assert len(unused) == 1
    assert "are not used by BertForSequenceClassification (cls.predictions." in unused[0].message
    again = zoo.from_pretrained(saved, task="text-classification", seed=1)
    heads = [np.asarray(m.params["head"]["weight"]) for m in (model, again)]
    assert not np.array_equal(*heads)
    caplog.clear()
    zoo.from_pretrained(saved)
    assert not caplog.records


def test_half_a_head_is_missing(saved, tmp_path):
    folder = rename(
        saved, tmp_path / "a", lambda name: None if name.endswith("transform.dense.bias") else name
    )
    with pytest.raises(
        KeyError, match=r"1 tensors missing, first: cls\.predictions\.transform\.de"
    ):
        zoo.from_pretrained(folder)


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16", "float16"])
def test_the_dtype_of_choice(saved, dtype):
    model = zoo.from_pretrained(saved, dtype=dtype, layers="stacked")
    kinds = {str(x.dtype) for x in jax.tree.leaves(model)}
    assert kinds == {dtype or "float32"}


def test_keys_of_the_config_can_be_replaced(saved):
    model = zoo.from_pretrained(
        saved, task="token-classification", config={"num_labels": 7, "hidden_act": "relu"}
    )
    assert model.config.hidden_act == "relu"
    assert model(input_ids=[[1, 2]]).logits.shape == (1, 2, 7)


def test_a_config_of_any_kind_gives_the_same_model(saved):
    model = zoo.from_config(BERT, seed=1)
    for given in (saved, saved / "config.json", str(saved / "config.json")):
        equal(zoo.from_config(given, seed=1), model)
    bare = zoo.from_config(model.config, seed=1, task="fill-mask")
    equal(bare, model)
    assert not np.array_equal(*(zoo.from_config(BERT, seed=s).params["embed"]["words"]["weight"]
                                for s in (1, 2)))  # fmt: skip
