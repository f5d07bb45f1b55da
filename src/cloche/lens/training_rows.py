"""What a run's folder tells of its training: rows of figures, texts it wrote, where it stands.

All of it can be read while the run goes on: a line that is still being written is no row yet.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloche.errors import RunError
from cloche.run import METRICS, read_metrics

SAMPLES, STATUS = "samples.jsonl", "status.json"


@dataclass(frozen=True, eq=False)
class Curve:
    """One figure over the steps it was measured at, oldest first."""

    steps: list[int]
    values: list[float]
    """Not-a-number and infinite ones as they are."""


@dataclass(frozen=True)
class WrittenSample:
    """What the model wrote after so many steps."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class Standing:
    """Where a run stands, as it says itself."""

    state: str
    """running, finished, interrupted or failed; empty where it does not say."""
    steps: int | None
    """As many as are planned; None where that is not known."""


def folder_of_run(given: str | Path) -> Path:
    """The folder of a run, for the run itself, one of its checkpoints or links to them."""
    path = Path(given)
    if (path / METRICS).exists():
        return path
    resolved = path.resolve()
    return resolved.parents[1] if resolved.parent.name == "checkpoints" else path


def read_curves(run: Path) -> dict[str, Curve]:
    """Every numeric figure of a run by its name, in the order of appearance.

    Raises RunError where there are no rows, or a row is damaged.
    """
    found: dict[str, dict[int, float]] = {}
    for number, row in enumerate(read_metrics(run), start=1):
        step = row.get("step") if isinstance(row, dict) else None
        if not isinstance(step, int) or isinstance(step, bool):
            raise RunError(f"{run / METRICS}, line {number}: a row without its step")
        for name, value in row.items():
            if name not in ("step", "time") and _is_number(value):
                found.setdefault(name, {})[step] = float(value)
    if not found:
        raise RunError(f"{run / METRICS} has no figures yet: the first step is not done")
    return {
        name: Curve(sorted(points), [points[step] for step in sorted(points)])
        for name, points in found.items()
    }


def read_samples(run: Path) -> list[WrittenSample]:
    """What a run wrote, oldest first; nothing where it wrote nothing. RunError for damage."""
    path = run / SAMPLES
    if not path.exists():
        return []
    # a character may be cut where the file is being written, but only in the line that is no row
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            found.append(WrittenSample(int(row["step"]), str(row["prompt"]), str(row["text"])))
        except (ValueError, KeyError, TypeError) as exc:
            raise RunError(f"{path}, line {number}: not a sample: {exc}") from exc
    return found


def one_line(text: str) -> str:
    """A text with its lines' ends made visible; what cannot be printed is left out."""
    shown = " ⏎ ".join(filter(None, text.strip().split("\n"))).replace("\t", " ")
    return "".join(character for character in shown if character.isprintable())


def read_standing(run: Path) -> Standing:
    """Where a run stands; not known where it has no status, or one that cannot be read."""
    try:
        values = json.loads((run / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Standing("", None)  # it is replaced in one step: unreadable means another's file
    if not isinstance(values, dict):
        return Standing("", None)
    state, steps = values.get("state"), values.get("steps")
    return Standing(
        state if isinstance(state, str) else "", steps if isinstance(steps, int) else None
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
