"""Rows through the engine: as many as it has room for, and out again in their order."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cloche.cli.generate_answers import WrittenAnswer
from cloche.cli.generate_rows import Row
from cloche.errors import ClocheError, SettingError
from cloche.generation.engine import Engine
from cloche.generation.request import TokenEvent
from cloche.model.config import ModelConfig
from cloche.planning.available import available_memory
from cloche.planning.memory import cache_bytes

MOST_ROWS = 8
MOST_AHEAD = 256  # rows answered or being answered before the oldest of them has ended
_MEMORY_SHARE = 2  # rows may take one part in so many of the memory that is left


def usual_rows(config: ModelConfig, *, tokens: int) -> int:
    """Answers written at once where nobody says: 8, or as many as half of the free memory holds."""
    each = cache_bytes(config, rows=1, capacity=min(tokens, config.context), precision="float32")
    return max(1, min(MOST_ROWS, available_memory() // _MEMORY_SHARE // max(1, each)))


def chosen_rows(config: ModelConfig, wanted: int | None, *, tokens: int) -> int:
    """The rows that were asked for, or the usual ones. SettingError where memory is too short."""
    if wanted is None:
        return usual_rows(config, tokens=tokens)
    each = cache_bytes(config, rows=1, capacity=min(tokens, config.context), precision="float32")
    free = available_memory()
    if each * wanted > free:
        raise SettingError(
            f"--rows {wanted}: so many answers of {min(tokens, config.context):,} tokens take "
            f"{each * wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: at most "
            f"{free // each} would fit"
        )
    return wanted


@dataclass
class Answered:
    """A row and what has come of its answers so far."""

    row: Row
    answers: list[WrittenAnswer] = field(default_factory=list)
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return all(answer.ended for answer in self.answers)

    def add(self, event: TokenEvent) -> None:
        """Take in an event of one of the answers."""
        self.answers[event.choice].add(event)
        if event.error is not None:
            self.error = str(event.error)


def answer_rows(engine: Engine, rows: Iterator[Row], *, at_once: int) -> Iterator[Answered]:
    """The rows answered, in their order, each as soon as that order allows.

    Rows are taken only while fewer than `at_once` answers are being written, and none that lies
    MOST_AHEAD rows behind the oldest that has not ended. A row that fails, fails alone.
    """
    begun: deque[Answered] = deque()
    running: dict[int, Answered] = {}
    coming = next(rows, None)
    while True:
        writing = sum(not a.ended for answered in running.values() for a in answered.answers)
        while coming is not None and writing < at_once and len(begun) < MOST_AHEAD:
            if running and coming.request is not None and not engine.has_room(coming.request):
                break
            begun.append(_begin(engine, coming, running=running))
            writing += len(begun[-1].answers)
            coming = next(rows, None)
        if not begun:
            return
        for event in engine.step() if running else ():
            answered = running[event.request_id]
            answered.add(event)
            if answered.ended:
                del running[event.request_id]
        while begun and begun[0].ended:
            yield begun.popleft()


def _begin(engine: Engine, row: Row, *, running: dict[int, Answered]) -> Answered:
    """The row, handed to the engine where there is something to answer."""
    if row.request is None:
        return Answered(row, error=row.error)
    try:
        number = engine.submit(row.request)
    except ClocheError as exc:
        return Answered(row, error=str(exc))
    running[number] = Answered(row, [WrittenAnswer() for _ in range(row.request.n)])
    return running[number]


def line_of(answered: Answered, *, batch_seed: int, model: str) -> dict[str, Any]:
    """The line of the output that tells a row and its answers."""
    row = answered.row
    values: dict[str, Any] = {"line": row.line}
    if row.id is not None:
        values["id"] = row.id
    if row.request is not None:
        values["prompt"] = row.prompt
        values["answers"] = [answer.to_json() for answer in answered.answers]
        values["seed"] = row.request.seed
    if row.cut_tokens:
        values["cut_tokens"] = row.cut_tokens
    if answered.error is not None:
        values["error"] = answered.error
    return {**values, "batch_seed": batch_seed, "fingerprint": f"{row.digest}-{model}"}
