"""`pytorch_model.bin`, as torch writes it now and wrote it before 1.6, and what must not be run."""

import collections
import io
import json
import os
import pickle
import tarfile
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from bridges.legacy import open_checkpoint
from bridges.safetensors import CheckpointError

torch = pytest.importorskip("torch")

ZIP = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "old"])
DTYPES = [
    "float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2", "complex64",
    "bool", "uint8", "int8", "int16", "int32", "int64",
]  # fmt: skip


def save(path, state, is_zip=True):
    torch.save(state, path, _use_new_zipfile_serialization=is_zip)
    return path


def expected(tensor):
    """The tensor's elements in row-major order, without asking numpy to know the dtype."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


@pytest.mark.parametrize(
    ("dtype", "is_zip"),
    # torch itself cannot read the old format's float8
    [
        (dtype, is_zip)
        for is_zip in (True, False)
        for dtype in DTYPES
        if is_zip or "8_" not in dtype
    ],
)
def test_every_dtype_comes_back_bit_for_bit(path, dtype, is_zip):
    bits = torch.arange(1, 97, dtype=torch.uint8)
    x = (bits % 2).bool() if dtype == "bool" else bits.view(getattr(torch, dtype))
    x = x.reshape(3, -1)
    with open_checkpoint(save(path, {"x": x}, is_zip)) as source:
        assert source.names["x"].shape == tuple(x.shape)
        assert source.names["x"].dtype == np.dtype(getattr(ml_dtypes, dtype, dtype))
        assert source.read("x").tobytes() == expected(x)


@ZIP
def test_views_strides_and_shared_storages(path, is_zip):
    x = torch.arange(60_000, dtype=torch.float32).reshape(300, 200)
    state = collections.OrderedDict(
        whole=x,
        again=x,
        transposed=x.T,
        rows=x[100:200],
        columns=x[:, 3:7],
        every_second=x[::2, 1::3],
        permuted=x.reshape(10, 30, 200).permute(2, 0, 1),
        repeated=x[0].expand(7, 200),
        scalar=x[2, 3],
        empty=x[:0],
        ones=x[:1, None].transpose(0, 1),
        parameter=torch.nn.Parameter(x[5]),
        position_ids=torch.arange(20).expand((1, -1)),
        **{f"bf16.{i}": x.bfloat16()[i:].T for i in range(3)},
    )
    state._metadata = collections.OrderedDict(version=1)
    with open_checkpoint(save(path, state, is_zip)) as source:
        assert list(source.names) == list(state)
        for name, value in state.items():
            value = value.detach()
            assert source.names[name].shape == tuple(value.shape)
            assert source.read(name).tobytes() == expected(value), name
            if value.numel() > 50:
                for start, stop in [(37, 138), (0, 4), (8, 16), (len(expected(value)) - 5,) * 2]:
                    out = bytearray(stop - start)
                    source.read_into(name, out, start)
                    assert out == expected(value)[start:stop], name


@ZIP
def test_only_what_is_read_takes_memory(path, is_zip):
    save(path, {f"x{i}": torch.zeros(1 << 20) for i in range(8)}, is_zip)
    before = _resident()
    tracemalloc.start()
    with open_checkpoint(path) as source:
        assert _resident() - before < 8 << 20
        source.read("x3")
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_torch_that_cannot_leave_the_bytes_in_the_file(path, monkeypatch):
    save(path, {"x": torch.ones(3)})
    monkeypatch.setattr(torch, "load", lambda *_, **__: {"x": torch.empty(3, device="meta")})
    with pytest.raises(ValueError, match=r"needs torch 2\.11 or newer; run: pip install --upgrade"):
        open_checkpoint(path)


@ZIP
def test_shards(tmp_path, is_zip):
    parts = {"pytorch_model-00001-of-00002.bin": {"a": torch.ones(3)},
             "pytorch_model-00002-of-00002.bin": {"b": torch.zeros(2)}}  # fmt: skip
    for name, state in parts.items():
        save(tmp_path / name, state, is_zip)
    weight_map = {key: name for name, state in parts.items() for key in state}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    with open_checkpoint(tmp_path) as source:
        assert source.path == index
        assert source.read("a").tolist() == [1, 1, 1]
        assert source.read("b").tolist() == [0, 0]


class Harmful:
    """Unpickles to a file being made."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["zip", "old", "pickle", "storage"])
def test_a_harmful_pickle_does_nothing(path, tmp_path, kind):
    target = tmp_path / "made"
    state = {"x": torch.ones(2), "y": Harmful(target)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Harmful(target)))
    elif kind == "storage":
        # behind a valid start, where the list of storages is expected
        buffer = io.BytesIO()
        torch.save({}, buffer, _use_new_zipfile_serialization=False)
        keys = pickle.dumps([], protocol=2)
        data = buffer.getvalue()
        assert data.endswith(keys)
        path.write_bytes(data.removesuffix(keys) + pickle.dumps(Harmful(target), protocol=2))
    else:
        save(path, state, kind == "zip")
    with pytest.raises(CheckpointError, match="torch refuses it with weights_only=True"):
        open_checkpoint(path)
    assert not target.exists()


def test_the_environment_cannot_make_it_unpickle_more(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    target = tmp_path / "made"
    save(path, {"y": Harmful(target)})
    with pytest.raises(CheckpointError, match="weights_only=True"):
        open_checkpoint(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "holds no tensors"),
        ([torch.ones(2)], "found list, expected tensors by name"),
        ({"x": 3, "y": torch.ones(2)}, "'x': found int, expected a tensor"),
        ({3: torch.ones(2)}, "found the name 3"),
        ({"model": {"x": torch.ones(2)}}, "'model': found dict, expected a tensor"),
        ({"x": torch.eye(3).to_sparse()}, "found a tensor of torch.float32, torch.sparse_coo"),
        ({"x": torch.ones(2, dtype=torch.complex128)}, "found a tensor of torch.complex128"),
        ({"x": torch.ones(1, 1).expand(10**6, 10**6)}, "repeats its elements to 4000000000000 b"),
    ],
)
@ZIP
def test_anything_but_tensors_by_name_is_refused(path, state, message, is_zip):
    save(path, state, is_zip)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def rewrite(path, change):
    """Write a zip archive again, as the standard library writes it."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            name, data, how = change(name, data)
            if data is not None:
                archive.writestr(name, data, how)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, d: (n, d, zipfile.ZIP_DEFLATED), "is compressed"),
        (lambda n, d: (n, b"big" if n.endswith("byteorder") else d, 0), "not little-endian"),
        (lambda n, d: (n, None if n.endswith("data/0") else d, 0), "torch refuses it|not in the f"),
        (lambda n, d: (n, d[:-1] if n.endswith("data/0") else d, 0), "torch refuses it|not in the"),
        (lambda n, d: (n, None if n.endswith("data.pkl") else d, 0), "torch refuses it"),
        (lambda n, d: (n.replace("data.pkl", "constants.pkl"), d, 0), "torch refuses it"),
    ],
)
def test_an_archive_that_torch_did_not_write_is_refused(path, change, message):
    save(path, {"x": torch.arange(100.0)})
    rewrite(path, change)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_a_tar_of_the_first_torch_is_refused(path):
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(CheckpointError, match="torch refuses it"):
        open_checkpoint(path)


@ZIP
def test_every_truncation_is_refused(path, is_zip):
    data = save(path, {"x": torch.arange(100.0), "y": torch.ones(3)}, is_zip).read_bytes()
    for length in [*range(0, len(data), 37), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: "):
            open_checkpoint(path)
