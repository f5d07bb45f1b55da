"""`cloche data prepare --executor`: the tasks of a preparation done by datatrove."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cloche.errors import DataError

ExecutorName = Literal["processes", "datatrove", "slurm", "ray"]

_NUMBERS = frozenset({"tasks", "workers", "tasks_per_job", "cpus_per_task", "mem_per_cpu_gb"})
_TAKEN: Mapping[str, frozenset[str]] = {
    "processes": frozenset(),
    "datatrove": frozenset({"tasks", "workers"}),
    "slurm": _NUMBERS | {"time", "partition", "qos"},  # and what sbatch takes
    "ray": _NUMBERS | {"address"},
}


def problems_of(executor: ExecutorName, entries: Sequence[str]) -> list[str]:
    """What is wrong with NAME=VALUE `entries` for that executor, one sentence each."""
    found = []
    for entry in entries:
        name, equals, value = entry.partition("=")
        taken = name in _TAKEN[executor] or executor == "slurm"
        if not name or not equals:
            found.append(f"an executor's option is NAME=VALUE, got {entry!r}")
        elif not taken:
            known = ", ".join(sorted(_TAKEN[executor])) or "none"
            found.append(f"--executor {executor} has no option {name!r}; it has {known}")
        elif name in _NUMBERS and (_number(value) or 0) <= 0:
            found.append(f"the executor's option {name} must be a number above 0, got {value!r}")
    names = {entry.partition("=")[0] for entry in entries}
    if executor == "slurm" and (absent := sorted({"time", "partition"} - names)):
        found.append(f"--executor slurm needs --executor-options with {' and '.join(absent)}")
    return found


def launch(executor: ExecutorName, folder: Path, entries: Sequence[str]) -> str | None:
    """Have the tasks missing in `folder` done; the job's number where Slurm does them later.

    Raises DataError where a library is absent or a task failed.
    """
    from cloche.data.tasks import missing_tasks, open_work

    spec = open_work(folder).spec
    if not missing_tasks(folder, spec):
        return None
    options: dict[str, Any] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        options[name] = _number(value) if name in _NUMBERS else value
    if executor == "slurm":
        return _submit(folder, options)
    if executor == "ray":
        _run_on_ray(folder, options)
    else:
        from cloche.data.cluster import local_executor

        local_executor(folder, **options).run()
    if missing := missing_tasks(folder, spec):
        raise DataError(
            f"{len(missing):,} of {len(spec.tasks):,} tasks are not done; what they said stands "
            f"above. What is done is kept: run the same command again"
        )
    return None


def _submit(folder: Path, options: dict[str, Any]) -> str:
    from cloche.data.cluster import slurm_executor

    known = {name: value for name, value in options.items() if name in _TAKEN["slurm"]}
    others = {name: value for name, value in options.items() if name not in known}
    executor = slurm_executor(folder, sbatch_args=others, **known)
    try:
        executor.run()
    except FileNotFoundError as exc:
        raise DataError(f"Slurm's {exc.filename} is not on this machine") from exc
    except subprocess.CalledProcessError as exc:
        raise DataError("sbatch refused the job; what it said stands above") from exc
    return str(executor.job_id)


def _run_on_ray(folder: Path, options: dict[str, Any]) -> None:
    from cloche.data.cluster import ray_executor

    address = options.pop("address", None)
    executor = ray_executor(folder, **options)
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a Ray started here reports nothing
    try:
        ray.init(address=address)
    except ConnectionError as exc:
        raise DataError(f"there is no Ray cluster at {address!r}: {exc}") from exc
    try:
        executor.run()
    finally:
        ray.shutdown()


def _number(value: str) -> int | float | None:
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        return None
