"""Sharded checkpoints: an index is believed only where the shards bear it out."""

import json
import os
import shutil

import numpy as np
import pytest

from bridges.safetensors import Checkpoint, CheckpointError, write

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    arrays = {"a": np.arange(3.0), "b": np.arange(4.0)}
    write(folder, [(n, x, lambda x=x: x) for n, x in arrays.items()], max_shard_size=32)
    return folder


def point(folder, **places):
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def refused(path, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        Checkpoint.open(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 700


def test_single_file_comes_first(folder):
    shutil.copy(folder / SHARDS[0], folder / "model.safetensors")
    with Checkpoint.open(folder) as checkpoint:
        assert set(checkpoint.names) == {"a"}


def test_variant(folder):
    os.rename(folder / INDEX, folder / "model.safetensors.index.fp16.json")
    with Checkpoint.open(folder, variant="fp16") as checkpoint:
        assert set(checkpoint.names) == {"a", "b"}
    shutil.copy(folder / SHARDS[0], folder / "model.fp16.safetensors")
    with Checkpoint.open(folder, variant="fp16") as checkpoint:
        assert set(checkpoint.names) == {"a"}
    with pytest.raises(FileNotFoundError, match=r"found neither model.safetensors nor"):
        Checkpoint.open(folder)
    with pytest.raises(FileNotFoundError, match=r"found neither model.bf16.safetensors nor"):
        Checkpoint.open(folder, variant="bf16")
    with pytest.raises(ValueError, match="expected a word such as 'fp16'"):
        Checkpoint.open(folder, variant="../x")


def test_the_cache_keeps_snapshots_as_links(folder, tmp_path):
    """models--x/snapshots/<commit>/f -> ../../blobs/<hash>, as the Hub's cache lays it out."""
    root = tmp_path / "models--x"
    snapshot, blobs = root / "snapshots" / "0123", root / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, name in enumerate(sorted(os.listdir(folder))):
        os.rename(folder / name, blobs / str(i))
        (snapshot / name).symlink_to(f"../../blobs/{i}")
    with Checkpoint.open(snapshot) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("b"), np.arange(4.0))
    (blobs / "1").unlink()
    refused(snapshot, f"the shard {SHARDS[1]} is missing")


def test_shards_may_lie_in_a_folder_below(folder):
    (folder / "part").mkdir()
    os.rename(folder / SHARDS[0], folder / "part" / SHARDS[0])
    point(folder, a=f"part/{SHARDS[0]}", b=SHARDS[1])
    with Checkpoint.open(folder) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("a"), np.arange(3.0))


@pytest.mark.parametrize(
    "outside",
    [
        "/etc/passwd",
        "../saved/{}",
        "part/../{}",
        "./{}",
        "part//{}",
        "",
        "..",
        "C:\\{}",
        "C:{}",
        "part\\{}",
        "a\0{}",
        "a\n{}",
        "\ud800",
        3,
        None,
        ["x"],
    ],
)
def test_paths_outside_the_folder(folder, outside):
    place = outside.format(SHARDS[0]) if isinstance(outside, str) else outside
    point(folder, a=place, b=SHARDS[1])
    refused(folder, "'a' is said to be in .*; expected a relative path below the folder")


def test_problems_are_counted(folder):
    point(folder, **{name: f"../{name}" for name in "abcdef"})
    refused(folder, r"6 problems, the first three: .*'a'.*; .*'b'.*; .*'c'[^']*'\.\./c'; expected")
    point(folder, **{name: f"no-{name}" for name in "abcdef"})
    refused(folder, "6 problems, the first three: the shard no-a is missing; .*; download what")


def test_missing_shard(folder):
    (folder / SHARDS[1]).unlink()
    refused(folder, f"the shard {SHARDS[1]} is missing; download what is missing")


def test_tensor_absent_from_its_shard(folder):
    point(folder, a=SHARDS[0], b=SHARDS[0])
    refused(folder, f"'b' is not in {SHARDS[0]}; expected each tensor in exactly its shard")


def test_tensor_in_two_shards(folder):
    (folder / SHARDS[1]).unlink()
    shutil.copy(folder / SHARDS[0], folder / SHARDS[1])
    point(folder, a=SHARDS[0], b=SHARDS[1])
    refused(folder, f"'a' is both in {SHARDS[0]} and in {SHARDS[1]}")


def test_a_tensor_that_the_index_forgets_is_there(folder):
    point(folder, a=SHARDS[0])
    with Checkpoint.open(folder) as checkpoint:
        assert set(checkpoint.names) == {"a"}
    write(folder, [(n, np.zeros(1), lambda: np.zeros(1)) for n in "cd"], name="x.safetensors")
    point(folder, a=SHARDS[0], c="x.safetensors")
    with Checkpoint.open(folder) as checkpoint:
        assert set(checkpoint.names) == {"a", "c", "d"}


def test_broken_shard_is_found_at_once(folder):
    os.truncate(folder / SHARDS[1], (folder / SHARDS[1]).stat().st_size - 1)
    with pytest.raises(CheckpointError, match=f"{SHARDS[1]}: is truncated"):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found invalid JSON"),
        (b"\xff", "found invalid JSON"),
        (b"[" * 100_000, "nested more deeply"),
        (b"[]", r"found \[\], expected a JSON object"),
        (b"{}", "weight_map: found None, expected file names under tensor names"),
        (b'{"weight_map": []}', r"weight_map: found \[\]"),
        (b'{"weight_map": {}}', "weight_map: found {}"),
        (b'{"weight_map": {"a": "x", "a": "y"}}', "the key 'a' appears more than once"),
    ],
)
def test_broken_index(folder, content, message):
    (folder / INDEX).write_bytes(content)
    refused(folder, message)


def test_index_that_is_no_file(folder):
    (folder / INDEX).unlink()
    (folder / INDEX).symlink_to(INDEX)
    refused(folder, "symbolic link that leads to itself")
    (folder / INDEX).unlink()
    (folder / INDEX).mkdir()
    refused(folder, "found a directory, expected a file")


def test_index_that_is_too_long(folder):
    os.truncate(folder / INDEX, 100_000_001)
    refused(folder, "found 100000001 bytes, expected at most 100000000; this is not an index")


def test_no_file_stays_open(folder):
    point(folder, a=SHARDS[0], b=SHARDS[0])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        refused(folder, "'b' is not in")
    assert len(os.listdir("/proc/self/fd")) == before
