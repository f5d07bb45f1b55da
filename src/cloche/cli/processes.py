"""A command done by many processes: started, kept in one voice, and ended with one status."""

import contextlib
import hashlib
import io
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cloche.errors import ClocheError
from cloche.training.launch import BEGAN, FirstProcessError, Launch

USER_ERROR = 2
PATIENCE = 120
"""Seconds that processes have to save and leave once they are asked to."""


def start_processes(arguments: list[str], count: int) -> int:
    """Run `cloche train` with these arguments in so many processes; their exit status.

    torchrun's own engine starts and watches them. Signals go on to all; where one process fails,
    the others are ended, and its status is that of the command.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ[BEGAN] = repr(time.monotonic())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _processors() // count)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(PATIENCE))
    # what it would tell of failures and signals, the processes themselves tell better
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    command = ["-m", "cloche", "train", *arguments]
    try:
        elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as exc:
        _, failure = exc.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException as exc:
        return 128 + exc.sigval
    return 0


def as_one_of_many(launch: Launch, work: Callable[[], int]) -> int:
    """The exit status of `work`; what all processes would say, one says."""
    quiet = contextlib.ExitStack()
    try:
        with quiet:
            if launch.rank:  # the parser's own errors and help, which are the same in all
                quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
                quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
            return work()
    except ClocheError as exc:
        _leave_word(launch, str(exc))
        if not isinstance(exc, FirstProcessError) and _is_first_to_say(launch, str(exc)):
            print(f"cloche: {exc}", file=sys.stderr)
        return USER_ERROR


def _is_first_to_say(launch: Launch, message: str) -> bool:
    """Whether no other process has said this. One that cannot find out says it."""
    if launch.address is None:
        return True
    from torch.distributed import (
        DistError,
        TCPStore,  # pyright: ignore[reportPrivateImportUsage]
    )

    said = hashlib.sha256(message.encode()).hexdigest()
    host, port = launch.address
    try:
        store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=5))
        return store.add(f"cloche-said-{launch.restarts}-{said}", 1) == 1
    except (DistError, RuntimeError):  # the launcher may be gone already
        return True


def _leave_word(launch: Launch, message: str) -> None:
    """Write the message where torchrun looks for it, so that its summary has it, too."""
    if launch.error_file is None:
        return
    extra = {"py_callstack": message, "timestamp": str(int(time.time()))}
    with contextlib.suppress(OSError):  # it is told on the screen anyway
        Path(launch.error_file).write_text(
            json.dumps({"message": {"message": message, "extraInfo": extra}}), encoding="utf-8"
        )


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
