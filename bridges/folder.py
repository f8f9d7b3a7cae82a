"""Replace a folder as a whole: whoever looks sees the old one or the new one, nothing between.

The new folder is written beside the old one as `.NAME.saving-XXXXXXXX`, flushed to the disk and
exchanged with it in one step. A save that was killed leaves at most such a sibling, which the next
save to the same target removes: a lock that dies with its process tells it from a save that is
still running. Where the system cannot exchange folders (it is not Linux, or the file system is
old), the old one is moved aside as `.NAME.replaced-XXXXXXXX` for a moment; if the process is killed
in that moment, the next save puts it back.

Files of the old folder that the new one does not have are carried over as hard links, so that
nobody's README, logs or other formats are lost. Only the old weights go, `model.safetensors`, its
shards and its index, and only where the new folder brings weights of its own.
"""

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
_SAVING, _REPLACED = "saving", "replaced"


@contextmanager
def atomic_folder(target: str | os.PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside `target`; when the block ends well it becomes `target`.

    When the block raises, the new folder is removed and `target` stays as it was. A `target` that
    is a symbolic link keeps pointing where it points. Permissions are the old folder's, or follow
    the umask. A process whose current folder is replaced is moved to the new one.

    Raises:
        FileExistsError: `target` is a file, or a folder that is not empty and may not be
            overwritten, or holds a file where the new one holds a folder.
        NotADirectoryError: a folder around `target` is a file.
        PermissionError: the folder around `target` may not be written.
        OSError: the disk is full, or `target` is a mount point.
    """
    target = _resolve(Path(target), overwrite)
    folder, lock = _begin(target)
    try:
        yield folder
        _sync_tree(folder)
        brought = {target / path.relative_to(folder) for path in folder.rglob("*")}
        with _turn(target.parent):
            if target.exists():
                _carry_over(target, folder)
                _copy_owner(target, folder)
            _swap(folder, target, brought)
            if folder.exists():
                _carry_over(folder, target, brought)  # what arrived in the meantime
    finally:
        _remove(folder)
        os.close(lock)


def _resolve(target: Path, overwrite: bool) -> Path:
    real = Path(os.path.realpath(target))
    if real.is_symlink():
        raise OSError(errno.ELOOP, "a symbolic link that leads to itself; remove it", str(target))
    if real.exists() and not real.is_dir():
        raise FileExistsError(f"{target}: found a file, expected a folder; choose another path")
    if os.path.ismount(real):
        raise OSError(
            errno.EBUSY, "a mount point cannot be replaced; save to a folder in it", str(target)
        )
    if not overwrite and real.exists() and any(real.iterdir()):
        raise FileExistsError(f"{target}: is not empty; remove it, or allow to overwrite it")
    return real


def _begin(target: Path) -> tuple[Path, int]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _turn(target.parent):  # a folder that was just exchanged is no leftover
            _clean(target)
        for _ in range(8):
            folder = _sibling(target, _SAVING)
            folder.mkdir()
            lock = _lock(folder, required=False)
            if lock is None:  # another save took it for a leftover before it was locked
                continue
            with suppress(FileNotFoundError):  # a private folder is private while it is written
                folder.chmod(stat.S_IMODE(target.stat().st_mode) | stat.S_IRWXU)
            return folder, lock
        raise OSError(errno.EBUSY, "other saves are in the way; try again", str(target))
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            f"{target}: found a file where a folder around it is needed; choose another path"
        ) from error
    except PermissionError as error:
        raise PermissionError(
            f"{target}: {target.parent} may not be written, and a saved folder is put there as a "
            "whole; choose another path"
        ) from error


@contextmanager
def _turn(parent: Path) -> Iterator[None]:
    """Wait until no other save in this folder is at its last step, where it can be told."""
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sibling(target: Path, state: str) -> Path:
    return target.parent / f".{target.name}.{state}-{secrets.token_hex(4)}"


def _clean(target: Path) -> None:
    """Remove what killed saves left beside the target; put it back where it is all there is."""
    pattern = rf"\.{re.escape(target.name)}\.({_SAVING}|{_REPLACED})-[0-9a-f]{{8}}"
    for name in sorted(os.listdir(target.parent)):
        match, path = re.fullmatch(pattern, name), target.parent / name
        lock = _lock(path, required=True) if match else None
        if match is None or lock is None:
            continue
        if match[1] == _REPLACED and not target.exists():
            os.rename(path, target)
        else:
            _remove(path)
        os.close(lock)


def _lock(folder: Path, *, required: bool) -> int | None:
    """Return a descriptor that locks a folder; None where another process has it or removed it.

    File systems without locks give a descriptor all the same, unless the lock is required.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.path.samestat(os.fstat(descriptor), os.stat(folder))
    except (BlockingIOError, FileNotFoundError):
        held = False
    except OSError:
        held = not required
    if held:
        return descriptor
    os.close(descriptor)
    return None


def _carry_over(old: Path, new: Path, brought: Collection[Path] | None = None) -> None:
    """Link what only the old folder has; at the end also what changed, unless it was `brought`."""
    names = set(os.listdir(new))
    brings_weights = any(map(WEIGHTS.fullmatch, names))
    for entry in _entries(old):
        if not (brings_weights and WEIGHTS.fullmatch(entry.name)):
            _carry(entry, new / entry.name, brought)
    _sync(new)


def _entries(folder: os.PathLike) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return list(entries)


def _carry(entry: os.DirEntry, path: Path, brought: Collection[Path] | None) -> None:
    is_folder = entry.is_dir(follow_symlinks=False)
    if is_folder and os.path.ismount(entry.path):
        raise OSError(errno.EBUSY, "a mount point cannot be moved; save elsewhere", entry.path)
    if os.path.lexists(path):
        if is_folder != (path.is_dir() and not path.is_symlink()):
            raise FileExistsError(
                f"{entry.path}: is a {'folder' if is_folder else 'file'}, and the save brings "
                f"a {'file' if is_folder else 'folder'} of this name; move it away"
            )
        if is_folder:
            _carry_below(entry, path, brought)
        elif brought is not None and path not in brought and _differ(entry, path):
            _link(entry, path.with_name(f".{path.name}.carried"))
            os.replace(path.with_name(f".{path.name}.carried"), path)
    elif is_folder:
        path.mkdir(mode=stat.S_IRWXU)
        _carry_below(entry, path, brought)
        shutil.copystat(entry.path, path)
    else:
        _link(entry, path)


def _link(entry: os.DirEntry, path: Path) -> None:
    try:
        os.link(entry.path, path, follow_symlinks=False)
    except OSError:
        shutil.copy2(entry.path, path, follow_symlinks=False)


def _differ(entry: os.DirEntry, path: Path) -> bool:
    old, new = entry.stat(follow_symlinks=False), path.lstat()
    return not os.path.samestat(old, new) and old.st_mtime_ns > new.st_mtime_ns


def _carry_below(entry: os.DirEntry, path: Path, brought: Collection[Path] | None) -> None:
    for below in _entries(entry):
        _carry(below, path / below.name, brought)
    _sync(path)


def _remove(folder: Path) -> None:
    """Remove a folder with all that is in it, write-protected folders too."""
    with suppress(OSError):
        os.chmod(folder, stat.S_IRWXU)
    for root, names, _ in os.walk(folder):
        for path in (os.path.join(root, name) for name in names):
            with suppress(OSError):
                if not os.path.islink(path):
                    os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def _copy_owner(old: Path, new: Path) -> None:
    status = old.stat()
    with suppress(PermissionError):
        os.chown(new, status.st_uid, status.st_gid)
    os.chmod(new, stat.S_IMODE(status.st_mode))


def _sync_tree(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            if not os.path.islink(os.path.join(root, name)):
                _sync(Path(root, name))
        _sync(Path(root))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(descriptor)


def _swap(new: Path, target: Path, brought: Collection[Path]) -> None:
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    if not target.exists():
        os.rename(new, target)
    elif not _exchange(new, target):
        _replace(new, target, brought)
    if Path(here).is_relative_to(target) and os.path.isdir(here):
        os.chdir(here)  # the path stays the same, the folder behind it is another
    _sync(target.parent)


def _exchange(new: Path, target: Path) -> bool:
    """Exchange two folders in one step; return False where the system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p) * 2 + (ctypes.c_uint,)
    at_cwd, exchange = -100, 2
    if rename(at_cwd, os.fsencode(new), at_cwd, os.fsencode(target), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(target))


def _replace(new: Path, target: Path, brought: Collection[Path]) -> None:
    """Move the old folder aside and the new one in; a kill between is undone by the next save."""
    aside, lock = _sibling(target, _REPLACED), _lock(target, required=False)
    try:
        os.rename(target, aside)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(aside, target)
            raise
        _carry_over(aside, target, brought)
        _remove(aside)
    finally:
        if lock is not None:
            os.close(lock)
