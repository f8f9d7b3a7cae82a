"""A saved folder is the old one or the new one, whatever happens in between."""

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bridges import folder as module
from bridges.folder import atomic_folder
from bridges.safetensors import Checkpoint, write

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["exchange", "rename"])
def way(request, monkeypatch):
    if request.param == "rename":
        monkeypatch.setattr(module, "_exchange", lambda new, target: False)
    return request.param


def put(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def save(target, text="new", **options):
    with atomic_folder(target, **options) as folder:
        put(folder, config=text, model_dot_safetensors=text)


def test_a_new_folder(tmp_path):
    save(tmp_path / "a" / "b")
    assert tree(tmp_path) == {"a/b/config": "new", "a/b/model.safetensors": "new"}


def test_the_old_stays_until_the_block_ends(tmp_path, way):
    target = tmp_path / "saved"
    save(target, "old")
    with atomic_folder(target) as folder:
        assert folder.parent == target.parent
        assert folder.name.startswith(".saved.saving-")
        assert not any(folder.iterdir())
        put(folder, config="new")
        assert tree(target) == {"config": "old", "model.safetensors": "old"}
    assert tree(target) == {"config": "new", "model.safetensors": "old"}
    assert os.listdir(tmp_path) == ["saved"]


def save_and_raise(target, error):
    with atomic_folder(target) as folder:
        put(folder, config="new")
        raise error


def test_an_exception_leaves_the_old(tmp_path, way):
    target = tmp_path / "saved"
    save(target, "old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            save_and_raise(target, error)
    with pytest.raises(ValueError):  # noqa: PT011
        save_and_raise(tmp_path / "other", ValueError)
    assert tree(tmp_path) == {"saved/config": "old", "saved/model.safetensors": "old"}
    assert os.listdir(tmp_path) == ["saved"]


def test_files_of_others_are_carried_over(tmp_path, way):
    target = tmp_path / "saved"
    put(
        target,
        README="mine",
        config="old",
        runs__1__log="deep",
        onnx__model="other",
        both__old="old",
        pytorch_model_dot_bin="other format",
    )
    (target / "empty").mkdir()
    (target / "link").symlink_to("../elsewhere")
    (target / "run").symlink_to("runs")
    inode = (target / "README").stat().st_ino
    with atomic_folder(target) as folder:
        put(folder, config="new", both__new="new")
    assert tree(target) == {
        "README": "mine",
        "config": "new",
        "runs/1/log": "deep",
        "onnx/model": "other",
        "both/old": "old",
        "both/new": "new",
        "pytorch_model.bin": "other format",
    }
    assert (target / "README").stat().st_ino == inode
    assert (target / "README").stat().st_nlink == 1
    assert (target / "empty").is_dir()
    assert os.readlink(target / "link") == "../elsewhere"
    assert os.readlink(target / "run") == "runs"


def test_files_are_copied_where_links_are_impossible(tmp_path, monkeypatch):
    def impossible(*_, **__):
        raise OSError(errno.EXDEV, "no")

    target = tmp_path / "saved"
    put(target, README="mine")
    (target / "link").symlink_to("elsewhere")
    monkeypatch.setattr(os, "link", impossible)
    save(target)
    assert tree(target) == {"README": "mine", "config": "new", "model.safetensors": "new"}
    assert os.readlink(target / "link") == "elsewhere"


@pytest.mark.parametrize("sharded", [False, True])
def test_old_weights_go_when_new_ones_come(tmp_path, way, sharded):
    target = tmp_path / "saved"
    arrays = [(name, np.zeros(4), lambda: np.zeros(4)) for name in "abc"]
    with atomic_folder(target) as folder:
        old = write(folder, arrays, max_shard_size=1 << (20 if sharded else 5))
        put(folder, model_dot_fp16_dot_safetensors="other", adapter_model_dot_safetensors="other")
    with atomic_folder(target) as folder:
        new = write(folder, arrays[:2], max_shard_size=1 << (5 if sharded else 20))
    kept = {"model.fp16.safetensors", "adapter_model.safetensors"}
    assert set(os.listdir(target)) == {*new, *kept}
    assert set(old) != set(new)
    with Checkpoint.open(target) as checkpoint:
        assert set(checkpoint.names) == {"a", "b"}


def test_a_save_without_weights_keeps_them(tmp_path, way):
    target = tmp_path / "saved"
    save(target, "old")
    with atomic_folder(target) as folder:
        put(folder, tokenizer="new")
    assert set(os.listdir(target)) == {"config", "model.safetensors", "tokenizer"}


def test_what_arrives_late_is_kept(tmp_path, way, monkeypatch):
    target, swap = tmp_path / "saved", module._swap
    save(target, "old")

    def late(new, old, brought):
        put(old, log="late")
        swap(new, old, brought)

    monkeypatch.setattr(module, "_swap", late)
    save(target)
    assert tree(target) == {"config": "new", "log": "late", "model.safetensors": "new"}


@pytest.mark.parametrize(("old", "new"), [("x", "x__y"), ("x__y", "x")])
def test_file_and_folder_of_one_name(tmp_path, way, old, new):
    target = tmp_path / "saved"
    put(target, **{old: "old"})
    before = tree(target)
    kinds = ("file", "folder") if old == "x" else ("folder", "file")
    with (
        pytest.raises(FileExistsError, match="x: is a {}, and the save brings a {}".format(*kinds)),
        atomic_folder(target) as folder,
    ):
        put(folder, **{new: "new"})
    assert tree(tmp_path / "saved") == before
    assert os.listdir(tmp_path) == ["saved"]


def test_overwriting_may_be_forbidden(tmp_path):
    target = tmp_path / "saved"
    target.mkdir()
    save(target, "old", overwrite=False)
    with pytest.raises(FileExistsError, match="saved: is not empty; remove it, or allow"):
        save(target, overwrite=False)
    assert tree(target)["config"] == "old"


def test_targets_that_cannot_be(tmp_path, monkeypatch):
    put(tmp_path, file="mine")
    with pytest.raises(FileExistsError, match="file: found a file, expected a folder; choose"):
        save(tmp_path / "file")
    for below in ("file/below", "file/below/that"):
        with pytest.raises(NotADirectoryError, match="a file where a folder around it is needed"):
            save(tmp_path / below)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="a symbolic link that leads to itself; remove it"):
        save(tmp_path / "loop")
    with pytest.raises(OSError, match="a mount point cannot be replaced; save to a folder in it"):
        save("/")

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(PermissionError, match="may not be written, and a saved folder is put"):
        save(tmp_path / "saved")
    assert set(os.listdir(tmp_path)) == {"file", "loop"}


def test_a_link_keeps_pointing(tmp_path, way):
    save(tmp_path / "disk" / "real", "old")
    (tmp_path / "link").symlink_to("disk/real")
    save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "disk") == {"real/config": "new", "real/model.safetensors": "new"}
    (tmp_path / "dangling").symlink_to("disk/later")
    save(tmp_path / "dangling")
    assert (tmp_path / "disk" / "later" / "config").exists()


