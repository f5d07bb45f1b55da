"""What a launcher says to a process that is one of many; loads no torch.

torchrun, Slurm scripts and Kubernetes' PyTorchJob all speak through the same few variables of the
environment: https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cloche.errors import ClocheError, SettingError

BEGAN = "CLOCHE_BEGAN"
"""When `--nproc` was typed, on time.monotonic's clock: --minutes counts from there."""
NO_JOB = frozenset({"", "none"})
"""What torchrun calls a job that nobody named."""


class FirstProcessError(ClocheError):
    """What the first process said when it could not go on; raised in all others."""


@dataclass(frozen=True)
class Launch:
    """The place of this process among those of its training."""

    rank: int
    size: int
    local_rank: int = 0
    """Its number on its own machine: which GPU is its own."""
    restarts: int = 0
    """How often the launcher has already started all processes anew."""
    job: str | None = None
    """The launcher's name for the whole job, the same after every restart; None if it has none."""
    address: tuple[str, int] | None = None
    """Where a store that outlives the processes answers; None where the first process serves it."""
    error_file: str | None = None
    """Where the launcher looks for what went wrong."""
    began: float | None = None
    """When the command was typed, on time.monotonic's clock."""


def read_launch(environment: Mapping[str, str]) -> Launch | None:
    """This process's place; None where it is alone.

    Raises SettingError where the environment tells half of it.
    """
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing:
        raise SettingError(
            f"RANK and WORLD_SIZE are set, as for one of several processes, but not "
            f"{' and '.join(missing)}: start all of them with torchrun, or unset both"
        )
    try:
        launch = _read(environment)
    except ValueError as exc:
        raise SettingError(f"a number in the launcher's environment is none: {exc}") from exc
    if not 0 <= launch.rank < launch.size:
        raise SettingError(
            f"RANK {launch.rank} is not below WORLD_SIZE {launch.size}: number the processes from 0"
        )
    return launch


def _read(environment: Mapping[str, str]) -> Launch:
    number = int(environment["RANK"])
    job = environment.get("TORCHELASTIC_RUN_ID", "")
    agent_serves = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address = (environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
    return Launch(
        rank=number,
        size=int(environment["WORLD_SIZE"]),
        local_rank=int(environment.get("LOCAL_RANK", "0")),
        restarts=int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")),
        job=None if job in NO_JOB else job,
        address=address if agent_serves else None,
        error_file=environment.get("TORCHELASTIC_ERROR_FILE"),
        began=float(environment[BEGAN]) if BEGAN in environment else None,
    )
