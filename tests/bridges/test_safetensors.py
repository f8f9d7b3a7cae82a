"""Reading safetensors: equal to the reference, and one clear error for everything broken."""

import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch

from bridges import tensorfile
from bridges.header import DTYPES
from bridges.safetensors import Checkpoint, CheckpointError, TensorFile, aligned

TORCH = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "C64": torch.complex64,
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
}
ONE = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


def raw(path, header, payload=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + payload)
    return path


def random_bytes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8)


def torch_tensor(code, shape, seed=0):
    dtype = TORCH[code]
    if code == "BOOL":
        return torch.from_numpy(random_bytes(int(np.prod(shape)), seed) % 2 == 1).reshape(shape)
    size = int(np.prod(shape)) * torch.empty((), dtype=dtype).element_size()
    flat = torch.from_numpy(random_bytes(size, seed))
    return flat.view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)


@pytest.fixture
def reference(tmp_path):
    tensors = {
        f"{code}.{i}": torch_tensor(code, shape, seed=i)
        for code in TORCH
        for i, shape in enumerate([(3, 5), (), (2, 0, 3), (7,)])
    }
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(tensors, path, {"format": "pt", "ключ": "значение"})
    return path, tensors


def test_reads_what_the_reference_wrote(reference):
    path, tensors = reference
    assert set(TORCH) == set(DTYPES)
    with TensorFile(path) as file:
        assert file.metadata == {"format": "pt", "ключ": "значение"}
        assert set(file.names) == set(tensors)
        for name, tensor in tensors.items():
            array, info = file.read(name), file.names[name]
            assert (array.dtype, array.shape) == (info.dtype, info.shape)
            assert info.shape == tuple(tensor.shape)
            assert info.nbytes == array.nbytes
            assert info.dtype == DTYPES[name.split(".")[0]]
            expected = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            assert array.tobytes() == expected


def test_read_into_takes_any_range_and_buffer(reference):
    path, _ = reference
    with Checkpoint.open(path.parent) as checkpoint:
        whole = checkpoint.read("F32.0")
        for buffer in (bytearray(8), np.zeros(8, np.uint8), np.zeros((2, 1), np.float32)):
            checkpoint.read_into("F32.0", buffer, start=4)
            assert bytes(buffer) == whole.tobytes()[4:12]
        half = np.zeros(15, ml_dtypes.bfloat16)
        checkpoint.read_into("BF16.0", half)
        np.testing.assert_array_equal(
            half.view(np.uint16), checkpoint.read("BF16.0").view("u2").ravel()
        )
        checkpoint.read_into("F32.2", np.zeros((2, 0, 3), np.float32))
        with pytest.raises(ValueError, match=r"F32\.0: asked for bytes 58 to 66, .* within its 60"):
            checkpoint.read_into("F32.0", bytearray(8), start=58)
        with pytest.raises(ValueError, match="asked for bytes -1 to 7"):
            checkpoint.read_into("F32.0", bytearray(8), start=-1)
        for buffer in (bytes(4), np.zeros((4, 4), np.uint8)[:, 0]):
            with pytest.raises(ValueError, match="contiguous and writable"):
                checkpoint.read_into("F32.0", buffer)
        for read in (checkpoint.read, lambda name: checkpoint.read_into(name, bytearray())):
            with pytest.raises(KeyError, match="has no tensor 'absent' among its 76"):
                read("absent")
    with pytest.raises(ValueError, match="closed file"):
        checkpoint.read("F32.0")


def test_short_reads_are_continued(reference, monkeypatch):
    path, _ = reference
    with TensorFile(path) as file:
        expected = file.read("C64.0")
        preadv = os.preadv
        monkeypatch.setattr(os, "preadv", lambda fd, views, at: preadv(fd, [views[0][:3]], at))
        assert file.read("C64.0").tobytes() == expected.tobytes()
    monkeypatch.setattr(tensorfile, "_CHUNK", 5)
    with TensorFile(path) as file:
        assert file.read("C64.0").tobytes() == expected.tobytes()


def test_threads_share_one_file(tmp_path):
    arrays = {str(i): random_bytes(50_000, i) for i in range(16)}
    torches = {name: torch.from_numpy(array) for name, array in arrays.items()}
    safetensors.torch.save_file(torches, tmp_path / "model.safetensors")
    with Checkpoint.open(tmp_path) as checkpoint, ThreadPoolExecutor(8) as pool:
        names = list(arrays) * 8
        for name, array in zip(names, pool.map(checkpoint.read, names), strict=True):
            np.testing.assert_array_equal(array, arrays[name])


def test_buffers_are_aligned():
    for size in (1, 63, 1000):
        assert aligned(size).ctypes.data % 64 == 0
        assert aligned(size).shape == (size,)


def entry(**changes):
    return {"a": {**ONE, **changes}}


