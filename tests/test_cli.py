"""The `zoo` command: what it prints, where, and with which exit code."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import zoo
from zoo.cli import app, env, errors
from zoo.cli.console import millions, size

ROOT = Path(__file__).resolve().parent.parent
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the fox dog jumps over who wrote it ada did".split()
TINY = {
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "dtype": "float32",
}
GPT2 = {"model_type": "gpt2", "vocab_size": len(WORDS), "n_embd": 16, "n_layer": 1, "n_head": 2}
GPT2 |= {"n_positions": 32, "bos_token_id": 0, "eos_token_id": 0}
VIT = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
VIT |= {"intermediate_size": 8, "image_size": 8, "patch_size": 4}
VIT |= {"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """Makes a folder with a tiny model of a task."""

    def make(config, task, pairs=True):
        folder = tmp_path_factory.mktemp(task)
        made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        if pairs:
            made.post_processor = processors.TemplateProcessing(
                single="[CLS] $A [SEP]",
                pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
            )
        zoo.from_config(config, task=task).save_pretrained(folder)
        if "image_size" not in config:
            made.save(str(folder / "tokenizer.json"))
            named = {f"{w[1:-1].lower()}_token": w for w in WORDS[:5]}
            (folder / "tokenizer_config.json").write_text(json.dumps(named))
        else:
            size = {"height": 8, "width": 8}
            kind = {"image_processor_type": "ViTImageProcessor", "size": size}
            (folder / "preprocessor_config.json").write_text(json.dumps(kind))
        return str(folder)

    return make


@pytest.fixture
def cli(capsys, monkeypatch):
    """Runs the command: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "100")
    logs = {name: logging.getLogger(name) for name in ("zoo", "bridges", "sharding")}
    before = {name: (x.handlers, x.propagate, x.level) for name, x in logs.items()}

    def run(*arguments):
        code = app.main([str(x) for x in arguments])
        return code, *capsys.readouterr()

    yield run
    for name, log in logs.items():
        log.handlers, log.propagate, log.level = before[name]


def test_help_names_every_command_and_code(cli):
    code, out, err = cli("--help")
    assert code == 0
    assert err == ""
    for name in ("list", "info", "run", "convert", "env", "--offline", "--debug"):
        assert name in out
    for number, text in errors.CODES.items():
        assert f"{number}  {text}" in out
    for name in ("list", "info", "run", "convert", "env"):
        code, out, err = cli(name, "-h")
        assert (code, err) == (0, "")
        assert "--json" in out


def test_help_and_version_import_nothing_heavy():
    look = (
        "import sys\nfrom zoo.cli import main\ntry:\n    main([{!r}])\n"
        "except SystemExit as done:\n    assert done.code == 0\n"
        "print(sorted({{m.partition('.')[0] for m in sys.modules}}), file=sys.stderr)"
    )
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", look.format(option)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for heavy in ("jax", "numpy", "huggingface_hub", "tokenizers", "torch", "PIL"):
            assert f"'{heavy}'" not in done.stderr
    assert done.stdout == f"zoo {zoo.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nope"], 2, "No such command 'nope'; see 'zoo --help'"),
        (["info"], 2, "Missing argument 'MODEL'; see 'zoo info --help'"),
        (["info", "x", "--nope"], 2, "No such option"),
        (["info", "/nowhere"], 3, "/nowhere: found nothing, expected a folder"),
        (["--offline", "info", "a/b"], 3, "a/b: "),
        (["info", "a/b", "--offline"], 3, "a/b: "),
        (["run", "/nowhere", "x"], 3, "/nowhere: found nothing"),
        (["run", "x", "y", "--task", "sing"], 4, "no pipeline for 'sing'"),
        (["run", "x", "y", "-t", "fill-mask", "-o", "z=1"], 2, "fill-mask: does not take z"),
        (["run", "x", "y", "-t", "fill-mask", "-o", "z"], 2, "--option z: expected NAME=VALUE"),
        (["run", "x", "y", "-t", "fill-mask", "--pair", "z"], 2, "--pair: fill-mask does not"),
        (["run", "x", "y", "-t", "next-sentence"], 2, "--pair: next-sentence needs it"),
        (["run", "x", "y", "-t", "ner", "-o", "stride=no"], 4, "stride: found 'no'"),
        (
            ["run", "x", "y", "-t", "causal-lm", "-o", "num_beams=4"],
            4,
            "num_beams: found 4, which is not supported yet",
        ),
        (["convert", "x", "y", "--dtype", "int3"], 4, "dtype: found 'int3', expected one of"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_mistakes_are_one_line_and_a_code(cli, arguments, code, message):
    found, out, err = cli(*arguments)
    assert found == code
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_broken_configs(cli, tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert cli("info", tmp_path)[0] == errors.BAD
    (tmp_path / "config.json").write_text('{"model_type": "bret"}')
    code, _, err = cli("info", tmp_path)
    assert code == errors.BAD
    assert "nearest: bert" in err
    (tmp_path / "config.json").write_text(json.dumps(TINY | {"new_thing": 1}))
    assert "new_thing: unknown key" in cli("info", tmp_path)[2]
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    code, _, err = cli("run", tmp_path, "x", "-t", "fill-mask")
    assert code == errors.MISSING
    assert "found no weights" in err


def test_debug_shows_where(cli):
    with pytest.raises(FileNotFoundError):
        cli("info", "/nowhere", "--debug")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError("x"), errors.MISSING),
        (PermissionError(13, "Permission denied", "f"), errors.ACCESS),
        (ConnectionError("x"), errors.ACCESS),
        (OSError(28, "No space left on device", "f"), errors.MACHINE),
        (ImportError("x"), errors.MACHINE),
        (MemoryError(), errors.MACHINE),
        (RuntimeError("RESOURCE_EXHAUSTED: out of memory"), errors.MACHINE),
        (ValueError("x"), errors.BAD),
        (KeyError("x: not there"), errors.BAD),
        (KeyError("x"), errors.UNEXPECTED),
        (AttributeError("x"), errors.UNEXPECTED),
    ],
    ids=repr,
)
def test_codes_of_exceptions(cli, monkeypatch, error, code):
    def fails(arguments):
        raise error

    monkeypatch.setattr(app, "run_command", fails)
    found, _, err = cli("list")
    assert found == code
    assert err.startswith("error: ")
    assert len(err) > len("error: \n")


