"""Which checkpoints a run has, which of them is whole, and which stay."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cloche.errors import CheckpointError
from cloche.weights.durable import sweep_leftovers, sync, temporary_beside
from cloche.weights.manifest import verify

CHECKPOINTS = "checkpoints"


def list_checkpoints(run: Path) -> list[Path]:
    """The checkpoint folders of a run, oldest first, whole or not."""
    return list_steps(run / CHECKPOINTS)


def list_steps(parent: Path) -> list[Path]:
    """The folders in `parent` that are named after a step, oldest first."""
    if not parent.is_dir():
        return []
    numbered = [
        (int(match[1]), path)
        for path in parent.iterdir()
        if (match := re.fullmatch(r"step-(\d+)", path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(numbered)]


def newest_whole(run: Path, *, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is whole, training state included; None where there is none.

    `warn` is told about each newer one that is damaged.
    """
    for folder in reversed(list_checkpoints(run)):
        try:
            verify(folder)
        except CheckpointError as exc:
            warn(f"{exc}; falling back to the checkpoint before {folder.name}")
        else:
            return folder
    return None


def newer_checkpoints(run: Path, folder: Path) -> list[Path]:
    """The run's checkpoints of later steps than that of `folder`."""
    existing = list_checkpoints(run)
    return existing[existing.index(folder) + 1 :]


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that it no longer counts as one; where it lies now."""
    aside = folder.with_name(f"damaged-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    return aside


def point(run: Path, name: Literal["best", "latest"], checkpoint: Path) -> None:
    """Make the run's link `name` lead to `checkpoint`: at every moment to the old or the new."""
    temporary = temporary_beside(run / name)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(checkpoint, run), target_is_directory=True)
    temporary.replace(run / name)
    sync(run)


def prune(run: Path, *, keep: int = 2) -> list[Path]:
    """Remove all but the newest `keep` checkpoints (2 at least); the removed ones are returned.

    0 keeps all. Those that `best` and `latest` lead to always stay.
    """
    if not keep:
        return []
    kept = {(run / name).resolve() for name in ("best", "latest")}
    candidates = list_checkpoints(run)[: -max(keep, 2)]
    removed = [folder for folder in candidates if folder.resolve() not in kept]
    for folder in removed:
        # Renamed first: a process that dies here leaves a leftover, not half a checkpoint.
        trash = temporary_beside(folder)
        folder.rename(trash)
        shutil.rmtree(trash)
    return removed


def sweep(run: Path) -> list[Path]:
    """Remove what dead processes left in a run and its checkpoints; the names are returned.

    A checkpoint that was set aside while its successor never arrived is put back. Called by the
    process that owns the run, and not while it saves.
    """
    return [
        path
        for parent in (run, run / CHECKPOINTS)
        if parent.is_dir()
        for path in sweep_leftovers(sorted(parent.iterdir()))
    ]
