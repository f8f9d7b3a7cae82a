"""`tf_model.h5`: files written through h5py as Keras writes them, and what is refused."""

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridges.legacy import hdf5, open_checkpoint, tf_h5
from bridges.safetensors import CheckpointError

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float16, np.float64, np.int8, np.uint32, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
NAMES = st.text("ab_.", min_size=1, max_size=12).filter(lambda name: name.strip("."))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("h5") / "tf_model.h5"


def names(group, key, values, *, as_bytes=False, parts=1):
    """Write a list of names as Keras does: whole, or in parts when it is long."""
    values = np.array([v.encode() for v in values]) if as_bytes else values
    if parts == 1:
        group.attrs[key] = values
        return
    for i, part in enumerate(np.array_split(np.array(values, dtype=object), parts)):
        group.attrs[f"{key}{i}"] = list(part)


def write(path, layers, *, as_bytes=False, parts=1):
    with h5py.File(path, "w") as file:
        names(file, "layer_names", list(layers), as_bytes=as_bytes, parts=parts)
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = "2.19.0"
        for layer, weights in layers.items():
            group = file.create_group(layer)
            names(group, "weight_names", list(weights), as_bytes=as_bytes, parts=parts)
            for name, x in weights.items():
                data = group.create_dataset(name, x.shape, dtype=x.dtype)
                data[()] = x
    return path


@given(
    st.dictionaries(NAMES, st.dictionaries(NAMES, ARRAYS, max_size=12), max_size=4),
    st.booleans(),
    st.integers(1, 3),
)
def test_whatever_keras_writes_is_read(path, layers, as_bytes, parts):
    layers = {
        layer: {f"scope/{layer}/x{i}/{name}:0": x for i, (name, x) in enumerate(weights.items())}
        for layer, weights in layers.items()
    }
    layers["dropout"] = {}
    layers["last"] = {"scope/last/weight:0": np.ones(3, np.float32)}
    write(path, layers, as_bytes=as_bytes, parts=1 if as_bytes else parts)
    expected = {name: x for weights in layers.values() for name, x in weights.items()}
    with open_checkpoint(path) as source:
        assert set(source.sources.values()) == set(expected)
        for name, origin in source.sources.items():
            x = expected[origin]
            assert source.names[name] == (x.dtype, x.shape, x.nbytes)
            assert source.read(name).tobytes() == x.tobytes()


def test_a_group_of_many_entries_and_a_file_of_many_layers(path):
    layers = {
        f"layer{i}": {
            f"m/layer{i}/part{j:04}/bias:0": np.full(2, 1000 * i + j, np.float32)
            for j in range(300 if i == 0 else 2)
        }
        for i in range(200)
    }
    write(path, layers)
    with open_checkpoint(path) as source:
        assert len(source.names) == 300 + 199 * 2
        assert source.read("layer0.part0299.bias").tolist() == [299, 299]
        assert source.read("layer199.part0001.bias").tolist() == [199_001] * 2


def test_bfloat16_and_compact_data(path):
    x = np.arange(6).astype(ml_dtypes.bfloat16)
    with h5py.File(path, "w") as file:
        names(file, "layer_names", ["a"])
        group = file.create_group("a")
        names(group, "weight_names", ["half:0", "compact:0"])
        kind = h5py.h5t.IEEE_F16LE.copy()
        kind.set_fields(15, 7, 8, 0, 7)
        kind.set_ebias(127)
        space = h5py.h5s.create_simple((6,))
        data = h5py.h5d.create(group.id, b"half:0", kind, space)
        data.write(space, space, x.view(np.uint16), mtype=kind)
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.COMPACT)
        data = h5py.h5d.create(group.id, b"compact:0", h5py.h5t.STD_I16LE, space, dcpl=plan)
        data.write(space, space, np.arange(6, dtype=np.int16))
    with open_checkpoint(path) as source:
        assert source.read("half").dtype == ml_dtypes.bfloat16
        assert source.read("half").tobytes() == x.tobytes()
        assert source.read("compact").tolist() == list(range(6))


def test_a_weight_that_two_layers_share_is_one(path):
    x = np.ones((2, 3), np.float32)
    write(path, {"a": {"m/a/weight:0": x}, "b": {"m/a/weight:0": x, "m/b/bias:0": x[0]}})
    with open_checkpoint(path) as source:
        assert sorted(source.names) == ["a.weight", "b.bias"]
    write(path, {"a": {"m/a/weight:0": x}, "b": {"m/a/weight:0": x[0]}})
    with pytest.raises(CheckpointError, match="'m/a/weight:0' is stored twice"):
        open_checkpoint(path)


def soft_link(file, folder):
    file["a/w:0"] = h5py.SoftLink("/a/real")


def loop(file, folder):
    file["a/w:0"] = h5py.SoftLink("/a/w:0")


