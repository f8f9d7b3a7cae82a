"""Old weights files, as the old classes wrote them, against the safetensors beside them."""

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bridges import legacy
from bridges.legacy import checkpoint as files
from bridges.legacy import open_checkpoint, rules, stored
from bridges.safetensors import Checkpoint, CheckpointError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "legacy"
CASES = sorted(
    path.relative_to(FIXTURES).as_posix()
    for pattern in ("flax_model.msgpack*", "tf_model.h5*")
    for path in FIXTURES.glob(f"*/{pattern}")
)


def hub_name(name: str) -> str:
    """Weight normalisation has an older spelling, which the old classes and older files share."""
    name = name.replace("parametrizations.weight.original0", "weight_g")
    return name.replace("parametrizations.weight.original1", "weight_v")


def is_lost(name: str) -> bool:
    """The old classes keep no count of batches."""
    return name.endswith(".num_batches_tracked")


def is_untranslated(case: str, name: str) -> bool:
    """Transformers' own conversion to Flax misses ResNet's `layer`, which stays at random there."""
    return case.startswith("resnet/flax") and ".layer." in name


@pytest.mark.parametrize("case", CASES)
def test_equals_the_safetensors_of_the_same_model(case):
    path = FIXTURES / case
    with Checkpoint.open(path.parent) as new, open_checkpoint(path) as old:
        names = {hub_name(name): name for name in new.names if not is_lost(name)}
        assert set(old.names) == set(names)
        for name, modern in names.items():
            x, y = old.read(name), new.read(modern)
            assert old.names[name] == new.names[modern] == (x.dtype, x.shape, x.nbytes), name
            assert is_untranslated(case, name) or x.tobytes() == y.tobytes(), name
            assert x.flags.c_contiguous
            assert x.ctypes.data % 64 == 0


def test_the_fixtures_hold_every_architecture_and_shape_of_file():
    assert len(CASES) == 38
    assert sum(case.endswith(".index.json") for case in CASES) == 4


@pytest.mark.parametrize("case", ["vit/flax_model.msgpack", "vit/tf_model.h5"])
def test_any_range_of_bytes_is_that_range_of_the_whole(case, monkeypatch):
    monkeypatch.setattr(stored, "SLAB", 100)
    with open_checkpoint(FIXTURES / case) as source:
        for name, info in source.names.items():
            whole = source.read(name).reshape(-1).view(np.uint8)
            for start, stop in [
                (0, 0),
                (0, 1),
                (3, info.nbytes - 5),
                (64, 128),
                (info.nbytes,) * 2,
            ]:
                if 0 <= start <= stop <= info.nbytes:
                    out = bytearray(stop - start)
                    source.read_into(name, out, start)
                    assert out == whole[start:stop].tobytes(), (name, start, stop)


def test_what_is_out_of_range_or_unknown_is_refused():
    with open_checkpoint(FIXTURES / "bert/flax_model.msgpack") as source:
        name = "pooler.dense.weight"
        with pytest.raises(ValueError, match=r"asked for bytes 1020 to 1028, expected a range"):
            source.read_into(name, bytearray(8), 1020)
        with pytest.raises(ValueError, match="must be contiguous and writable"):
            source.read_into(name, np.empty((32, 2), np.uint8)[:, 0])
        with pytest.raises(KeyError, match=r"has no tensor 'pooler\.weight' among its 39"):
            source.read("pooler.weight")
    with pytest.raises(ValueError, match="closed file"):
        source.read(name)


