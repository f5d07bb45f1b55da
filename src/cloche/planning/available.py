"""How much memory this process may still take, in bytes: of the machine, and of its container.

A batch job or a container is often allowed less than the machine has; the smallest of all limits
counts. Swap is never counted: a training that swaps is as good as stopped.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

if sys.platform == "linux":
    import resource

UNLIMITED = 1 << 60
"""Version 1 of control groups writes "no limit" as a number near 2^63."""


def available_memory(*, root: Path = Path("/")) -> int:
    """Bytes that this process may take on top of what it has.

    On Linux what the kernel calls available, or less where a control group (of a container, of
    Slurm) or a limit of the process's address space (`ulimit -v`) leaves less; elsewhere what the
    system says is free. `root` is where the files of /proc and /sys are looked for.
    """
    limits = [*_of_machine(root / "proc/meminfo"), *_of_groups(root), *_of_process()]
    return max(0, min(limits)) if limits else int(psutil.virtual_memory().available)


def _of_machine(meminfo: Path) -> Iterator[int]:
    for line in _lines(meminfo):
        name, _, value = line.partition(":")
        if name == "MemAvailable":  # what is free, and what the kernel would give up for us
            yield int(value.split()[0]) * 1024


def _of_process() -> Iterator[int]:
    """What is left of the address space that this process may have."""
    if sys.platform != "linux":  # elsewhere an address space says little of memory
        return
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        yield most - psutil.Process().memory_info().vms


def _of_groups(root: Path) -> Iterator[int]:
    """What is left below the limit of each control group that this process is in."""
    for line in _lines(root / "proc/self/cgroup"):
        _number, controllers, path = line.split(":", 2)
        if not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
            cached = "inactive_file"
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            cached = "total_inactive_file"
        else:
            continue
        for folder in _upwards(mount, path):
            yield from _left(folder, *names, cached=cached)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The group's folder and all above it: a limit of any of them holds.

    Inside a container the path may be the host's, which is not there: then the mount itself is
    the container's group. A group outside of what this process sees is told as /../..
    """
    names = [name for name in path.split("/") if name not in ("", "..")]
    for depth in range(len(names), -1, -1):
        yield mount.joinpath(*names[:depth])


def _left(folder: Path, limit: str, usage: str, *, cached: str) -> Iterator[int]:
    most, used = _number(folder / limit), _number(folder / usage)
    if most is None or used is None or most >= UNLIMITED:
        return
    statistics = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat"))
    # files that were read lie in the group's memory until somebody needs it
    yield most - used + int(statistics.get(cached, 0))


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no file, or no limit ("max")."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # not there, or not ours to read: then it is no limit that we can know
        return []