def external_link(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones(3, np.float32)
    file["a/w:0"] = h5py.ExternalLink(str(folder / "other.h5"), "x")


def external_data(file, folder):
    (folder / "secret").write_bytes(b"secret" * 4)
    file["a"].create_dataset("w:0", (6,), "f4", external=[(str(folder / "secret"), 0, 24)])


def virtual(file, folder):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", (3,))
    file["a"].create_virtual_dataset("w:0", layout)


def compressed(file, folder):
    file["a"].create_dataset("w:0", (10**6,), "f4", compression="gzip", fillvalue=0)


def chunked(file, folder):
    file["a"].create_dataset("w:0", (10**6,), "f4", chunks=(1000,))


def unallocated(file, folder):
    file["a"].create_dataset("w:0", (10**12,), "f4")


def text(file, folder):
    file["a"].create_dataset("w:0", data=["a", "b"])


def big_endian(file, folder):
    file["a"].create_dataset("w:0", data=np.ones(3, ">f4"))


def nothing(file, folder):
    file["a"].create_dataset("w:0", data=h5py.Empty("f4"))


def compound(file, folder):
    file["a"].create_dataset("w:0", (3,), np.dtype([("x", "f4"), ("y", "i4")]))


def group(file, folder):
    file["a"].create_group("w:0")


def absent(file, folder):
    pass


def shared_type(file, folder):
    file["type"] = np.dtype("f4")
    file["a"].create_dataset("w:0", (3,), file["type"])


REFUSED = [
    (soft_link, "is a link to elsewhere, which is not followed"),
    (loop, "is a link to elsewhere, which is not followed"),
    (external_link, "is no group of the layout that Keras writes"),
    (external_data, "'w:0' is compressed or kept in another file"),
    (virtual, "'w:0' is virtual or in chunks, expected one piece"),
    (compressed, "'w:0' is compressed or kept in another file"),
    (chunked, "'w:0' is virtual or in chunks, expected one piece"),
    (unallocated, "expected 4000000000000 for float32 of shape"),
    (text, "'w:0' does not hold little-endian numbers"),
    (big_endian, "'w:0' does not hold little-endian numbers"),
    (nothing, "'w:0' does not hold little-endian numbers of a shape"),
    (compound, "'w:0' does not hold little-endian numbers"),
    (group, "'w:0' is not a dataset"),
    (absent, "'w:0' is listed, but there is no 'w:0'"),
    (shared_type, "'w:0' shares its description, expected its own"),
]


@pytest.mark.parametrize(("damage", "message"), REFUSED, ids=[f.__name__ for f, _ in REFUSED])
def test_data_that_are_not_plain_bytes_of_this_file_are_refused(path, damage, message):
    with h5py.File(path, "w") as file:
        names(file, "layer_names", ["a"])
        names(file.create_group("a"), "weight_names", ["w:0"])
        file["a/real"] = np.ones(3, np.float32)
        damage(file, path.parent)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"libver": "latest"}, "found superblock version b'.x03', expected 0 as Keras writes"),
        ({"userblock_size": 512}, "does not begin like an HDF5 file"),
        ({"track_order": True}, "is no group of the layout|found no object header of version 1"),
    ],
)
def test_other_layouts_of_hdf5_are_refused_by_name(path, options, message):
    with h5py.File(path, "w", **options) as file:
        names(file, "layer_names", ["a"])
        names(file.create_group("a"), "weight_names", ["w:0"])
        file["a/w:0"] = np.ones(3, np.float32)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_names_must_be_lists_of_text(path):
    for value in (np.arange(3), b"a", "a", h5py.Empty("f4")):
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = value
        with pytest.raises(CheckpointError, match=r"has no layer_names|there is no 'a'"):
            open_checkpoint(path)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"\xff\xfe"])
    with pytest.raises(CheckpointError, match="which is not UTF-8"):
        open_checkpoint(path)


def test_layers_that_share_a_group_do_not_multiply_the_work(path, monkeypatch):
    monkeypatch.setattr(tf_h5, "MAX_VARIABLES", 1000)
    with h5py.File(path, "w") as file:
        names(file, "layer_names", ["a"] * 40)
        names(file.create_group("a"), "weight_names", ["w:0"] * 40)
        file["a/w:0"] = np.ones(3, np.float32)
    with pytest.raises(CheckpointError, match="lists more than 1000 variables"):
        open_checkpoint(path)


def test_reading_the_same_description_again_and_again_comes_to_an_end(path, monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_WORK", 1 << 20)
    with h5py.File(path, "w") as file:
        names(file, "layer_names", ["a"] * 1000)
        names(file.create_group("a"), "weight_names", [])
        file["a"].attrs["long"] = ["x" * 1000] * 10
    with pytest.raises(CheckpointError, match="its description takes more than 1048576 bytes"):
        open_checkpoint(path)


def test_a_file_of_another_kind_is_refused(path):
    for data in (b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" + bytes(200), b"\x89HDF\r\n\x1a\n" * 20):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"does not begin like|found superbl"):
            open_checkpoint(path)