def test_interruption_and_broken_pipes(cli, monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run_command", interrupted)
    assert cli("list") == (130, "", "error: interrupted\n")
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as pipe:
        for arguments in (["list"], ["list", "--json"]):
            command = [sys.executable, "-m", "zoo.cli", *arguments]
            done = subprocess.run(command, cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE)
            assert (done.returncode, done.stderr) == (errors.PIPE, b"")


def test_list(cli):
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    assert "fill-mask" in out
    found = json.loads(cli("list", "--json")[1])
    assert found["architectures"]["bert"]["tasks"]["fill-mask"] == "BertForMaskedLM"
    assert found["tasks"]["causal-lm"]["pipeline"] == "text-generation"


def test_info_needs_no_weights(cli, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY | {"architectures": ["BertForMaskedLM"]}))
    (tmp_path / "LICENSE").write_text("Apache License\n")
    code, out, err = cli("info", tmp_path)
    assert (code, err) == (0, "")
    assert "BertForMaskedLM" in out
    found = json.loads(cli("info", "--json", tmp_path)[1])
    model = zoo.from_config(TINY, task="fill-mask")
    assert found["parameters"] == model.num_params
    assert sum(p["parameters"] for p in found["parts"] if "." not in p["name"]) == model.num_params
    inner = sum(p["parameters"] for p in found["parts"] if p["name"].startswith("layers."))
    assert inner == next(p["parameters"] for p in found["parts"] if p["name"] == "layers x 2")
    assert found["bytes"]["bfloat16"] == 2 * model.num_params
    assert found["task"] == "fill-mask"
    assert found["context_length"] == 32
    assert found["vocabulary"] == len(WORDS)
    assert found["licence"] == "apache-2.0"
    assert found["dtype"] == "float32"


def test_run_fill_mask(cli, repo):
    folder = repo(TINY, "fill-mask")
    code, out, err = cli("run", folder, "the [MASK] jumps", "--top-k", 2)
    assert (code, err) == (0, "")
    code, out, err = cli("run", folder, "the [MASK] jumps", "who [MASK] it", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["input"] for line in lines] == ["the [MASK] jumps", "who [MASK] it"]
    expected = zoo.pipeline("fill-mask", folder)("who [MASK] it")
    assert [a["token"] for a in lines[1]["answer"]] == [a["token"] for a in expected]
    code, out, err = cli("run", folder, "no mask")
    assert code == errors.BAD
    assert "found no [MASK]" in err


def test_run_reads_lines(cli, repo, monkeypatch):
    folder = repo(TINY | {"num_labels": 2}, "text-classification")
    monkeypatch.setattr(sys, "stdin", io.StringIO("the fox\n\n  who wrote it \n"))
    code, out, err = cli("run", folder, "-", "the dog", "--json", "--batch-size", 2)
    assert (code, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["input"] for one in found] == ["the fox", "who wrote it", "the dog"]
    assert all(len(one["answer"]) == 2 for one in found)
    assert cli("run", folder, "the fox", "--pair", "jumps")[0] == 0


