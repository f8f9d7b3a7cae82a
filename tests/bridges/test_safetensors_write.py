"""Writing safetensors: byte for byte what the reference writes, streamed, and all or nothing."""

import errno
import json
import os
import tracemalloc

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from huggingface_hub import split_torch_state_dict_into_shards
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from bridges import safetensors as writer
from bridges.header import DTYPES
from bridges.safetensors import Checkpoint, write

IN_NUMPY = [dtype for code, dtype in DTYPES.items() if not code.startswith(("F8", "BF"))]


def stream(arrays):
    return [(name, array, lambda array=array: array) for name, array in arrays.items()]


def fill(dtype, shape, seed=0):
    size = int(np.prod(shape)) * dtype.itemsize
    data = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    return (data % 2 if dtype.kind == "b" else data).view(dtype).reshape(shape)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(st.sampled_from(IN_NUMPY), st.lists(st.integers(0, 3), max_size=3)),
        max_size=6,
    ),
    st.sampled_from([{}, {"format": "pt"}, {'"\n\x00é': "\x7f\u2028\\"}]),
)
def test_equals_the_reference_byte_for_byte(tmp_path_factory, described, metadata):
    folder = tmp_path_factory.mktemp("equal")
    arrays = {name: fill(dtype, tuple(shape)) for name, (dtype, shape) in described.items()}
    write(folder, stream(arrays), metadata=metadata)
    safetensors.numpy.save_file(arrays, folder / "reference", metadata=metadata or None)
    assert (folder / "model.safetensors").read_bytes() == (folder / "reference").read_bytes()


def test_every_dtype_round_trips_and_the_reference_reads_it(tmp_path):
    arrays = {
        f"{code}.{i}": fill(dtype, shape, i)
        for code, dtype in DTYPES.items()
        for i, shape in enumerate([(3, 5), (), (0, 2)])
    }
    assert write(tmp_path, stream(arrays)) == ("model.safetensors",)
    with Checkpoint.open(tmp_path) as checkpoint:
        assert checkpoint.metadata == {"format": "pt"}
        for name, array in arrays.items():
            found = checkpoint.read(name)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        for name, array in arrays.items():
            assert file.get_slice(name).get_dtype() == name.split(".")[0]
            tensor = file.get_tensor(name).contiguous().flatten()
            assert bytes(tensor.untyped_storage()) == array.tobytes()


def test_jax_arrays_views_and_specs(tmp_path):
    whole = jnp.arange(12, dtype=jnp.bfloat16).reshape(3, 4)
    spec = jax.ShapeDtypeStruct((4, 3), jnp.bfloat16)
    scalar = jnp.float32(3)
    tensors = [("t", spec, lambda: np.asarray(whole).T), ("s", scalar, lambda: scalar)]
    write(tmp_path, tensors)
    with Checkpoint.open(tmp_path) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("t"), np.asarray(whole).T)
        assert checkpoint.read("s").shape == ()


def test_shards_and_index(tmp_path):
    arrays = {
        name: np.full(size, ord(name), np.uint8)
        for name, size in {"a": 4, "b": 4, "c": 30, "d": 1, "e": 9}.items()
    }
    files = write(tmp_path, stream(arrays), max_shard_size=10)
    assert files == (
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    )
    assert sorted(files) == sorted(os.listdir(tmp_path))
    text = (tmp_path / files[-1]).read_text()
    index = json.loads(text)
    assert index["metadata"] == {"total_parameters": 48, "total_size": 48}
    assert [file[7:11] for file in index["weight_map"].values()] == [
        "0001",
        "0001",
        "0002",
        "0003",
        "0003",
    ]
    assert text == json.dumps(index, indent=2, sort_keys=True) + "\n"
    for path in (tmp_path, tmp_path / files[-1]):
        with Checkpoint.open(path) as checkpoint:
            assert set(checkpoint.names) == set(arrays)
            assert all((checkpoint.read(name) == array).all() for name, array in arrays.items())


def test_transformers_loads_the_shards(tmp_path):
    config = BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        vocab_size=30,
    )
    model = BertModel(config)
    config.save_pretrained(tmp_path)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert len(write(tmp_path, stream(arrays), max_shard_size="2KB")) > 3
    loaded, info = BertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    for name, tensor in loaded.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), arrays[name])


