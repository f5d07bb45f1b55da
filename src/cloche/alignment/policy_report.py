"""What a policy was before and after it learned, from its run's own figures."""

from pathlib import Path
from typing import Any

from cloche.run import read_metrics

_BEGIN = "eval/"


def before_and_after(run: Path) -> dict[str, Any]:
    """The first and the last evaluation of a run, and the one of its best checkpoint.

    As `{"before": {...}, "after": {...}, "best": {...}}`, each with its step and the metrics
    without their common prefix; empty where nothing was evaluated.
    """
    rows = [row for row in read_metrics(run) if f"{_BEGIN}loss" in row]
    if not rows:
        return {}
    trained = [row for row in rows if row["step"] > 0] or rows
    best = min(trained, key=lambda row: row[f"{_BEGIN}loss"])
    named = {"before": rows[0], "after": rows[-1], "best": best}
    return {name: _plain(row) for name, row in named.items()}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    metrics = {name: value for name, value in row.items() if name.startswith(_BEGIN)}
    return {"step": row["step"]} | {
        name.removeprefix(_BEGIN): value for name, value in metrics.items()
    }
