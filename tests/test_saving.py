"""Saving: bit for bit, under the Hub's names, all of it or nothing."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file

import zoo
from bridges import folder as folders
from bridges import safetensors

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"vocab_size": 24, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
BERT = SIZES | {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "intermediate_size": 16,
    "max_position_embeddings": 8,
}
LLAMA = SIZES | {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "intermediate_size": 16,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
}
GPT2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 24,
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 8,
}
VIT = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 8,
    "patch_size": 4,
    "id2label": {"0": "cat", "1": "dog", "2": "Ä"},
}
CONFIGS = {"bert": BERT, "llama": LLAMA, "gpt2": GPT2, "vit": VIT}
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of each architecture, float32."""
    folder = tmp_path_factory.mktemp("made")
    for name, config in CONFIGS.items():
        zoo.from_config(config, seed=1).save_pretrained(folder / name)
    return folder


@pytest.fixture
def bert(made):
    return zoo.from_pretrained(made / "bert")


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def shards(folder):
    return {k: v for path in Path(folder).glob("*.safetensors") for k, v in load_file(path).items()}


def same(a, b):
    """Equal names, dtypes, shapes and bits."""
    assert a.keys() == b.keys()
    for name, x in a.items():
        assert (x.dtype, x.shape) == (b[name].dtype, b[name].shape), name
        assert x.tobytes() == b[name].tobytes(), name


def rewrite(folder, out, cast):
    """The same model with tensors as `cast` says, every strange number among them."""
    shutil.copytree(folder, out)
    tensors = {}
    for i, (name, x) in enumerate(load_file(folder / WEIGHTS).items()):
        x = x.astype(cast(i, name))
        odd = [np.nan, np.inf, -np.inf, -0.0, float(ml_dtypes.finfo(x.dtype).smallest_subnormal)]
        x.reshape(-1)[: len(odd)] = np.array(odd, x.dtype)[: x.size]
        tensors[name] = x
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    return tensors


BF16, F16, F32 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16), np.dtype(np.float32)


@pytest.mark.parametrize("layers", ["loop", "stacked"])
@pytest.mark.parametrize("name", CONFIGS)
def test_what_was_loaded_is_saved_bit_for_bit(made, tmp_path, name, layers):
    casts = {
        "float32": lambda i, name: F32,
        "bfloat16": lambda i, name: BF16,
        "float16": lambda i, name: F16,
        "norms": lambda i, name: F32 if "norm" in name.lower() or "ln_" in name else BF16,
    }
    for kind, cast in casts.items():
        source, copy = tmp_path / kind, tmp_path / f"{kind}-copy"
        tensors = rewrite(made / name, source, cast)
        model = zoo.from_pretrained(source, layers=layers)
        assert model.dtype == np.float32  # widened on the CPU
        model.save_pretrained(copy)
        same(tensors, load_file(copy / WEIGHTS))
        stored = json.loads((copy / "config.json").read_text())["dtype"]
        assert stored == ("bfloat16" if kind == "norms" else kind)
        model.save_pretrained(copy)
        again = zoo.from_pretrained(copy, layers=layers)
        for x, y in zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True):
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def test_files_are_equal_byte_for_byte(made, bert, tmp_path):
    bert.save_pretrained(tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(made / "bert")


def test_mixed_halves_keep_their_kinds(made, tmp_path):
    kinds = (BF16, F16, F32)
    tensors = rewrite(made / "bert", tmp_path / "a", lambda i, name: kinds[i % 3])
    zoo.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    same(tensors, load_file(tmp_path / "b" / WEIGHTS))


def test_float64_is_rounded_once(made, tmp_path):
    shutil.copytree(made / "bert", tmp_path / "a")
    rng = np.random.default_rng(0)
    tensors = {k: rng.normal(size=x.shape) for k, x in load_file(made / "bert" / WEIGHTS).items()}
    save_file(tensors, tmp_path / "a" / WEIGHTS)
    model = zoo.from_pretrained(tmp_path / "a")
    assert model.dtype == np.float32
    model.save_pretrained(tmp_path / "b")
    same({k: x.astype(F32) for k, x in tensors.items()}, load_file(tmp_path / "b" / WEIGHTS))


def test_values_that_no_longer_fit_are_saved_wide(made, tmp_path):
    rewrite(made / "llama", tmp_path / "a", lambda i, name: BF16)
    model = zoo.from_pretrained(tmp_path / "a")
    model = jax.tree.map(lambda x: x * 1.001, model)
    model.save_pretrained(tmp_path / "b")
    assert {x.dtype for x in load_file(tmp_path / "b" / WEIGHTS).values()} == {F32}
    same(
        {k: np.asarray(v) for k, v in shards(tmp_path / "b").items()},
        shards(zoo.from_pretrained(tmp_path / "b").save_pretrained(tmp_path / "c")),
    )


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float64", np.float32, jax.numpy.bfloat16]
)
def test_a_dtype_of_choice(bert, made, tmp_path, dtype):
    kind = np.dtype(jax.numpy.dtype(dtype))
    bert.save_pretrained(tmp_path / "a", dtype=dtype)
    want = {k: x.astype(kind) for k, x in load_file(made / "bert" / WEIGHTS).items()}
    same(want, load_file(tmp_path / "a" / WEIGHTS))
    assert json.loads((tmp_path / "a" / "config.json").read_text())["dtype"] == kind.name


