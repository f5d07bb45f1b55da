"""Aim: a repository in the folder that holds the run."""

from importlib import import_module
from typing import Any

from cloche.training.tracking.identity import Identity
from cloche.training.tracking.rows import Figures, Row, TrackedRun


class AimSink:
    """Rows in the experiment `cloche` of the repository beside the run."""

    def __init__(self, run: TrackedRun, identity: Identity) -> None:
        self._aim: Any = import_module("aim")
        repository = self._aim.Repo.from_path(str(run.folder.parent), init=True)
        known = identity.recall()
        self._run: Any = self._aim.Run(
            known,
            repo=repository,
            experiment="cloche",
            force_resume=known is not None,  # a killed sitting leaves its lock
            system_tracking_interval=None,
            capture_terminal_logs=False,
        )
        identity.keep(self._run.hash)
        self._run.name = run.name
        self._run["options"] = run.options

    def add(self, row: Row) -> None:
        """Track the row."""
        if isinstance(row, Figures):
            for name, value in row.values.items():
                self._run.track(value, name=name, step=row.step)
        else:
            self._run.track(self._aim.Text(row.prompt + row.text), name="sample", step=row.step)

    def close(self, *, finished: bool) -> None:
        """Close the run."""
        self._run["finished"] = finished
        self._run.close()
