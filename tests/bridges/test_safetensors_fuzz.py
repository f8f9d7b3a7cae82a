"""Whatever the bytes are: a valid file that the reference reads as well, or a CheckpointError."""

import json
import struct

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridges.header import DTYPES, SUB_BYTE
from bridges.safetensors import Checkpoint, CheckpointError, TensorFile, write

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.arange(3, dtype=np.int8),
    "c": np.zeros((0, 2), np.float16),
    "d": np.array(True),
}
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

numbers = st.one_of(
    st.integers(-1, 8),
    st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400]),
    st.floats(),
    st.booleans(),
    st.none(),
)
words = st.one_of(
    st.sampled_from([*DTYPES, *SUB_BYTE, "", "a", "__metadata__"]), st.text(max_size=5)
)
anything = st.recursive(
    st.one_of(numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.one_of(st.sampled_from(["U8", "F32"]), words),
        "shape": st.one_of(st.lists(st.integers(0, 3), max_size=3), st.lists(numbers), anything),
        "data_offsets": st.one_of(
            st.lists(st.integers(0, 12), min_size=2, max_size=2), st.lists(numbers), anything
        ),
    }
)
headers = st.dictionaries(words, st.one_of(entries, anything), max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def stream():
    return [(name, array, lambda array=array: array) for name, array in ARRAYS.items()]


@pytest.fixture(scope="module")
def valid(folder):
    write(folder, stream(), name="valid.safetensors")
    return (folder / "valid.safetensors").read_bytes()


def opened(open_, path):
    """Return what opens, or None after a CheckpointError; anything else fails the test."""
    message = ""
    try:
        return open_(path)
    except CheckpointError as error:
        message = str(error)
    assert str(path) in message
    assert len(message) < 2000
    return None


def check_file(path):
    file = opened(TensorFile, path)
    if file is None:
        return
    with file, safetensors.safe_open(path, "np") as reference:
        assert set(file.names) == set(reference.keys())
        for name, info in file.names.items():
            array = file.read(name)
            assert (array.dtype, array.shape, array.nbytes) == info
            assert list(array.shape) == reference.get_slice(name).get_shape()


@FUZZ
@given(headers, st.binary(max_size=12), st.integers(-2, 2))
def test_headers(folder, header, payload, error):
    text = json.dumps(header).encode()
    (folder / "header").write_bytes(struct.pack("<Q", max(len(text) + error, 0)) + text + payload)
    check_file(folder / "header")


@FUZZ
@given(
    st.lists(st.tuples(words, st.sampled_from(["U8", "I16", "F4"]), st.integers(0, 3)), max_size=4)
)
def test_dense_headers(folder, tensors):
    """Headers right in everything but what is drawn: duplicate names, metadata, sub-byte dtypes."""
    parts, reached = [], 0
    for name, code, count in tensors:
        size = count * (2 if code == "I16" else 1)
        body = {"dtype": code, "shape": [count], "data_offsets": [reached, reached + size]}
        parts.append(f"{json.dumps(name)}:{json.dumps(body)}")
        reached += size
    text = "{" + ",".join(parts) + "}"
    (folder / "dense").write_bytes(struct.pack("<Q", len(text)) + text.encode() + bytes(reached))
    check_file(folder / "dense")


@FUZZ
@given(st.binary(max_size=64))
def test_bytes(folder, data):
    (folder / "bytes").write_bytes(data)
    check_file(folder / "bytes")
    (folder / "bytes").write_bytes(struct.pack("<Q", len(data)) + data)
    check_file(folder / "bytes")


@FUZZ
@given(st.data())
def test_flipped_and_truncated(folder, valid, data):
    broken = bytearray(valid)
    header = 8 + struct.unpack("<Q", valid[:8])[0]
    for _ in range(data.draw(st.integers(0, 3))):
        broken[data.draw(st.integers(0, header - 1))] ^= data.draw(st.integers(1, 255))
    keep = data.draw(st.one_of(st.just(len(broken)), st.integers(0, len(broken))))
    (folder / "flipped").write_bytes(bytes(broken[:keep]) + data.draw(st.binary(max_size=2)))
    check_file(folder / "flipped")


@FUZZ
@given(st.lists(st.text('[]{}:,"\\a0-e.N \n', max_size=30), max_size=3))
def test_almost_json(folder, pieces):
    text = ("{" + '"a":'.join(pieces)).encode()
    (folder / "almost").write_bytes(struct.pack("<Q", len(text)) + text)
    check_file(folder / "almost")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    files = write(folder, stream(), max_shard_size=10)
    return folder, json.loads((folder / files[-1]).read_text()), files


def check_index(folder):
    checkpoint = opened(Checkpoint.open, folder)
    if checkpoint is None:
        return
    with checkpoint:
        for name in checkpoint.names:
            np.testing.assert_array_equal(checkpoint.read(name), ARRAYS[name])


@FUZZ
@given(st.data())
def test_indices(sharded, data):
    folder, index, files = sharded
    places = st.one_of(
        st.sampled_from(files), st.sampled_from(["..", "/", "/dev/zero", "~", "x" * 300]), anything
    )
    weight_map = data.draw(
        st.one_of(st.dictionaries(st.sampled_from([*ARRAYS, "e"]), places), anything)
    )
    if isinstance(weight_map, dict) and data.draw(st.booleans()):
        weight_map = {**index["weight_map"], **weight_map}
    whole = data.draw(st.one_of(st.just({**index, "weight_map": weight_map}), anything))
    (folder / files[-1]).write_text(json.dumps(whole))
    check_index(folder)


@FUZZ
@given(st.data())
def test_flipped_indices(sharded, data):
    folder, index, files = sharded
    broken = bytearray(json.dumps(index).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / files[-1]).write_bytes(broken[: data.draw(st.integers(0, len(broken)))])
    check_index(folder)
