"""A folder or a file that is whole or absent: written beside its place, synced, renamed.

What is being written is called `.NAME.PID.tmp`, what it replaces `.NAME.PID.old` meanwhile, so that
the leavings of a process that died can be told from those of one that lives.
"""

import os
import re
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.(?P<kind>tmp|old)")


def temporary_beside(path: Path) -> Path:
    """Where this process writes what is to become `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def put_on_disk(folder: Path, *, mode_of: Path) -> None:
    """Have the disk hold every file and folder below, so that a power cut loses none.

    safetensors makes files that only their owner may read: all get the mode of `mode_of`.
    """
    mode = stat.S_IMODE(mode_of.stat().st_mode)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.chmod(mode)
        sync(path)
    sync(folder)


def move_into_place(temporary: Path, folder: Path) -> None:
    """Rename; a folder that is in the way is set aside meanwhile (a sweep would bring it back)."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(aside)
    try:
        temporary.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    sync(folder.parent)
    sync(folder.parent.parent)  # which may hold a new folder of checkpoints
    shutil.rmtree(aside, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it, as far as that can be done now.

    What stays, a later sweep removes.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the disk hold a file or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_leftovers(paths: Iterable[Path]) -> list[Path]:
    """Of `paths`, remove what dead processes left; those removed are returned.

    What was set aside while its successor never arrived is put back.
    """
    swept = []
    for path in paths:
        leftover = LEFTOVER.fullmatch(path.name)
        if leftover is None or _is_other_process(int(leftover["pid"])):
            continue
        original = path.with_name(leftover["name"])
        if leftover["kind"] == "old" and not original.exists():
            path.rename(original)
        else:
            remove(path)
        swept.append(path)
    return swept


def sweep_beside(path: Path) -> list[Path]:
    """Remove what dead processes left that were writing `path`; the names are returned."""
    parent = path.parent
    if not parent.is_dir():
        return []
    mine = [
        other
        for other in sorted(parent.iterdir())
        if (leftover := LEFTOVER.fullmatch(other.name)) and leftover["name"] == path.name
    ]
    return sweep_leftovers(mine)


def _is_other_process(pid: int) -> bool:
    """Whether a living process other than this one has this number."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
