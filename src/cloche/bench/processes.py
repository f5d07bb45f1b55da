"""A side of a comparison in a process of its own, asked for one round after another. No torch.

Requests and answers are lines of JSON on the process's standard input and output. Between two
requests it sleeps in a read, so that only one side computes at a time, and what one side holds in
memory or does to its threads is no concern of another.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from cloche.bench.sizes import TrainerSetup
from cloche.errors import ClocheError

# -P: a torch.py or transformers.py that lies in the current directory is not ours
PYTHON = (sys.executable, "-P", "-m")
COMMAND = (*PYTHON, "cloche.bench.trainers")
_LEAVING_SECONDS = 10.0
_TOLD_CHARACTERS = 2000

Answer = Callable[[dict[str, Any]], None]
Side = TypeVar("Side", bound="SideProcess")


class SideProcess:
    """A process that has read its setup, has answered, and waits; a context that ends it.

    `about` is that first answer: what the side says of itself. Raises ClocheError, with what the
    process wrote, where it fails; it is then called `name`, and `advice` is what to do where the
    memory was too small.
    """

    def __init__(
        self, command: Sequence[str], setup: dict[str, Any], *, name: str, advice: str
    ) -> None:
        self._name, self._advice = name, advice
        self._errors = tempfile.TemporaryFile(  # noqa: SIM115  closed by close
            mode="w+", encoding="utf-8", errors="replace"
        )
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        try:
            self.about = self._ask(setup)
        except BaseException:
            self.close()
            raise

    def __enter__(self: Side) -> Side:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def memory(self) -> dict[str, int]:
        """`peak_bytes` of the process so far, and `before_bytes`: its peak before the model."""
        return self._ask({"ask": "memory"})

    def close(self) -> None:
        """End the process, and wait until it has ended."""
        with suppress(OSError):  # it may have ended by itself, with a line unread
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_LEAVING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(OSError):  # it has ended: the empty answer says so
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise self._failure()
        values = json.loads(answer)
        if "error" in values:
            raise ClocheError(values["error"])
        return values

    def _failure(self) -> ClocheError:
        status = self._process.wait()
        self._errors.seek(0)
        told = self._errors.read().strip()[-_TOLD_CHARACTERS:]
        killed = f" (killed: memory may have run out, {self._advice})" if status == -9 else ""
        return ClocheError(f"{self._name} ended with status {status}{killed}:\n{told}")


class TrainerProcess(SideProcess):
    """A trainer that has taken its first steps and waits.

    `about` tells its precision, threads, seconds of its start and of its first step.
    """

    def __init__(self, setup: TrainerSetup) -> None:
        self.setup = setup
        super().__init__(
            COMMAND,
            asdict(setup),
            name=f"{setup.side} at {setup.size.name}, batch {setup.batch},",
            advice="a smaller --batch needs less",
        )

    def steps(self, seconds: float) -> dict[str, Any]:
        """Whole steps until `seconds` are over, at least one: `tokens`, `seconds`, `steps`."""
        return self._ask({"ask": "steps", "seconds": seconds})

    def peak(self, precision: str) -> float:
        """Floating-point operations a second of a large matrix product."""
        return self._ask({"ask": "peak", "precision": precision})["flops_per_second"]


class BandwidthProcess(SideProcess):
    """A process that measures how fast memory is read; no cache holds its array of `size` bytes."""

    def __init__(self, *, threads: int, device: str, size: int = 1 << 30) -> None:
        super().__init__(
            (*PYTHON, "cloche.bench.generating_bandwidth"),
            {"threads": threads, "device": device, "bytes": size},
            name="measuring memory bandwidth",
            advice=f"it takes {size / 1e9:.1f} GB",
        )

    def bytes_per_second(self) -> dict[str, float]:
        """Bytes a second of each way to read memory."""
        return self._ask({"ask": "bandwidth"})


def make_model(shape: str, folder: Path) -> None:
    """Write a model with random weights to a folder; `shapes` of generating_model.py has names.

    Raises ClocheError where the disk refuses.
    """
    asked = {"shape": shape, "folder": str(folder)}
    command = (*PYTHON, "cloche.bench.generating_model")
    with SideProcess(command, asked, name="making a model", advice="it takes about 2 GB"):
        pass  # its first answer says that it is done


def answer_on_standard_output(serve: Callable[[Iterator[str], Answer], None]) -> None:
    """Be such a process: have `serve` read requests from standard input and answer them.

    Whatever a library prints goes to standard error. A user's mistake is an answer, too.
    """
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def answer(values: dict[str, Any]) -> None:
            print(json.dumps(values), file=answers, flush=True)

        try:
            serve(iter(sys.stdin), answer)
        except ClocheError as exc:
            answer({"error": str(exc)})


def peak_resident_bytes() -> int:
    """Most resident memory of this process so far.

    On Linux it begins with that of the process that started this one, which loads no torch.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # elsewhere it counts in KiB
