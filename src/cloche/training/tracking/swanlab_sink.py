"""SwanLab. Without an account on this machine, rows stay here until `swanlab sync`."""

import uuid
from importlib import import_module
from typing import Any

from cloche.training.tracking.identity import Identity
from cloche.training.tracking.rows import Figures, Row, TrackedRun


class SwanLabSink:
    """Rows in the project `cloche`; what is local lies in the folder swanlog beside the run."""

    def __init__(self, run: TrackedRun, identity: Identity) -> None:
        self._swanlab: Any = import_module("swanlab")
        known = identity.recall() or uuid.uuid4().hex[:12]
        has_account = self._swanlab.Settings().api_key is not None
        self._run: Any = self._swanlab.init(
            project="cloche",
            name=run.name,
            id=known if has_account else None,
            resume="allow" if has_account else "never",
            log_dir=str(run.folder.parent / "swanlog"),
            config=run.options,
            # None: as the user has set it up
            mode=None if has_account else "offline",
        )
        identity.keep(known)

    def add(self, row: Row) -> None:
        """Log the row."""
        if isinstance(row, Figures):
            self._run.log(row.values, step=row.step)
        else:
            self._run.log({"sample": self._swanlab.Text(row.prompt + row.text)}, step=row.step)

    def close(self, *, finished: bool) -> None:
        """Finish the run."""
        self._run.finish("success" if finished else "aborted")