def test_permissions(tmp_path, way):
    target, old = tmp_path / "saved", os.umask(0o027)
    try:
        save(target)
        assert stat.S_IMODE(target.stat().st_mode) == 0o750
        assert stat.S_IMODE((target / "config").stat().st_mode) == 0o640
        target.chmod(0o2770)
        save(target)
        assert stat.S_IMODE(target.stat().st_mode) == 0o2770
    finally:
        os.umask(old)


def test_a_private_folder_stays_private(tmp_path, way):
    target = tmp_path / "saved"
    put(target, sealed__x="mine")
    target.chmod(0o500)
    (target / "sealed").chmod(0o500)
    with atomic_folder(target) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        put(folder, config="new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o500
    assert stat.S_IMODE((target / "sealed").stat().st_mode) == 0o500
    assert os.listdir(tmp_path) == ["saved"]
    for path in (target, target / "sealed"):
        path.chmod(0o700)


def test_the_current_folder(tmp_path, way, monkeypatch):
    put(tmp_path / "saved", below__x="mine")
    for here in ("saved", "saved/below"):
        monkeypatch.chdir(tmp_path / here)
        save(tmp_path / "saved")
        assert os.getcwd() == str(tmp_path / here)
        assert os.path.samefile(".", tmp_path / here)
    assert os.listdir() == ["x"]


def test_leftovers_are_cleaned_and_others_are_not(tmp_path, way):
    put(tmp_path / ".saved.saving-0123abcd", config="dead")
    put(tmp_path / ".saved.saving-mine", x="mine")
    put(tmp_path / ".other.saving-0123abcd", x="other")
    (tmp_path / ".saved.saving-00000000").symlink_to(".other.saving-0123abcd")
    with atomic_folder(tmp_path / "saved") as outer:
        save(tmp_path / "saved", "inner")
        put(outer, config="outer")
    names = {".saved.saving-mine", ".other.saving-0123abcd", ".saved.saving-00000000", "saved"}
    assert set(os.listdir(tmp_path)) == names
    assert (tmp_path / "saved" / "config").read_text() == "outer"


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def missing(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", missing)
    put(tmp_path / ".saved.saving-0123abcd", config="perhaps alive")
    save(tmp_path / "saved")
    assert set(os.listdir(tmp_path)) == {".saved.saving-0123abcd", "saved"}


def test_disk_full(tmp_path, way, monkeypatch):
    target = tmp_path / "saved"
    save(target, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        save(target)
    monkeypatch.undo()
    assert tree(tmp_path) == {"saved/config": "old", "saved/model.safetensors": "old"}
    assert os.listdir(tmp_path) == ["saved"]


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_really_full(small_disk):
    target, array = small_disk / "saved", np.zeros(100_000, np.uint8)
    with atomic_folder(target) as folder:
        write(folder, [("a", array, lambda: array)])
    before = (target / "model.safetensors").read_bytes()
    tensors = [(name, array, lambda: array) for name in "abc"]
    with (
        pytest.raises(OSError, match=r"No space left on device after .* bytes; free some space"),
        atomic_folder(target) as folder,
    ):
        write(folder, tensors)
    assert os.listdir(small_disk) == ["saved"]
    assert (target / "model.safetensors").read_bytes() == before
    with pytest.raises(OSError, match="mount point"):
        save(small_disk)


KILLED = """
import os, signal, sys
from pathlib import Path
from bridges import folder as module

target, way, root = Path(sys.argv[1], "saved"), sys.argv[2], sys.argv[1]
if way == "rename":
    module._exchange = lambda new, target: False
OLD = {"config": "old", "README": "mine", "model.safetensors": "old"}
NEW = {"config": "new", "README": "mine", "model-00001-of-00002.safetensors": "new"}

def save(text, name):
    with module.atomic_folder(target) as folder:
        for file in ("config", name):
            (folder / file).write_text(text)

def read():
    return {path.name: path.read_text() for path in target.iterdir()}

save("old", "model.safetensors")
(target / "README").write_text("mine")
kills = gaps = 0
while True:
    child = os.fork()
    if not child:
        left = kills
        def kill_later(event, _):
            global left
            if event.split(".")[0] in ("os", "open", "ctypes", "shutil", "fcntl"):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(kill_later)
        save("new", "model-00001-of-00002.safetensors")
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
    kills += 1
    if target.exists():
        assert read() in (OLD, NEW), read()
    else:
        gaps += 1
        assert way == "rename"
        aside = [name for name in os.listdir(root) if name.startswith(".saved.replaced-")]
        assert len(aside) == 1, os.listdir(root)
    save("old", "model.safetensors")
    assert read() == OLD, read()
    assert os.listdir(root) == ["saved"], os.listdir(root)
assert read() == NEW
print(kills, gaps)
"""


@pytest.mark.parametrize("way", ["exchange", "rename"])
def test_killed_at_every_step(tmp_path, way):
    """SIGKILL before each system call that a save makes, one after the other."""
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), way], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    kills, gaps = map(int, result.stdout.split())
    assert kills > 20
    assert (gaps > 0) == (way == "rename")
