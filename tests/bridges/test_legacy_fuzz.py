"""Damaged files of the three old formats: they are read within bounds, or refused in one way."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.legacy import open_checkpoint
from bridges.safetensors import CheckpointError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "legacy"
FORMATS = ["flax_model.msgpack", "tf_model.h5", "pytorch_model.bin", "old/pytorch_model.bin"]
STARTS = [b"", b"\x81\xa1a", b"\x89HDF\r\n\x1a\n\0", b"PK\x03\x04", b"\x80\x02"]
NUMBERS = st.one_of(st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]),
                    st.integers(0, 100_000))  # fmt: skip
PATCH = st.one_of(
    st.binary(min_size=1, max_size=4),
    NUMBERS.map(lambda n: n.to_bytes(8, "little")),
    NUMBERS.map(lambda n: n.to_bytes(8, "big")[-4:]),
)
PLACE = st.one_of(st.floats(0, 1), st.floats(0, 0.1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    for name in FORMATS[:2]:
        shutil.copy(FIXTURES / "bert-question-answering" / name, folder)
    torch = pytest.importorskip("torch")
    (folder / "old").mkdir()
    state = {f"layer.{i}.weight": torch.ones(4, i) for i in range(8)}
    torch.save(state, folder / FORMATS[2])
    torch.save(state, folder / FORMATS[3], _use_new_zipfile_serialization=False)
    return folder


def check(path):
    """Read all that a file is said to hold; nothing may be larger than the file."""
    size = path.stat().st_size
    try:
        source = open_checkpoint(path)
    except CheckpointError as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        assert refusal.startswith(str(path))
        assert len(refusal) < 1500
        return
    with source:
        for name, info in source.names.items():
            assert info.nbytes <= size
            assert source.read(name).nbytes == info.nbytes


@pytest.mark.parametrize("name", FORMATS)
@given(patches=st.lists(st.tuples(PLACE, PATCH), min_size=1, max_size=12), end=PLACE)
def test_patched_and_truncated(folder, name, patches, end):
    data = bytearray((folder / name).read_bytes())
    for place, patch in patches:
        at = int(place * len(data))
        data[at : at + len(patch)] = patch
    path = folder / "patched" / Path(name).name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    check(path)
    path.write_bytes(data[: int(end * len(data))])
    check(path)


@pytest.mark.parametrize("name", FORMATS[:3])
@given(start=st.sampled_from(STARTS), data=st.binary(max_size=300))
def test_random_bytes(folder, name, start, data):
    path = folder / "random" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(start + data)
    check(path)


@pytest.mark.parametrize("name", ["flax_model.msgpack", "tf_model.h5"])
@given(data=st.data())
def test_shards_in_disorder(folder, name, data):
    copy = folder / "shards"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(FIXTURES / "gpt2-causal-lm-sharded", copy)
    stem, suffix = name.split(".")
    shards = sorted(copy.glob(f"{stem}-*.{suffix}"))
    one, other = data.draw(st.sampled_from(shards)), data.draw(st.sampled_from(shards))
    content = bytearray(one.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(0, 255))
    other.write_bytes(content)
    index = copy / f"{name}.index.json"
    refusal = str(copy)
    try:
        open_checkpoint(index).close()
    except CheckpointError as error:
        refusal = str(error)
    assert refusal.startswith(str(copy))