def test_reads_what_transformers_sharded(tmp_path):
    config = BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        vocab_size=30,
    )
    model = BertModel(config)
    model.save_pretrained(tmp_path, max_shard_size="2KB")
    state = model.state_dict()
    expected = split_torch_state_dict_into_shards(state, max_shard_size="2KB")
    with Checkpoint.open(tmp_path) as checkpoint:
        assert len(checkpoint.files) == len(expected.filename_to_tensors) > 1
        assert set(checkpoint.names) <= set(state)
        for name in checkpoint.names:
            np.testing.assert_array_equal(checkpoint.read(name), state[name].numpy())


def test_same_bytes_every_time(tmp_path):
    arrays = {name: fill(np.dtype("f4"), (3,), i) for i, name in enumerate("bcaz")}
    metadata = {"b": "1", "a": "2"}
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, given_metadata in ((first, metadata), (second, dict(sorted(metadata.items())))):
        folder.mkdir()
        write(folder, stream(arrays), metadata=given_metadata)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_one_tensor_in_memory_at_a_time(tmp_path):
    size = 4 << 20
    like = jax.ShapeDtypeStruct((size,), np.uint8)
    tensors = [(str(i), like, lambda: np.ones(size, np.uint8)) for i in range(6)]
    tracemalloc.start()
    try:
        write(tmp_path, tensors, max_shard_size=3 * size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * size


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        (
            [("a", np.zeros(1), np.zeros(1)), ("a", np.zeros(1), np.zeros(1))],
            {},
            "a: is given twice",
        ),
        (
            [("a", np.zeros(1, "c16"), None)],
            {},
            "a: dtype complex128 does not exist in safetensors",
        ),
        ([("a", np.zeros(1, ">f4"), None)], {}, "a: dtype >f4 does not exist"),
        ([("a", np.zeros(1, ml_dtypes.int4), None)], {}, "a: dtype int4 does not exist"),
        (
            [("a", np.zeros(2), np.zeros(1))],
            {},
            r"a: found float64 \(1,\), expected float64 \(2,\)",
        ),
        ([("a", np.zeros(1), np.zeros(1, "f4"))], {}, r"a: found float32 \(1,\), expected float64"),
        ([("__metadata__", np.zeros(1), np.zeros(1))], {}, "tensor names must be text other than"),
        ([("\ud800", np.zeros(1), np.zeros(1))], {}, "tensor names must be text"),
        ([], {"metadata": {"a": 1}}, "metadata: found .* expected text under text"),
        ([], {"max_shard_size": "5 apples"}, "max_shard_size: found '5 apples'"),
        ([], {"max_shard_size": 0}, "max_shard_size: found 0, expected bytes or a size such as"),
        ([], {"max_shard_size": -5}, "max_shard_size: found -5"),
    ],
)
def test_refused_and_nothing_left(tmp_path, tensors, options, message):
    good = ("0", np.zeros(3), lambda: np.zeros(3))
    given_tensors = [good, *((name, like, lambda v=value: v) for name, like, value in tensors)]
    with pytest.raises(ValueError, match=message):
        write(tmp_path, given_tensors, **{"max_shard_size": 8, **options})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("size", "count"), [("1KB", 10**3), ("2 mb", 2 * 10**6), ("3GB", 3 * 10**9), ("7", 7), (7, 7)]
)
def test_sizes(size, count):
    assert writer._bytes(size) == count


def test_existing_files_are_kept(tmp_path):
    arrays = {name: np.zeros(3) for name in "ab"}
    kept = tmp_path / "model-00002-of-00002.safetensors"
    kept.write_text("mine")
    with pytest.raises(FileExistsError):
        write(tmp_path, stream(arrays), max_shard_size=24)
    assert os.listdir(tmp_path) == [kept.name]
    assert kept.read_text() == "mine"


def test_disk_full(tmp_path, monkeypatch):
    real = open

    class Full:
        def __init__(self, *args, **kwargs):
            self.file, self.left = real(*args, **kwargs), 200

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            if self.left <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = self.file.write(data[: min(7, self.left)])
            self.left -= count
            return count

    monkeypatch.setattr(writer, "open", Full, raising=False)
    with pytest.raises(OSError, match="b: No space left on device after 80 of 800 bytes") as caught:
        write(tmp_path, stream({"a": np.zeros(0), "b": np.zeros(100)}), metadata={})
    assert caught.value.errno == errno.ENOSPC
    assert not os.listdir(tmp_path)
    write(tmp_path, stream({"a": np.zeros(2)}), metadata={})
    monkeypatch.undo()
    with Checkpoint.open(tmp_path) as checkpoint:
        assert checkpoint.names["a"].nbytes == 16
