"""A planned preparation run by datatrove: here, under Slurm, or on a Ray cluster.

datatrove (https://github.com/huggingface/datatrove) starts, retries and logs; the tasks are the
same ones that `prepare.finish` does, so the same bytes come. What is done is asked of the
preparation's folder when an executor is made, never of datatrove's own notes. Afterwards
`prepare.finish` closes the preparation. It needs the extra `cluster`.
"""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloche.data.tasks import missing_tasks, open_work, run_task
from cloche.errors import DataError

if TYPE_CHECKING:
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.executor.ray import RayPipelineExecutor
    from datatrove.executor.slurm import SlurmPipelineExecutor

LAUNCHES = "launches"
"""Folder of datatrove's logs and job files, in one of their own for each launch."""
MOST_JOBS = 1000
"""Of datatrove's tasks in one launch: Slurm's usual bound of a job array is 1001."""

_PARALLEL = "TOKENIZERS_PARALLELISM"


@dataclass(frozen=True)
class RunTasks:
    """A step of a datatrove pipeline that does tasks of a preparation; it takes no documents.

    It is pickled by name, and paths and numbers travel; the rest is read where it runs.
    """

    folder: str
    """Absolute, and the same on every machine."""
    spec: str
    """Fingerprint of the specification that the tasks belong to."""
    tasks: tuple[int, ...] = field(repr=False)

    def __call__(self, _documents: object, rank: int, world_size: int) -> None:
        """Do every `world_size`-th of the tasks from the `rank`-th on, unless they are done."""
        work = open_work(Path(self.folder))
        if work.spec.fingerprint != self.spec:
            raise DataError(f"{self.folder} was planned anew since this was launched: launch again")
        with _one_thread():
            for number in self.tasks[rank::world_size]:
                run_task(work, number)


def local_executor(
    folder: Path, *, workers: int | None = None, tasks: int | None = None, **options: Any
) -> "LocalPipelineExecutor":
    """datatrove's executor on this machine, in `workers` processes (as many as processors if None).

    It does what is missing of the preparation begun in `folder`, in `tasks` jobs (one for each
    missing task if None, `MOST_JOBS` at most). Other `options` are the executor's own. A script
    that calls its `run()` does so under `if __name__ == "__main__":`. Raises DataError.
    """
    try:
        from datatrove.executor.local import LocalPipelineExecutor
    except ImportError as exc:
        raise _missing_library("datatrove") from exc
    chosen = _chosen(folder, tasks, options)
    processes = max(1, min(workers or os.cpu_count() or 1, chosen["tasks"]))
    return LocalPipelineExecutor(workers=processes, **chosen)


def slurm_executor(
    folder: Path, *, time: str, partition: str, tasks: int | None = None, **options: Any
) -> "SlurmPipelineExecutor":
    """datatrove's executor that submits a Slurm job array; its `run()` returns once it is queued.

    `time` is a job's limit (such as "02:00:00"); `tasks` as in `local_executor`; other `options`
    are the executor's own (`workers`, `mem_per_cpu_gb`, `sbatch_args`, ...). The jobs find this
    Python unless `env_command`, `condaenv` or `venv_path` says otherwise. Raises DataError.
    """
    try:
        from datatrove.executor.slurm import SlurmPipelineExecutor
    except ImportError as exc:
        raise _missing_library("datatrove") from exc
    usual = {"job_name": "cloche-prepare", "qos": ""}
    if not options.keys() & {"env_command", "condaenv", "venv_path"}:
        programs = shlex.quote(str(Path(sys.executable).absolute().parent))
        usual["env_command"] = f"export PATH={programs}:$PATH"
    chosen = _chosen(folder, tasks, usual | options)
    return SlurmPipelineExecutor(time=time, partition=partition, **chosen)


def ray_executor(
    folder: Path, *, tasks: int | None = None, **options: Any
) -> "RayPipelineExecutor":
    """datatrove's executor on the Ray cluster that `ray.init` has joined or started.

    `tasks` as in `local_executor`; other `options` are the executor's own (`workers`,
    `mem_per_cpu_gb`, `tasks_per_job`, ...). Its `run()` logs tasks that failed and returns all the
    same: `missing_tasks` tells. Raises DataError.
    """
    try:
        from datatrove.executor.ray import RayPipelineExecutor
    except ImportError as exc:
        raise _missing_library("datatrove") from exc
    if find_spec("ray") is None:  # datatrove asks for it only when it runs
        raise _missing_library("ray")
    return RayPipelineExecutor(**_chosen(folder, tasks, options))


def _chosen(folder: Path, tasks: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments that all executors share."""
    if tasks is not None and tasks < 1:
        raise DataError(f"tasks must be at least 1, got {tasks}")
    if ours := sorted(options.keys() & {"pipeline", "skip_completed"}):
        raise DataError(f"{' and '.join(ours)} cannot be chosen: the preparation says what is done")
    work = open_work(folder)
    place = folder.absolute()  # not resolved: machines share names, seldom what lies behind links
    missing = missing_tasks(folder, work.spec)
    return {
        "logging_dir": str(place / LAUNCHES / datetime.now().strftime("%Y%m%d-%H%M%S-%f")),
        **options,
        "pipeline": [RunTasks(str(place), work.spec.fingerprint, tuple(missing))],
        "tasks": min(len(missing), tasks or MOST_JOBS),
        "skip_completed": False,  # the tasks are the missing ones already
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tokenize in one thread: a job has one processor, and its neighbours have the others."""
    before = os.environ.get(_PARALLEL)
    os.environ[_PARALLEL] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PARALLEL]
        else:
            os.environ[_PARALLEL] = before


def _missing_library(library: str) -> DataError:
    return DataError(f"this executor needs {library}: pip install 'cloche[cluster]'")
