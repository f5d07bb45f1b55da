"""Trackio: its own database on this machine, or the Space that the user has set."""

import json
import uuid
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from cloche.training.tracking.held import SAMPLE, Held
from cloche.training.tracking.identity import Identity
from cloche.training.tracking.rows import Figures, Row, TrackedRun

PROJECT = "cloche"
PAGE = 5_000
"""Rows asked for at once: Trackio answers no query with more than 10,000."""
LATER_ROWS = (
    "select id, step, cast(metrics as text) as metrics from metrics "
    "where run_name = '{}' and step > {} and id > {} order by id limit {}"
)


class TrackioError(Exception):
    """Trackio did not store what it was given."""


class TrackioSink:
    """Rows in the project `cloche`.

    Where Trackio cannot store rows it only warns, and goes on without them: here that is an error.
    """

    def __init__(self, run: TrackedRun, identity: Identity) -> None:
        trackio: Any = import_module("trackio")
        # the process is this sink's own: what is recorded from here on is never given back
        recorded = warnings.catch_warnings(record=True).__enter__()
        self._warnings: list[warnings.WarningMessage] = [] if recorded is None else recorded
        known = identity.recall()
        # a run is known by its name alone, and two folders may have the same
        name = known or f"{run.name}-{uuid.uuid4().hex[:6]}"
        self._held = Held({} if known is None else last_steps(known, beyond=run.from_step))
        self._run: Any = trackio.init(
            project=PROJECT,
            name=name,
            config=run.options,
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        identity.keep(name)

    def add(self, row: Row) -> None:
        """Log the row. TrackioError where earlier ones could not be stored."""
        self._require_stored()
        rest = self._held.rest_of(row)
        if isinstance(rest, Figures):
            self._run.log(rest.values, step=rest.step)
        elif rest is not None:
            self._run.log({SAMPLE: rest.prompt + rest.text}, step=rest.step)

    def close(self, *, finished: bool) -> None:  # noqa: ARG002  Trackio knows no other end
        """Finish the run. TrackioError where rows could not be stored."""
        self._run.finish()
        self._require_stored()

    def _require_stored(self) -> None:
        for warning in self._warnings:
            if Path(warning.filename).parent.name == "trackio":
                raise TrackioError(str(warning.message))


def last_steps(name: str, *, beyond: int) -> dict[str, int]:
    """The last step of each figure beyond a step, in the database on this machine."""
    found: dict[str, int] = {}
    for row in rows_of(name, beyond=beyond):
        for figure in json.loads(row["metrics"]):
            found[figure] = max(row["step"], found.get(figure, row["step"]))
    return found


def rows_of(name: str, *, beyond: int) -> Iterator[dict[str, Any]]:
    """Each row of a run beyond a step, as it is stored."""
    storage: Any = import_module("trackio.sqlite_storage").SQLiteStorage
    last, quoted = -1, name.replace("'", "''")
    while True:
        try:
            query = LATER_ROWS.format(quoted, beyond, last, PAGE)
            page = storage.query_project(PROJECT, query)["rows"]
        except FileNotFoundError:  # the run is in a Space, or its database is gone
            return
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1]["id"]
