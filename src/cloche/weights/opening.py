"""Which folder a name means: a run's checkpoint or the folder itself; the next if it is damaged."""

import difflib
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cloche.errors import BaseModelError, CheckpointError, WrongKindError
from cloche.weights.adapters import is_adapter
from cloche.weights.folder import CONFIG
from cloche.weights.history import CHECKPOINTS, list_checkpoints
from cloche.weights.tensors import refuse_pickle

Opened = TypeVar("Opened")
FOREIGN_FILES = frozenset({".gguf", ".safetensors"})
"""Endings of files that hold weights, and are opened by importing them."""


def open_first_whole(
    folders: Sequence[Path], open_one: Callable[[Path], Opened], *, warn: Callable[[str], None]
) -> Opened:
    """What `open_one` makes of the first folder that is whole.

    `warn` is told about each that is not. Raises the CheckpointError of the last, and at once
    where the base of adapters is absent, which all of them need, or where the folder holds another
    kind of model, as all of them do.
    """
    for folder, fallback in pairwise(folders):
        try:
            return open_one(folder)
        except (BaseModelError, WrongKindError):
            raise
        except CheckpointError as exc:
            warn(f"{exc}; falling back to {fallback.name}")
    return open_one(folders[-1])


def folders_to_try(source: Path, checkpoint: str, *, warn: Callable[[str], None]) -> list[Path]:
    """The folders of a source to open in turn, until one is whole; at least one.

    Of a run: its checkpoint that was asked for, then those that stand in for it. `warn` is told of
    a link that leads nowhere. Raises CheckpointError where there is none.
    """
    if not source.is_dir():
        refuse_pickle(source)
    if not source.exists():
        raise CheckpointError(f"{source} does not exist{_suggestion(source)}")
    if source.is_file():
        if source.suffix.lower() in FOREIGN_FILES:
            raise CheckpointError(
                f"{source} is a file of weights, not a model folder: bring it in with "
                f"cloche import {source} --out RUN"
            )
        raise CheckpointError(f"{source} is a file: give the folder it lies in")
    if (source / CHECKPOINTS).is_dir():
        return _checkpoints_to_try(source, checkpoint, warn=warn)
    if not (source / CONFIG).exists() and not is_adapter(source):
        raise CheckpointError(
            f"{source} is no run, no checkpoint and no Hugging Face model folder: it has neither "
            f"{CHECKPOINTS}/ nor {CONFIG}"
        )
    if checkpoint != "best":
        raise CheckpointError(f"{source} is one model: there is no checkpoint {checkpoint} in it")
    return [source]


def _checkpoints_to_try(run: Path, wanted: str, *, warn: Callable[[str], None]) -> list[Path]:
    existing = list_checkpoints(run)
    if not existing:
        raise CheckpointError(f"{run} holds no checkpoint yet: train it on with --resume")
    if wanted not in ("best", "latest"):
        return [_named_checkpoint(existing, wanted)]
    linked = []
    for name in ("best", "latest") if wanted == "best" else ("latest",):
        link = run / name
        if link.is_dir():
            linked.append(link.parent / CHECKPOINTS / link.resolve().name)
        elif link.is_symlink():
            warn(f"{link} leads nowhere: its checkpoint is gone")
    return list(dict.fromkeys([*linked, *reversed(existing)]))


def _named_checkpoint(existing: list[Path], wanted: str) -> Path:
    """The checkpoint of a step, given as step-000500 or 500; no other will do."""
    step = re.fullmatch(r"(?:step-)?(\d+)", wanted)
    for folder in existing:
        if step and int(folder.name.removeprefix("step-")) == int(step[1]):
            return folder
    names = ", ".join(folder.name for folder in existing)
    raise CheckpointError(f"there is no checkpoint {wanted}; there are best, latest, {names}")


def _suggestion(source: Path) -> str:
    """`; did you mean ...?` with the nearest name beside it, or nothing."""
    beside = [path.name for path in source.parent.iterdir()] if source.parent.is_dir() else []
    close = difflib.get_close_matches(source.name, beside, n=1)
    return f"; did you mean {source.parent / close[0]}?" if close else ""
