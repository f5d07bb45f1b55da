"""A sink in a process of its own: rows go out through a pipe, nothing comes back but its end."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from cloche.training.tracking.identity import FOLDER
from cloche.training.tracking.rows import Row, TrackedRun

REAP_SECONDS = 2.0
"""What is waited for a process that ends to be gone."""


class ProcessError(Exception):
    """The process of a tracker ended before it should."""


class ProcessSink:
    """Starts `command` and writes the run and every row to it, as lines of JSON.

    What the process prints goes to RUN/trackers/NAME.log. It does not hear the terminal's Ctrl-C,
    and ends by itself where this process is killed (`child.py`).
    """

    def __init__(self, run: TrackedRun, name: str, command: Sequence[str] | None = None) -> None:
        folder = run.folder / FOLDER
        folder.mkdir(exist_ok=True)
        self._log = folder / f"{name}.log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command or (sys.executable, "-P", "-m", f"{__package__}.child", name),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert self._process.stdin is not None, "it was asked for"
        self._pipe = self._process.stdin
        self._waiting = bytearray()
        self._add({**asdict(run), "folder": str(run.folder)})
        self._send()  # its library loads while the training takes its first steps

    def add(self, row: Row) -> None:
        """Take the row; `flush` sends it."""
        self._add(asdict(row))

    def flush(self) -> None:
        """Send what was added. ProcessError where the process has ended."""
        self._send()
        if self._process.poll() is not None:
            self._pipe.close()
            raise ProcessError(self._last_words())

    def close(self, *, finished: bool) -> None:
        """Say that no row follows, and wait for the process. ProcessError where it failed."""
        self._add({"finished": finished})
        self._send()
        self._pipe.close()
        if self._process.wait() != 0:
            raise ProcessError(self._last_words())

    def abandon(self) -> None:
        """End the process."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)

    def _add(self, message: dict[str, Any]) -> None:
        self._waiting += (json.dumps(message) + "\n").encode()

    def _send(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: self._pipe.write(self._waiting)]
        except OSError as exc:
            self._pipe.close()
            raise ProcessError(self._last_words()) from exc

    def _last_words(self) -> str:
        """What ended it: a signal, or what the end of its log says was raised."""
        with suppress(subprocess.TimeoutExpired):  # it reads no more: it ends, or ought to
            self._process.wait(REAP_SECONDS)
        status = self._process.returncode
        if status is not None and status < 0:
            return f"its process was ended by {signal.Signals(-status).name}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        last = said[-1] if said else f"its process ended with status {status}"
        return f"{last} (all of it: {self._log})"