@pytest.mark.parametrize("name", CONFIGS)
def test_shards(made, tmp_path, name):
    model = zoo.from_pretrained(made / name)
    model.save_pretrained(tmp_path / "a", max_shard_size="1KB")
    files = sorted(path.name for path in (tmp_path / "a").glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert len(files) > 2
    same(shards(tmp_path / "a"), load_file(made / name / WEIGHTS))
    for file in files:
        tensors = load_file(tmp_path / "a" / file)
        assert len(tensors) == 1 or sum(x.nbytes for x in tensors.values()) <= 1000
    index = json.loads((tmp_path / "a" / INDEX).read_text())
    assert index["metadata"] == {
        "total_parameters": model.num_params,
        "total_size": 4 * model.num_params,
    }
    assert set(index["weight_map"].values()) == set(files)
    zoo.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    same(load_file(tmp_path / "b" / WEIGHTS), load_file(made / name / WEIGHTS))


def test_transformers_reads_shards_and_writes_such_an_index(bert, tmp_path):
    bert.save_pretrained(tmp_path / "a", max_shard_size="2KB")
    reference, said = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path / "a", output_loading_info=True
    )
    assert not any(said.values())
    reference.save_pretrained(tmp_path / "b", max_shard_size="2KB")
    ours, theirs = (json.loads((tmp_path / n / INDEX).read_text()) for n in "ab")
    assert ours["metadata"] == theirs["metadata"]
    assert ours["weight_map"].keys() == theirs["weight_map"].keys()