HEADERS = {
    "empty": (b"", "the header begins with b''"),
    "array": (b"[]", "begins with b'\\[\\]', expected '{'"),
    "space": (b" {}", "this is not a safetensors file"),
    "json": (b'{"a": ', "found invalid JSON"),
    "two": (b"{}{}", "found invalid JSON"),
    "utf-8": (b'{"\xff": 1}', "found invalid JSON .*utf-8"),
    "nan": (b'{"a": NaN}', "holds NaN"),
    "infinity": (b'{"a": [-Infinity]}', "holds -Infinity"),
    "nested": (b'{"a":' + b"[" * 100_000, "nested more deeply"),
    "nested objects": (b'{"a":' * 100_000, "nested more deeply"),
    "duplicate": (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' appears more than once"),
    "duplicate below": (
        b'{"a": {"dtype": "U8", "dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}',
        "the key 'dtype' appears more than once",
    ),
    "surrogate": (
        b'{"\\ud800": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}',
        "not valid Unicode",
    ),
    "huge number": (b'{"a": ' + b"9" * 5000 + b"}", "found invalid JSON"),
    "entry": ({"a": 3}, "'a': found 3, expected dtype, shape and data_offsets"),
    "no dtype": ({"a": {"shape": [4], "data_offsets": [0, 4]}}, "expected dtype, shape"),
    "more": (entry(strides=[1]), "expected dtype, shape and data_offsets"),
    "dtype": (entry(dtype="F128"), "'a': found dtype 'F128', expected one of BOOL, U8"),
    "dtype list": (entry(dtype=["U8"]), r"found dtype \['U8'\]"),
    "sub-byte": (entry(dtype="F4"), "dtype F4 packs values below a byte, which is not supported"),
    "shape": (entry(shape=4), "found shape 4, expected up to 64 sizes"),
    "negative": (entry(shape=[-4]), r"found shape \[-4\]"),
    "float": (entry(shape=[4.0]), r"found shape \[4.0\]"),
    "bool": (entry(shape=[True, 4]), r"found shape \[True, 4\]"),
    "huge": (entry(shape=[2**63]), "found shape"),
    "overflow": (entry(shape=[2**40, 2**40, 0]), "larger than any file"),
    "rank": (entry(shape=[1] * 64 + [4]), "expected up to 64 sizes"),
    "size": (entry(shape=[5]), r"found 4 bytes, expected 5 for U8 of shape \[5\]"),
    "offsets": (entry(data_offsets=[0]), r"found data_offsets \[0\], expected \[begin, end\]"),
    "reversed": (entry(data_offsets=[4, 0]), r"found data_offsets \[4, 0\]"),
    "negative offset": (entry(data_offsets=[-4, 0]), r"found data_offsets \[-4, 0\]"),
    "float offset": (entry(data_offsets=[0, 4.0]), r"found data_offsets \[0, 4.0\]"),
    "overlap": ({"a": ONE, "b": ONE}, "'b': begins at byte 0, expected 4: overlaps"),
    "gap": (entry(data_offsets=[1, 5]), "'a': begins at byte 1, expected 0: leaves a gap"),
    "out of range": (
        entry(shape=[9], data_offsets=[0, 9]),
        "is truncated: found 4 bytes after the header, expected 9; download",
    ),
    "rest": (entry(shape=[3], data_offsets=[0, 3]), "has bytes that no tensor names"),
    "metadata": ({"__metadata__": 3, "a": ONE}, "__metadata__: found 3, expected text under text"),
    "metadata value": ({"__metadata__": {"n": 3}, "a": ONE}, "expected text under text"),
    "many": ({c: 3 for c in "abcde"}, "5 problems, the first three: 'a': .*'b': .*'c': [^']*;"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_broken_headers(tmp_path, case):
    header, message = HEADERS[case]
    path = raw(tmp_path / "model.safetensors", header, b"\0" * 4)
    with pytest.raises(CheckpointError, match=message) as caught:
        TensorFile(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 700


def test_valid_oddities(tmp_path):
    header = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"__metadata__":null}   '
    with TensorFile(raw(tmp_path / "a", header, b"abcd")) as file:
        assert file.read("a").tobytes() == b"abcd"
        assert file.metadata == {}
    zero = {"a": ONE, "b": {"dtype": "F32", "shape": [0, 3], "data_offsets": [0, 0]}}
    with TensorFile(raw(tmp_path / "b", zero, b"abcd")) as file:
        assert file.read("b").shape == (0, 3)
    with TensorFile(raw(tmp_path / "c", b"{}")) as file:
        assert not file.names


def test_broken_files(tmp_path):
    path = tmp_path / "model.safetensors"
    for content in (b"", b"1234567"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"found {len(content)} bytes, expected at least"):
            TensorFile(path)
    raw(path, b"{}", length=3)
    with pytest.raises(CheckpointError, match="header of 3 bytes in a file of 10"):
        TensorFile(path)
    raw(path, b"{}", length=2**64 - 1)
    with pytest.raises(CheckpointError, match="at most 100000000; this is not a safetensors file"):
        TensorFile(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no such file; check the path"):
        TensorFile(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        TensorFile(tmp_path / ("x" * 10) / "y")
    path.mkdir()
    with pytest.raises(CheckpointError, match="found a directory, expected a file"):
        TensorFile(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="found a device, pipe or socket"):
        TensorFile(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CheckpointError, match="symbolic link that leads to itself"):
        Checkpoint.open(tmp_path / "loop")
    with pytest.raises(CheckpointError, match="the name is too long"):
        Checkpoint.open(tmp_path / ("x" * 300))
    with pytest.raises(CheckpointError, match="not a file name"):
        Checkpoint.open("a\0b")


def test_no_permission(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(PermissionError, match="may not be read; check its permissions"):
        TensorFile(tmp_path / "a")


def test_file_cut_while_open(tmp_path):
    path = raw(tmp_path / "model.safetensors", {"a": ONE}, b"abcd")
    with TensorFile(path) as file:
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(CheckpointError, match="a: the file ended 1 bytes early"):
            file.read("a")
