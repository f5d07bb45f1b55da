"""Weights & Biases. Without an account on this machine, rows stay here until `wandb sync`."""

import uuid
from importlib import import_module
from typing import Any

from cloche.training.tracking.identity import Identity
from cloche.training.tracking.rows import Figures, Row, TrackedRun


class WandbSink:
    """Rows in the project `cloche`; what is local lies in the folder wandb beside the run."""

    def __init__(self, run: TrackedRun, identity: Identity) -> None:
        self._wandb: Any = import_module("wandb")
        known = identity.recall() or uuid.uuid4().hex[:12]
        settings = {"console": "off", "silent": True, "x_disable_stats": True}
        self._run: Any = self._wandb.init(
            project="cloche",
            name=run.name,
            id=known,
            resume="allow",
            dir=str(run.folder.parent),
            config=run.options,
            # None: as the user has set it up
            mode=None if self._has_account() else "offline",
            settings=self._wandb.Settings(**settings),
        )
        identity.keep(known)
        # wandb's own step must never go back, which ours may when a run was resumed
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def add(self, row: Row) -> None:
        """Log the row."""
        if isinstance(row, Figures):
            self._run.log({**row.values, "step": row.step})
        else:
            written = self._wandb.Html(f"<pre>{_escaped(row.prompt + row.text)}</pre>")
            self._run.log({"sample": written, "step": row.step})

    def close(self, *, finished: bool) -> None:
        """Finish the run."""
        self._run.finish(exit_code=0 if finished else 1)

    def _has_account(self) -> bool:
        """Whether wandb finds a key, in its settings or in those of the user; asks no network."""
        try:
            return bool(self._wandb.login(verify=False))
        except self._wandb.errors.UsageError:  # no key, and nobody to ask for one
            return False


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
