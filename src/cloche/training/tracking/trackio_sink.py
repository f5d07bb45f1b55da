"""Trackio: its own database on this machine, or the Space that the user has set."""

import uuid
from importlib import import_module
from typing import Any

from cloche.training.tracking.identity import Identity
from cloche.training.tracking.rows import Figures, Row, TrackedRun


class TrackioSink:
    """Rows in the project `cloche`."""

    def __init__(self, run: TrackedRun, identity: Identity) -> None:
        trackio: Any = import_module("trackio")
        # a run is known by its name alone, and two folders may have the same
        name = identity.recall() or f"{run.name}-{uuid.uuid4().hex[:6]}"
        self._run: Any = trackio.init(
            project="cloche",
            name=name,
            config=run.options,
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        identity.keep(name)

    def add(self, row: Row) -> None:
        """Log the row."""
        if isinstance(row, Figures):
            self._run.log(row.values, step=row.step)
        else:
            self._run.log({"sample": row.prompt + row.text}, step=row.step)

    def close(self, *, finished: bool) -> None:  # noqa: ARG002  Trackio knows no other end
        """Finish the run."""
        self._run.finish()
