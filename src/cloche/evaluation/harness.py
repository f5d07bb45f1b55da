"""Tasks of lm-evaluation-harness, run on a model in this process.

The harness (extra `eval`) reads the tasks, asks questions and reckons scores; the model answers by
`harness_model`. The same tasks through the harness's own `hf` model on the exported folder give
the same numbers. Source: https://github.com/EleutherAI/lm-evaluation-harness
"""

import logging
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloche.errors import ClocheError, DataError, SettingError, join_problems
from cloche.evaluation.harness_tasks import load_tasks
from cloche.run import LM, warn_in_python

ADAPTER = "cloche.evaluation.harness_model"
RANDOM_SEED, NUMPY_SEED = 0, 1234
"""The harness's own: some tasks shuffle their choices as they load."""


@dataclass(frozen=True)
class TaskMetric:
    """One score of a task."""

    name: str
    filter: str
    """What was done to the answers before: none, or a name from the task's file."""
    value: float | None
    """None where it is no number."""
    stderr: float | None
    """Standard error over the documents; None where the harness knows none."""
    higher_is_better: bool | None


@dataclass(frozen=True)
class TaskResult:
    """The scores of a task, or of a group of tasks together."""

    name: str
    documents: int
    """How many were asked."""
    shots: int | None
    """Examples before each question; None where the tasks of a group differ."""
    version: str | None
    """Of the task's file, where it names one."""
    metrics: tuple[TaskMetric, ...]


@dataclass(frozen=True)
class TaskReport:
    """What tasks gave, and what has to be known to read it."""

    tasks: tuple[TaskResult, ...]
    groups: tuple[TaskResult, ...]
    unknown_tokens: int
    """Scored tokens that stand for what the vocabulary lacks: likelihoods of such texts are too
    good to be true."""
    cut_requests: int
    """Requests whose context was cut at the left, to fit the model's."""


def run_tasks(
    lm: LM,
    names: Sequence[str],
    *,
    include_path: Path | None = None,
    limit: int | None = None,
    shots: int | None = None,
    rows: int = 8,
    warn: Callable[[str], None] = warn_in_python,
) -> TaskReport:
    """The scores of a model in these tasks: names, groups, tags, or paths of task files (.yaml).

    Task files below `include_path` are found by their names. Of each task the first `limit`
    documents are asked, all when None. `shots` examples stand before each question, the number in
    the task's file when None. `rows` requests are read at a time. To a model from `LM.asking`,
    the harness asks each question as a message, by the chat template, the examples as earlier
    turns of the conversation.

    Raises SettingError, also where the extra is missing, and DataError where a task or its data
    cannot be had or its file does not fit its data.
    """
    _require_sound(names, limit=limit, shots=shots, rows=rows)
    try:
        from lm_eval.evaluator import evaluate

        from cloche.evaluation.harness_model import HarnessModel
    except ModuleNotFoundError as exc:
        raise SettingError(
            f"tasks need lm-evaluation-harness ({exc}): pip install 'cloche[eval]'"
        ) from exc
    model = HarnessModel(lm, rows=rows)
    with _harness_seeds(), _harness_warnings(warn):
        tasks = load_tasks(names, include_path=include_path, shots=shots, warn=warn)
        try:
            found = evaluate(
                model,
                tasks,  # pyright: ignore[reportArgumentType]
                limit=limit,
                log_samples=False,
                apply_chat_template=lm.asked_by is not None,
                fewshot_as_multiturn=lm.asked_by is not None,
                system_instruction=lm.system or None,
            )
        except ClocheError:
            raise
        except Exception as exc:
            if _raised_by_model(exc):
                raise
            raise DataError(_what_failed(exc, tasks["tasks"])) from exc
    assert found is not None, "the only process is the first one"
    return _report(found, tasks["groups"], model)


def _require_sound(
    names: Sequence[str], *, limit: int | None, shots: int | None, rows: int
) -> None:
    problems = []
    if not names or not all(names):
        problems.append("tasks must name one task or more, with commas between them")
    if limit is not None and limit < 1:
        problems.append(f"limit must be at least 1 document, got {limit}")
    if shots is not None and shots < 0:
        problems.append(f"shots must be 0 or more, got {shots}")
    if rows < 1:
        problems.append(f"rows must be at least 1, got {rows}")
    if problems:
        raise SettingError(join_problems(problems))


@contextmanager
def _harness_seeds() -> Iterator[None]:
    """Python's and NumPy's random numbers as the harness seeds them; the caller's come back."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(RANDOM_SEED)
    np.random.seed(NUMPY_SEED)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _harness_warnings(warn: Callable[[str], None]) -> Iterator[None]:
    """What the harness warns of goes to `warn`, but for what it fills in where a file says less."""
    logger = logging.getLogger("lm_eval")
    forwarder = _Forwarder(warn)
    propagate = logger.propagate
    logger.addHandler(forwarder)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(forwarder)
        logger.propagate = propagate


class _Forwarder(logging.Handler):
    """Passes warnings on."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on, unless it is about a default."""
        message = record.getMessage()
        if "is not. using default" not in message:
            self._warn(f"lm-evaluation-harness: {message}")


def _raised_by_model(exc: BaseException) -> bool:
    """Whether it came from below the adapter, where no task's file has a part."""
    place = exc.__traceback__
    while place is not None:
        if place.tb_frame.f_globals.get("__name__") == ADAPTER:
            return True
        place = place.tb_next
    return False


def _what_failed(exc: Exception, tasks: Mapping[str, Any]) -> str:
    """What to say where the harness itself, or a task's file, could not go on."""
    named = ", ".join(tasks)
    if isinstance(exc, OverflowError):
        return (
            f"a score of {named} is too large for a number ({exc}): perplexities of words are, "
            "where a text has few spaces; have metric_list of the task's file name bits_per_byte "
            "and byte_perplexity alone"
        )
    return (
        f"lm-evaluation-harness cannot run {named}: {type(exc).__name__}: {exc}; check that the "
        "task's file fits its data"
    )


def _report(found: Mapping[str, Any], groups: Mapping[str, Any], model: Any) -> TaskReport:
    results = [
        TaskResult(
            name=name,
            documents=int(values.get("sample_len", 0)),
            shots=_whole(found["n-shot"].get(name)),
            version=_version(found["versions"].get(name)),
            metrics=tuple(_metrics(values, found["higher_is_better"].get(name) or {})),
        )
        for name, values in found["results"].items()
    ]
    return TaskReport(
        tasks=tuple(result for result in results if result.name not in groups),
        groups=tuple(result for result in results if result.name in groups),
        unknown_tokens=model.unknown_tokens,
        cut_requests=model.cut_requests,
    )


def _metrics(values: Mapping[str, Any], directions: Mapping[str, Any]) -> Iterator[TaskMetric]:
    """The scores among the values that the harness keeps as `name,filter`."""
    for key, value in values.items():
        name, comma, applied = key.partition(",")
        if not comma or name.endswith("_stderr"):
            continue
        direction = directions.get(name)
        yield TaskMetric(
            name=name,
            filter=applied,
            value=_number(value),
            stderr=_number(values.get(f"{name}_stderr,{applied}")),
            higher_is_better=direction if isinstance(direction, bool) else None,
        )


def _number(value: Any) -> float | None:
    """As a float; None for what is no number: the harness writes "N/A"."""
    if isinstance(value, (int, float, np.number)) and math.isfinite(value):
        return float(value)
    return None


def _version(value: Any) -> str | None:
    return None if value in (None, "", "Yaml", "N/A") else str(value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
