"""A reward function in a process of its own: it may fail, print, leak or hang, and nothing else
does.

Each call has a deadline. A process that passes it is ended, with all that it started.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from cloche.config import nearest
from cloche.errors import ClocheError

NOTHING = ""
IMPORT_SECONDS = 120.0
"""For a module to be loaded: it may import a large library."""


class RewardError(ClocheError):
    """A reward function cannot be had, or gave no reward."""


class RewardProcess:
    """The function `name` of a module (`package.module`) or a file (`rewards.py`).

    Raises RewardError where it cannot be loaded. `seconds` is what each call may take. Where it is
    `made_with` an option, `name` makes the function.
    """

    def __init__(
        self, module: str, name: str, *, seconds: float, made_with: str | None = NOTHING
    ) -> None:
        self.what = f"{module}:{name}"
        if module.endswith(".py") and not Path(module).is_file():
            raise RewardError(f"{module} does not exist: a reward function is in no such file")
        self._seconds = seconds
        self._replies: queue.Queue[str] = queue.Queue()
        making = [] if made_with == NOTHING else [json.dumps(made_with)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cloche.alignment.rewards_worker", module, name, *making],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the training, which saves and ends this one
        )
        assert self._process.stdin is not None, "it was asked for"
        assert self._process.stdout is not None, "it was asked for"
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        try:
            reply = self._reply(IMPORT_SECONDS, doing="loading it")
            if "functions" in reply:
                raise RewardError(
                    f"{module} has no function {name!r}: {nearest(name, reply['functions'])}"
                )
            if "takes" in reply:
                raise RewardError(
                    f"{self.what} takes {reply['takes']}, and a reward function is given three: "
                    "(prompt, answer, record)"
                )
            if "error" in reply:
                raise RewardError(f"{module} cannot be loaded: {reply['error']}")
        except BaseException:
            self.close()
            raise

    def __call__(self, prompt: str, answer: str, record: Mapping[str, Any]) -> float:
        """The function's reward; RewardError where it gives none. Afterwards it is closed."""
        call = {"prompt": prompt, "answer": answer, "record": dict(record)}
        line = json.dumps(call, default=str) + "\n"
        try:
            with suppress(OSError):  # it has ended: what is read next tells why
                self._send(line)
            reply = self._reply(self._seconds, doing="this answer")
        except BaseException:
            self.close()
            raise
        if "error" in reply:
            raise RewardError(reply["error"])
        return reply["value"]

    def close(self) -> None:
        """End the process, and what it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None, "it was asked for"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()

    def _reply(self, seconds: float, *, doing: str) -> dict[str, Any]:
        try:
            line = self._replies.get(timeout=seconds)
        except queue.Empty as exc:
            raise RewardError(
                f"{doing} took over {seconds:g} seconds and was ended; a larger --rollout.reward-"
                "seconds allows more"
            ) from exc
        if not line:
            raise RewardError(f"its process ended, with status {self._process.wait()}")
        return json.loads(line)

    def _listen(self, replies: IO[bytes]) -> None:
        with suppress(ValueError, OSError):  # closed meanwhile
            for line in replies:
                self._replies.put(line.decode())
        self._replies.put("")
