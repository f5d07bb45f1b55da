"""A sink in a process of its own: rows go out through a pipe, nothing comes back but its end."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cloche.training.tracking.identity import FOLDER
from cloche.training.tracking.rows import Row, TrackedRun


class ProcessError(Exception):
    """The process of a tracker ended before it should."""


class ProcessSink:
    """Starts `command` and writes the run and every row to it, as lines of JSON.

    What the process prints goes to RUN/trackers/NAME.log. It does not hear the terminal's Ctrl-C,
    and ends by itself where this process is killed.
    """

    def __init__(self, run: TrackedRun, name: str, command: Sequence[str] | None = None) -> None:
        folder = run.folder / FOLDER
        folder.mkdir(exist_ok=True)
        self._log = folder / f"{name}.log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command or (sys.executable, "-P", "-m", f"{__package__}.child", name),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._send({**asdict(run), "folder": str(run.folder)})

    def add(self, row: Row) -> None:
        """Send the row."""
        self._send(asdict(row))

    def flush(self) -> None:
        """Send what is still in the buffer. ProcessError where the process has ended."""
        try:
            self._pipe.flush()
        except OSError as exc:
            raise ProcessError(self._last_words()) from exc
        if self._process.poll() is not None:
            raise ProcessError(self._last_words())

    def close(self, *, finished: bool) -> None:
        """Say that no row follows, and wait for the process. ProcessError where it failed."""
        self._send({"finished": finished})
        try:
            self._pipe.close()
        except OSError as exc:
            raise ProcessError(self._last_words()) from exc
        if self._process.wait() != 0:
            raise ProcessError(self._last_words())

    def abandon(self) -> None:
        """End the process."""
        self._process.kill()

    @property
    def _pipe(self) -> Any:
        return self._process.stdin

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._pipe.write((json.dumps(message) + "\n").encode())
        except OSError as exc:
            raise ProcessError(self._last_words()) from exc

    def _last_words(self) -> str:
        """The end of its log: in Python, what was raised."""
        self._process.wait()  # its end of the pipe is closed: it has ended, or is about to
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        last = said[-1] if said else f"its process ended with status {self._process.returncode}"
        return f"{last} (all of it: {self._log})"
