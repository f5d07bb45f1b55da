"""A process that tunes, and stops after each step that it was asked for. Loads no torch.

Both sides run their library's whole trainer, the one loop of cloche and the Trainer of
transformers under TRL. What is told after each step waits there for the next request, so that only
one side computes at a time and nothing of either loop is left out.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from cloche.bench.processes import (
    PYTHON,
    Answer,
    SideProcess,
    answer_on_standard_output,
    peak_resident_bytes,
)

WARM_STEPS = 2


@dataclass(frozen=True)
class TunerSetup:
    """What a process that tunes is told before it begins: one line of JSON."""

    engine: str
    """cloche or trl."""
    base: str
    """A run, a checkpoint or a Hugging Face folder."""
    records: str
    """A file that `write_records` wrote."""
    precision: str
    """float32 or bfloat16."""
    steps: int
    """In all, those of the start among them."""
    batch: int = 8
    rank: int = 16
    threads: int = 1
    learning_rate: float = 2e-4

    @property
    def name(self) -> str:
        """As it is called in tables."""
        return f"{self.engine} {self.precision}"

    @property
    def alpha(self) -> int:
        """The adapters' scale, times their rank."""
        return 2 * self.rank


class TunerProcess(SideProcess):
    """A tuning that has taken its first steps and waits.

    `about` tells `tokens` of each of the steps, the number of `trained` weights, and how long its
    start took: `start_seconds` from the start of the process, of which `first_step_seconds` was the
    first step. `first_loss`, that of the base, must be alike on all sides.
    """

    def __init__(self, setup: TunerSetup) -> None:
        self.setup = setup
        began = time.perf_counter()
        super().__init__(
            (*PYTHON, f"cloche.bench.tuning_{setup.engine}"),
            asdict(setup),
            name=setup.name,
            advice="a smaller --batch needs less",
        )
        self.about["start_seconds"] = time.perf_counter() - began

    def steps(self, count: int) -> dict[str, Any]:
        """So many further steps: their `tokens`, `seconds` and last `loss`."""
        return self._ask({"ask": "steps", "count": count})


class RequestsEndedError(Exception):
    """No further request will come."""


class Gate:
    """Where a trainer passes after each step, and is held between two requests.

    It raises RequestsEndedError when there are no further requests, which ends the trainer.
    """

    def __init__(self, requests: Iterator[str], answer: Answer, *, before: int) -> None:
        """`before` is the process's peak memory before there was a model."""
        self._requests, self._answer, self._before = requests, answer, before
        self._about: dict[str, Any] = {}
        self._tokens: list[int] = []
        self._done, self._first, self._left = 0, 0, WARM_STEPS
        self._began = time.perf_counter()

    def start(self, tokens: list[int], about: dict[str, Any]) -> None:
        """The first step begins now; `tokens` are those of each step to come."""
        self._tokens, self._about = tokens, {**about, "tokens": tokens}
        self._began = time.perf_counter()

    def passed(self, loss: float) -> None:
        """A step is done."""
        now = time.perf_counter()
        self._done += 1
        self._left -= 1
        if self._done == 1:
            self._about["first_step_seconds"] = now - self._began
            self._about["first_loss"] = loss
        if self._left:
            return
        if self._done == WARM_STEPS:
            self._answer(self._about)
        else:
            taken = self._tokens[self._first : self._done]
            self._answer({"tokens": sum(taken), "seconds": now - self._began, "loss": loss})
        self._wait()

    def _wait(self) -> None:
        for line in self._requests:
            request = json.loads(line)
            if request["ask"] == "steps":
                self._first, self._left = self._done, request["count"]
                self._began = time.perf_counter()
                return
            self._answer({"peak_bytes": peak_resident_bytes(), "before_bytes": self._before})
        raise RequestsEndedError


Tune = Callable[[TunerSetup, Gate], None]


def tune_on_request(tune: Tune) -> None:
    """Be the process in which `tune` trains."""
    answer_on_standard_output(partial(serve_tuning, tune))


def serve_tuning(tune: Tune, requests: Iterator[str], answer: Answer) -> None:
    """Tune as the first line describes, and answer the others until they end.

    Raises ClocheError where it cannot be done here.
    """
    setup = TunerSetup(**json.loads(next(requests)))
    gate = Gate(requests, answer, before=peak_resident_bytes())
    try:
        tune(setup, gate)
    except RequestsEndedError:
        return
