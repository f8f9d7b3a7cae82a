"""`flax_model.msgpack`: what flax itself writes, and what nobody should."""

import struct

import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import pytest
from flax import serialization
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridges.legacy import flax_msgpack, open_checkpoint
from bridges.safetensors import CheckpointError

NAMES = st.text("abc_.é", min_size=1, max_size=40).filter(lambda name: name not in ("kernel",))
ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float16, np.int8, np.uint32, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("flax") / "flax_model.msgpack"


def flatten(tree, *path):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, *path, name)
        else:
            yield "/".join((*path, name)), value


@given(st.recursive(ARRAYS, lambda inner: st.dictionaries(NAMES, inner, max_size=20), max_leaves=8))
def test_any_tree_that_flax_writes_is_read(path, tree):
    tree = {"model": {"x": np.ones(2, np.float32), "tree": tree}}
    path.write_bytes(serialization.to_bytes(tree))
    leaves = {name: x for name, x in flatten(tree)}
    joined = [name.replace("/", ".") for name in leaves]
    if len(set(joined)) < len(joined):  # "a.b", and "b" below "a"
        with pytest.raises(CheckpointError, match="are both"):
            open_checkpoint(path)
        return
    with open_checkpoint(path) as source:
        assert set(source.sources.values()) == set(leaves)
        for name, origin in source.sources.items():
            x = np.asarray(leaves[origin])
            assert source.names[name] == (x.dtype, x.shape, x.nbytes)
            assert source.read(name).tobytes() == x.tobytes()


def test_bfloat16_scalars_and_sizes_of_every_width(path):
    tree = {
        "half": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
        "eight": np.arange(4).astype(ml_dtypes.float8_e4m3fn),
        "one": np.float32(3),
        **{f"n{n}": np.arange(n, dtype=np.uint8) for n in (0, 1, 2, 4, 8, 16, 300, 70_000)},
        **{"n" * n: np.ones(1, np.float32) for n in (31, 32, 255, 256)},
    }
    path.write_bytes(serialization.to_bytes(tree))
    with open_checkpoint(path) as source:
        for name, x in tree.items():
            assert source.names[name].dtype == x.dtype
            assert source.read(name).tobytes() == np.asarray(x).tobytes()


def test_an_array_in_chunks(path, monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 64)
    x = np.arange(22 * 12, dtype=np.float32).reshape(22, 12)
    path.write_bytes(serialization.to_bytes({"a": {"kernel": x.copy(), "bias": x[0]}, "b": x}))
    assert path.read_bytes().count(b"__msgpack_chunked_array__") == 2
    with open_checkpoint(path) as source:
        assert (source.read("a.weight") == x.T).all()
        assert (source.read("b") == x).all()
        out = np.empty(100, np.uint8)
        source.read_into("b", out, 30)
        assert out.tobytes() == x.tobytes()[30:130]


def array(shape=(2,), dtype="float32", data=b"\0" * 8, code=1, tail=b""):
    return msgpack.ExtType(code, msgpack.packb((shape, dtype, data)) + tail)


def chunked(**parts):
    return {"a": {"__msgpack_chunked_array__": True, **parts}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([array()], "begins with list, expected a map"),
        ({}, "holds no tensors"),
        ({"a": {}}, "holds no tensors"),
        ({"a": 3}, "'a': found an integer, expected an array"),
        ({"a": None}, "'a': found nothing, expected an array"),
        ({"a": 0.5}, "'a': found a number, expected an array"),
        ({"a": [array()]}, "'a': found list, expected an array"),
        ({"a": b"xxxx"}, "'a': found bytes, expected an array"),
        ({3: array()}, "found an integer of 3, expected a name"),
        ({"a/b": array()}, "is given twice, or holds a '/'"),
        ({"n" * 5000: array()}, "found text of 5000, expected a name"),
        ({"a": array(code=2)}, "found an extension of type 2, expected an array"),
        ({"a": msgpack.ExtType(127, b"")}, "found an extension of type 127"),
        ({"a": array(dtype="object")}, "found dtype 'object', expected one of bool, uint8"),
        ({"a": array(dtype=">f4")}, "found dtype '>f4'"),
        ({"a": array(shape=(3,))}, r"found 8 bytes, expected 12 for float32 of shape \[3\]"),
        ({"a": array(shape=(-2,))}, "found an integer, expected a size"),
        ({"a": array(shape=(1.5,))}, "found a number, expected a size"),
        ({"a": array(shape=(2**60, 2**60))}, "found 8 bytes, expected"),
        ({"a": array(shape=[1] * 65)}, "found no shape of up to 64 sizes"),
        ({"a": array(shape=2)}, "found no shape"),
        ({"a": array(tail=b"x")}, "found 8 bytes, expected 8 .* at the array's end"),
        ({"a": msgpack.ExtType(1, b"\x93")}, "found list of 3, more than the 0 bytes left"),
        ({"a": msgpack.ExtType(1, b"\xc0")}, "the array is not a shape, a dtype and bytes"),
        (chunked(shape={"0": 2}, chunks={}), "found no shape and chunks of one dtype"),
        (chunked(shape={"0": 3}, chunks={"0": array()}), "found 8 bytes in chunks, expected 12"),
        (chunked(shape={"1": 2}, chunks={"0": array()}), "entry 0 is missing or out of order"),
        (chunked(shape=[2], chunks={"0": array()}), "expected maps of a shape and of chunks"),
        (chunked(shape={"0": 2}), "found no shape and chunks"),
        (chunked(chunks={"0": array(), "1": array(dtype="int32")}, shape={}), "of one dtype"),
    ],
)
def test_what_is_no_tree_of_arrays_is_refused(path, content, message):
    path.write_bytes(msgpack.packb(content))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def nested(depth):
    return b"\x81\xa1a" * depth + b"\x80"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found 0 bytes to the file's end, expected 1"),
        (b"\xc1", "the byte 0xc1, which MessagePack does not use"),
        (b"\xdf\xff\xff\xff\xff", "found map of 4294967295, more than the 0 bytes left"),
        (b"\x81\xdb\xff\xff\xff\xff", "found text of 4294967295, more than"),
        (b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", "found extension of 4294967295, more than"),
        (b"\x81\xa1a\xc7\x06\x01\x93\xdd\xff\xff\xff\xff", "found list of 4294967295"),
        (b"\x81\xa2\xff\xfe\x80", r"found the name b'\\xff\\xfe', which is not UTF-8"),
        (b"\x82\xa1a\x80\xa1a\x80", "'a' is given twice"),
        (b"\x80\x80", "found 1 bytes behind the map, expected none"),
        (nested(10_000), "nested more than 64 maps deep"),
        (b"\xdf" + struct.pack(">I", 10**6) + b"\xa0\x80" * 10**6, "'' is given twice"),
    ],
)
def test_what_is_no_messagepack_is_refused(path, data, message):
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_the_number_of_values_is_bounded(path, monkeypatch):
    monkeypatch.setattr(flax_msgpack, "MAX_TOKENS", 1000)
    path.write_bytes(msgpack.packb({f"{i}": {} for i in range(1000)}))
    with pytest.raises(CheckpointError, match="holds more than 1000 values"):
        open_checkpoint(path)