def test_run_with_other_texts(cli, repo):
    folder = repo(TINY, "question-answering")
    context = ["--context", "ada wrote it over the fox"]
    code, out, err = cli("run", folder, "who wrote it", *context)
    assert (code, err) == (0, "")
    found = json.loads(cli("run", folder, "who wrote it", *context, "--json")[1])
    assert found["answer"]["answer"] in context[1]
    folder = repo(TINY, "multiple-choice")
    code, out, err = cli("run", folder, "the fox", "--choices", "jumps", "--choices", "did it")
    assert (code, err) == (0, "")
    assert "did it" in out
    folder = repo(TINY, "next-sentence")
    assert "Next" in cli("run", folder, "the fox", "--pair", "jumps")[1]
    folder = repo(TINY | {"num_labels": 2}, "token-classification")
    code, out, err = cli("run", folder, "ada wrote it")
    assert (code, err) == (0, "")
    assert "LABEL_" in out


def test_run_features_and_random_heads(cli, repo):
    folder = repo(TINY, "feature-extraction")
    assert "5 vectors of 16" in cli("run", folder, "the fox jumps")[1]
    found = json.loads(cli("run", folder, "the fox", "--json", "-o", "pool=true")[1])
    assert np.array(found["answer"]).shape == (1, 16)
    code, _, err = cli("run", folder, "the [MASK]", "--task", "fill-mask")
    assert code == 0
    assert err.startswith("warning: ")
    assert "drawn at random" in err


def test_run_generation(cli, repo):
    folder = repo(GPT2, "causal-lm", pairs=False)
    code, out, err = cli("run", folder, "the fox", "--max-new-tokens", 4)
    assert (code, err) == (0, "")
    assert out.startswith("the fox")
    found = json.loads(cli("run", folder, "the fox", "--max-new-tokens", 4, "--json")[1])
    assert found["answer"][0]["generated_text"] == out.rstrip("\n")


def test_run_images(cli, repo, tmp_path):
    folder, path = repo(VIT, "image-classification"), tmp_path / "cat.png"
    Image.new("RGB", (10, 9), "red").save(path)
    code, out, err = cli("run", folder, path)
    assert (code, err) == (0, "")
    assert "cat" in out
    found = json.loads(cli("run", folder, path, "--json", "--top-k", 1)[1])
    assert found["answer"][0]["label"] in ("cat", "dog")
    assert cli("run", folder, tmp_path / "dog.png")[0] == errors.MISSING


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_convert(cli, repo, tmp_path, dtype):
    folder, target = repo(TINY, "fill-mask"), tmp_path / "out"
    options = ["--verify", "--max-shard-size", "4kB"] + (["--dtype", dtype] if dtype else [])
    code, out, err = cli("convert", folder, target, *options, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["verified"] > 10
    assert found["dtype"] == (dtype or "float32")
    assert len(found["files"]) > 1
    assert (target / "tokenizer.json").is_file()
    again = zoo.from_pretrained(target, dtype=dtype)
    assert again.num_params == found["parameters"]
    assert cli("convert", folder, target, "--task", "feature-extraction")[0] == 0


def test_convert_to_where_nothing_may_be_written(cli, repo, tmp_path):
    (tmp_path / "file").write_text("x")
    code, _, err = cli("convert", repo(TINY, "fill-mask"), tmp_path / "file")
    assert code == errors.BAD
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "x"


def test_env(cli, monkeypatch):
    code, out, err = cli("env")
    assert (code, err) == (0, "")
    found = json.loads(cli("env", "--json")[1])
    assert found["packages"]["jax"]
    assert len(found["devices"]) == 8
    monkeypatch.setattr(env, "PACKAGES", ("jax", "no-such-package"))
    monkeypatch.setattr(env, "_devices", lambda: ([], "the driver is too old"))
    code, out, err = cli("env")
    assert code == 0
    assert "not installed" in out
    assert "no devices: the driver is too old" in out


def test_numbers_for_people():
    assert [size(x) for x in (0, 999, 1000, 90_852_864, 5.5e12)] == [
        "0 B", "999 B", "1 kB", "90.9 MB", "5.5 TB",
    ]  # fmt: skip
    assert [millions(x) for x in (7, 22_713_216, 124_439_808, 6.74e9)] == [
        "7", "22.7M", "124M", "6.74B",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(cli, monkeypatch, tmp_path, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    for arguments in (["list"], ["info", tmp_path], ["env"]):
        out = cli(*arguments)[1]
        assert "\x1b" not in out
        assert max(map(len, out.splitlines())) <= width