def test_a_transposed_tensor_costs_a_slab_besides_the_result(tmp_path):
    shape = (2048, 4096)
    path = tmp_path / "raw"
    x = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    x.tofile(path)
    tensor = stored.stored(np.float32, shape, [(0, x.nbytes // 2), (x.nbytes // 2, x.nbytes // 2)])
    out = np.empty(shape[::-1], np.float32)
    with open(path, "rb", buffering=0) as file:
        tracemalloc.start()
        view = memoryview(out.reshape(-1).view(np.uint8))
        stored.copy_bytes(file, tensor.arranged((1, 0)), view, 0, "raw")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (out == x.T).all()
    assert peak < 1.1 * stored.SLAB


def test_sources_say_what_the_framework_called_a_tensor():
    with open_checkpoint(FIXTURES / "bert-fill-mask/tf_model.h5") as source:
        assert (
            source.sources["cls.predictions.transform.dense.weight"]
            == "tf_bert_for_masked_lm/mlm___cls/predictions/transform/dense/kernel:0"
        )


def test_a_folder_offers_the_first_format_that_can_be_read(tmp_path, monkeypatch):
    for name in ("flax_model.msgpack", "tf_model.h5"):
        shutil.copy(FIXTURES / "bert" / name, tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
    with open_checkpoint(tmp_path) as source:
        assert source.path.name == "flax_model.msgpack"
    (tmp_path / "flax_model.msgpack").unlink()
    with open_checkpoint(tmp_path) as source:
        assert source.path.name == "tf_model.h5"
    (tmp_path / "tf_model.h5").unlink()
    message = r'needs torch, which is not installed; run: pip install "jax-zoo\[torch\]"'
    with pytest.raises(ValueError, match=message):
        open_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"found none of flax_model\.msgpack, .*\.index\.json"
    ):
        open_checkpoint(tmp_path)


def test_a_variant_selects_its_own_file(tmp_path):
    shutil.copy(FIXTURES / "bert/tf_model.h5", tmp_path / "tf_model.fp16.h5")
    with open_checkpoint(tmp_path, variant="fp16") as source:
        assert source.path.name == "tf_model.fp16.h5"
    with pytest.raises(ValueError, match="expected a word such as 'fp16'"):
        open_checkpoint(tmp_path, variant="../fp16")
    with pytest.raises(FileNotFoundError, match="found none of"):
        open_checkpoint(tmp_path)


def test_a_name_of_no_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected one that ends like pytorch_model\.bin, flax"):
        open_checkpoint(tmp_path / "model.onnx")
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_checkpoint(tmp_path / "tf_model.h5")


SHARDED = ["flax_model.msgpack.index.json", "tf_model.h5.index.json"]


@pytest.fixture(params=SHARDED)
def index(request, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(FIXTURES / "gpt2-causal-lm-sharded", folder)
    return folder / request.param


def rewrite(index: Path, change) -> None:
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))


@pytest.mark.parametrize("shard", ["../x.h5", "/etc/passwd", "a/../b", "", "..", 3, "a\0b"])
def test_an_index_may_not_leave_its_folder(index, shard):
    rewrite(index, lambda names: names.update({next(iter(names)): shard}))
    with pytest.raises(CheckpointError, match="expected a relative path below the folder"):
        open_checkpoint(index)


def test_a_missing_shard_is_named(index):
    next(index.parent.glob(f"{index.name.split('.')[0]}-00002*")).unlink()
    with pytest.raises(CheckpointError, match=r"the shard .*-00002-of-00005\.\w+ is missing"):
        open_checkpoint(index)


def test_an_index_and_its_shards_must_agree(index):
    rewrite(index, lambda names: names.update({"scope/never/bias:0": next(iter(names.values()))}))
    with pytest.raises(CheckpointError, match=r"'scope/never/bias:0' is not in .*-00001-of-00005"):
        open_checkpoint(index)


def test_a_git_lfs_pointer_is_recognised(tmp_path):
    path = tmp_path / "flax_model.msgpack"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CheckpointError, match="found a Git LFS pointer, expected the weights"):
        open_checkpoint(path)


def test_two_variables_may_not_have_one_name():
    places = rules.from_tensorflow({"m/a/kernel:0": (2, 3), "m/a/weight:0": (3, 2)})
    assert [place.name for place in places.values()] == ["a.weight", "a.weight"]
    tensors = {name: stored.stored(np.float32, (2, 3), ()) for name in places}
    shard = files.Shard(Path("x"), None, tensors)
    with pytest.raises(CheckpointError, match=r"'m/a/kernel:0' and 'm/a/weight:0' are both 'a\."):
        files.LegacyCheckpoint(Path("x"), [shard], legacy.FORMATS[2])


@pytest.mark.parametrize(
    ("name", "shape", "hub", "axes"),
    [
        ("params/h/0/attn/kernel", (3, 5), "h.0.attn.weight", (1, 0)),
        ("params/conv/kernel", (3, 3, 2, 8), "conv.weight", (3, 2, 0, 1)),
        ("params/conv/kernel", (7, 2, 8), "conv.weight", (2, 1, 0)),
        ("params/conv/kernel", (2, 3, 3, 2, 8), "conv.weight", (4, 3, 0, 1, 2)),
        ("params/norm/kernel", (7,), "norm.weight", (0,)),
        ("params/mean/scale", (7,), "mean.weight", (0,)),
        ("batch_stats/norm/mean", (7,), "norm.running_mean", (0,)),
        ("batch_stats/norm/var", (7,), "norm.running_var", (0,)),
        ("params/layer/layer_11/bias", (7,), "layer.11.bias", (0,)),
        ("params/layer_norm/bias", (7,), "layer_norm.bias", (0,)),
    ],
)
def test_flax_rules(name, shape, hub, axes):
    assert rules.from_flax({name: shape}) == {name: (hub, axes)}


@pytest.mark.parametrize(
    ("name", "shape", "hub", "axes"),
    [
        ("tf_x_for_y/bert/layer_._10/dense/kernel:0", (3, 5), "bert.layer.10.dense.weight", (1, 0)),
        ("tf_bert_model_2/bert/pooler/dense/bias:0", (5,), "pooler.dense.bias", (0,)),
        ("tfgpt2lm_head_model/transformer/wte/weight:0", (5, 3), "transformer.wte.weight", (0, 1)),
        ("tf_x/a/nsp___cls/b/mlm___d/beta:0", (5,), "a.cls.b.d.bias", (0,)),
        ("tf_x/h_._0/c_attn/bias:0", (1, 9), "h.0.c_attn.bias", (1,)),
        ("final_logits_bias:0", (1, 9), "final_logits_bias", (0, 1)),
        ("model.shared/model.shared/embeddings:0", (9, 2), "model.shared.weight", (0, 1)),
        ("tf_x/sep/depthwise_kernel:0", (9, 4, 1), "sep.depthwise.weight", (1, 2, 0)),
        ("tf_x/sep/pointwise_kernel:0", (1, 4, 6), "sep.pointwise.weight", (2, 1, 0)),
        ("tf_x/norm/moving_variance:0", (4,), "norm.running_var", (0,)),
        ("tfclip_model/clip/logit_scale:0", (1,), "logit_scale", ()),
        ("tf_x/a//b/gamma:0", (1,), "a.b.weight", (0,)),
    ],
)
def test_tensorflow_rules(name, shape, hub, axes):
    assert rules.from_tensorflow({name: shape}) == {name: (hub, axes)}
