"""A trainer in a process of its own, asked for one round after another. Loads no torch.

Requests and answers are lines of JSON on the process's standard input and output. Between two
requests it sleeps in a read, so that only one side computes at a time, and what one side holds in
memory or does to its threads is no concern of another.
"""

import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any

from cloche.bench.sizes import TrainerSetup
from cloche.errors import ClocheError

# -P: a torch.py or transformers.py that lies in the current directory is not ours
COMMAND = (sys.executable, "-P", "-m", "cloche.bench.trainers")
_LEAVING_SECONDS = 10.0
_TOLD_CHARACTERS = 2000


class TrainerProcess:
    """A trainer that has taken its first steps and waits; a context that ends it.

    `about` is what it said of itself: precision, threads, seconds of its start and of its first
    step. Raises ClocheError, with what the process wrote, where it fails.
    """

    def __init__(self, setup: TrainerSetup) -> None:
        self.setup = setup
        self._errors = tempfile.TemporaryFile(  # noqa: SIM115  closed by close
            mode="w+", encoding="utf-8", errors="replace"
        )
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        try:
            self.about = self._ask(asdict(setup))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "TrainerProcess":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def steps(self, seconds: float) -> dict[str, Any]:
        """Whole steps until `seconds` are over, at least one: `tokens`, `seconds`, `steps`."""
        return self._ask({"ask": "steps", "seconds": seconds})

    def peak(self, precision: str) -> float:
        """Floating-point operations a second of a large matrix product."""
        return self._ask({"ask": "peak", "precision": precision})["flops_per_second"]

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
        setup = self.setup
        killed = " (killed: memory may have run out, a smaller --batch needs less)"
        return ClocheError(
            f"{setup.side} at {setup.size.name}, batch {setup.batch}, ended with status "
            f"{status}{killed if status == -9 else ''}:\n{told}"
        )