def test_every_key_of_the_config_survives(made, tmp_path):
    shutil.copytree(made / "vit", tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    odd = {
        "torch_dtype": "float32",
        "transformers_version": "4.0.0",
        "task_specific_params": {"x": [1, 2.5, None, {"y": "日本"}]},
        "auto_map": {"AutoModel": "a.B"},
        "temperature": 1e-300,
        "hidden_act": "gelu_python",
        "problem_type": None,
    }
    config = {k: v for k, v in json.loads(path.read_text()).items() if k != "dtype"} | odd
    path.write_text(json.dumps(config))
    zoo.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert json.loads((tmp_path / "b" / "config.json").read_text()) == config
    model = zoo.from_pretrained(tmp_path / "a", config={"image_size": [8, 8]})
    model.save_pretrained(tmp_path / "c")
    assert json.loads((tmp_path / "c" / "config.json").read_text()) == config | {
        "image_size": [8, 8]
    }


def test_another_head_is_saved_as_what_it_is(made, tmp_path):
    model = zoo.from_pretrained(
        made / "bert",
        task="text-classification",
        config={"id2label": {"0": "a", "1": "b", "2": "c"}},
    )
    model.save_pretrained(tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    again = zoo.from_pretrained(tmp_path / "a")
    assert again.task == "text-classification"
    assert again.id2label == {0: "a", 1: "b", 2: "c"}


COMPANIONS = {
    "tokenizer.json": "{}",
    "tokenizer_config.json": "{}",
    "vocab.txt": "[PAD]\n",
    "merges.txt": "",
    "spiece.model": "x",
    "chat_template.jinja": "{{ x }}",
    "preprocessor_config.json": "{}",
    "generation_config.json": "{}",
    "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}',
    "modules.json": '[{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]',
    "LICENSE": "Apache License\nVersion 2.0",
    "NOTICE": "made by",
    "README.md": "---\nlicense: mit\n---\n# Card\n",
}


def put(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_companions_travel(made, tmp_path):
    shutil.copytree(made / "bert", tmp_path / "a")
    put(tmp_path / "a", COMPANIONS | {"optimizer.pt": "x", "modeling.py": "x", "tf_model.h5": "x"})
    model = zoo.from_pretrained(tmp_path / "a")
    assert model.licence == "mit"
    model.save_pretrained(tmp_path / "b")
    saved = contents(tmp_path / "b")
    assert saved.keys() == {*COMPANIONS, "config.json", WEIGHTS}
    assert all(saved[name] == text.encode() for name, text in COMPANIONS.items())


def test_a_model_without_a_card_gets_one_that_says_where_it_is_from(made, tmp_path):
    shutil.copytree(made / "bert", tmp_path / "a")
    (tmp_path / "a" / "README.md").unlink()
    put(tmp_path / "a", {"LICENSE": COMPANIONS["LICENSE"]})
    zoo.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    card = (tmp_path / "b" / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "Saved with jax-zoo." in card
    assert str(tmp_path) not in card


# Folders


def test_a_folder_is_replaced_and_nobodys_files_are_lost(bert, made, tmp_path):
    target = tmp_path / "a"
    zoo.from_pretrained(made / "llama").save_pretrained(target, max_shard_size="1KB")
    put(target, {"notes.txt": "mine", "logs/1.txt": "run", "tf_model.h5": "old"})
    for _ in range(2):
        bert.save_pretrained(target)
        names = {"README.md", "config.json", WEIGHTS, "notes.txt", "logs/1.txt", "tf_model.h5"}
        assert contents(target).keys() == names
    assert zoo.from_pretrained(target).model_type == "bert"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("where", ["path", "symlink", "."])
def test_saving_over_the_folder_it_was_loaded_from(made, tmp_path, where, monkeypatch):
    home = tmp_path / "a"
    shutil.copytree(made / "bert", home)
    put(home, COMPANIONS)
    before = contents(home)
    os.symlink("a", tmp_path / "link")
    monkeypatch.chdir(home if where == "." else tmp_path)
    target = {"path": home, "symlink": tmp_path / "link", ".": "."}[where]
    model = zoo.from_pretrained(target)
    model.save_pretrained(target)
    model.save_pretrained(target)
    assert contents(home) == before
    assert contents(".") == before if where == "." else True
    assert (tmp_path / "link").is_symlink()
    jax.tree.map(lambda x: -x, model).save_pretrained(target)
    want = {k: -x for k, x in load_file(made / "bert" / WEIGHTS).items()}
    same(load_file(home / WEIGHTS), want)


def test_what_lies_beside_the_model_stays(bert, tmp_path):
    """A trainer's output folder: logs and earlier checkpoints, and somebody's own card."""
    beside = {"README.md": "mine", "trainer_state.json": "{}", "checkpoint-500/optimizer.pt": "x"}
    put(tmp_path, beside)
    bert.save_pretrained(tmp_path)
    after = contents(tmp_path)
    assert {name: after[name].decode() for name in beside} == beside
    assert {"config.json", "model.safetensors"} <= after.keys()


def test_files_that_change_during_a_save_are_not_lost(bert, made, tmp_path, monkeypatch):
    target = tmp_path / "a"
    shutil.copytree(made / "llama", target)
    put(target, {"notes.txt": "old", "logs/1.txt": "old", "logs/2.txt": "old"})
    real = folders._swap

    def swap(new, *rest):
        for name in ("notes.txt", "logs/1.txt", "config.json"):
            put(tmp_path, {"part": f"new {name}"})
            os.replace(tmp_path / "part", target / name)
        with open(target / "logs/2.txt", "a") as file:
            file.write(" and more")
        put(target, {"logs/3.txt": "new"})
        real(new, *rest)

    monkeypatch.setattr(folders, "_swap", swap)
    bert.save_pretrained(target)
    assert zoo.from_pretrained(target).model_type == "bert"
    found = {k: v.decode() for k, v in contents(target).items() if k.endswith("txt")}
    assert found == {
        "notes.txt": "new notes.txt",
        "logs/1.txt": "new logs/1.txt",
        "logs/2.txt": "old and more",
        "logs/3.txt": "new",
    }


def test_a_working_tree_is_not_replaced(bert, tmp_path, monkeypatch):
    put(tmp_path, {".git/HEAD": "x", "src/main.py": "x", "README.md": "mine"})
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    for target in (tmp_path, "."):
        with pytest.raises(FileExistsError, match=r"found .git and no model, so it is in use"):
            bert.save_pretrained(target)
    for target in ("", " ", "a\0b"):
        with pytest.raises(ValueError, match=r"folder: found .*, expected the name of a folder"):
            bert.save_pretrained(target)
    assert contents(tmp_path) == before
    bert.save_pretrained(tmp_path / "new" / "folder")


def test_targets_that_are_files(bert, tmp_path):
    put(tmp_path, {"file": "x"})
    with pytest.raises(FileExistsError, match="file: found a file, expected a folder; choose"):
        bert.save_pretrained(tmp_path / "file")
    with pytest.raises(NotADirectoryError, match="found a file where a folder around it is need"):
        bert.save_pretrained(tmp_path / "file" / "below")
    assert contents(tmp_path) == {"file": b"x"}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dtype": "int8"}, "dtype: found int8, expected a floating type"),
        ({"dtype": "x"}, "dtype: 'x' is not known"),
        ({"max_shard_size": 0}, "max_shard_size: found 0, expected bytes"),
        ({"max_shard_size": "5 bananas"}, "max_shard_size: found '5 bananas'"),
    ],
)
def test_options_are_checked_before_anything_is_touched(bert, made, tmp_path, options, match):
    shutil.copytree(made / "llama", tmp_path / "a")
    with pytest.raises(ValueError, match=match):
        bert.save_pretrained(tmp_path / "a", **options)
    assert contents(tmp_path / "a") == contents(made / "llama")
    assert os.listdir(tmp_path) == ["a"]


def test_parameters_that_are_not_the_models(bert, tmp_path):
    other = dataclasses.replace(bert, params={"x": np.zeros(3)})
    with pytest.raises(ValueError, match="params: found a tree of 1 arrays, expected the"):
        other.save_pretrained(tmp_path / "a")
    other = jax.tree.map(lambda x: x[:1], bert)
    with pytest.raises(ValueError, match=r"params: \d+ arrays differ from model.specs: \['em"):
        other.save_pretrained(tmp_path / "a")
    other = jax.tree.map(lambda x: "x", bert)
    with pytest.raises(ValueError, match="found str, expected"):
        other.save_pretrained(tmp_path / "a")
    with pytest.raises(ValueError, match=r"values that are traced; save outside of jax\.jit"):
        jax.jit(lambda m: m.save_pretrained(tmp_path / "a"))(bert)
    assert not os.listdir(tmp_path)


# Disks


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KB, where this system lets us make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        made = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("file systems cannot be mounted here; another test plays a full disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_really_full(made, small_disk):
    target = small_disk / "a"
    bert = zoo.from_pretrained(made / "bert")
    bert.save_pretrained(target)
    before = contents(target)
    (small_disk / "filler").write_bytes(b"x" * (40 << 10))
    with pytest.raises(
        OSError, match=r"a: not saved: .*No space left on device.*unchanged"
    ) as full:
        bert.save_pretrained(target, dtype="float64")
    assert full.value.errno == errno.ENOSPC
    assert contents(target) == before
    assert sorted(os.listdir(small_disk)) == ["a", "filler"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("step", ["weights", "config", "sync", "begin"])
def test_a_disk_that_fails(bert, made, tmp_path, monkeypatch, code, step):
    target = tmp_path / "a"
    shutil.copytree(made / "llama", target)

    def fail(*args, **options):
        raise OSError(code, os.strerror(code))

    owner, name = {
        "weights": (safetensors, "_write_file"),
        "config": (Path, "write_text"),
        "sync": (folders, "_sync"),
        "begin": (folders, "_sibling"),
    }[step]
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OSError, match=r"a: not saved: .*; what was there is unchanged") as failed:
        bert.save_pretrained(target)
    monkeypatch.undo()
    assert failed.value.errno == code
    assert contents(target) == contents(made / "llama")
    assert os.listdir(tmp_path) == ["a"]
    bert.save_pretrained(target)


def test_a_place_that_may_not_be_written(bert, tmp_path, monkeypatch):
    real = Path.mkdir

    def mkdir(path, *args, **options):
        if path.parent == tmp_path and path.name.startswith("."):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(PermissionError, match=r"may not be written, .*; choose another path"):
        bert.save_pretrained(tmp_path / "a")
    assert not os.listdir(tmp_path)


KILLED = """
import os, signal, sys, warnings
from pathlib import Path
import jax, numpy as np
import zoo
from bridges import folder, safetensors

warnings.simplefilter("ignore")
home, target = Path(sys.argv[1]), Path(sys.argv[2])
old, new = (
    jax.tree.map(np.asarray, zoo.from_pretrained(home / name)) for name in ("llama", "bert")
)

def contents():
    return {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}

def save(model, last):
    "Saves in another process, which is killed at its step number `last`."
    if (pid := os.fork()) == 0:
        count = 0
        def step(owner, name):
            real = getattr(owner, name)
            def counted(*args, **options):
                nonlocal count
                count += 1
                if count == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **options)
            setattr(owner, name, counted)
        for name in ("fsync", "mkdir", "rename", "link", "scandir", "chmod", "rmdir", "unlink"):
            step(os, name)
        step(safetensors, "_write_all")
        step(Path, "write_text")
        if sys.argv[3] == "rename":
            folder._exchange = lambda new, target: False
        model.save_pretrained(target)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

assert save(new, 0) == 0
after = contents()
assert save(old, 0) == 0
before, seen, last = contents(), set(), 0
while True:
    last += 1
    code = save(new, last)
    if sys.argv[3] == "rename" and not target.exists():  # the next save puts it back
        asides = list(target.parent.glob(f".{target.name}.replaced-*"))
        assert len(asides) == 1, asides
        seen.add("aside")
    else:
        found = contents()
        assert found in (before, after), (last, sorted(found))
        seen.add("new" if found == after else "old")
    if code == 0:
        break
    assert code == -signal.SIGKILL, code
    assert save(old, 0) == 0
    assert contents() == before
    assert os.listdir(target.parent) == [target.name], os.listdir(target.parent)
assert {"old", "new"} <= seen
print(last)
"""


@pytest.mark.parametrize("way", ["exchange", "rename"])
def test_a_process_that_is_killed_leaves_the_old_folder_or_the_new(made, tmp_path, way):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(made), str(tmp_path / "a"), way],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_savers_at_the_same_time_leave_one_whole_folder(made, tmp_path):
    target, errors = tmp_path / "a", []
    models = [zoo.from_pretrained(made / name) for name in ("bert", "llama", "gpt2")]
    wanted = {}
    for model in models:
        model.save_pretrained(tmp_path / "alone" / model.model_type)
        wanted[model.model_type] = contents(tmp_path / "alone" / model.model_type)
    shutil.rmtree(tmp_path / "alone")

    def save(model):
        try:
            for _ in range(5):
                model.save_pretrained(target)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert contents(target) == wanted[zoo.from_pretrained(target).model_type]
    assert os.listdir(tmp_path) == ["a"]
