"""The folder of a preparation: what in it is ours to remove, and what is told where it is full.

A preparation that begins anew removes the earlier one. It removes nothing else: a folder that holds
other files is refused, as is one with the text itself in it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloche.errors import DataError
from cloche.text.sources import SourceFile

SPEC = "spec.json"
TASKS = "tasks"
TOKENIZER = "tokenizer"
PLAN = "plan.json"
PREPARED = "prepared.json"
CLEANED = "cleaned.jsonl"
LAUNCHES = "launches"
NEW_CLEANED = ".cleaned.new"
"""Cleaned text of a plan that is not whole yet."""
BEGUN = ".preparation"
"""Empty; there from the beginning, so that what a killed process began is known as ours."""

_FILES = (SPEC, PREPARED, PLAN, CLEANED)  # the specification first: no half is taken for whole
_FOLDERS = (TASKS, TOKENIZER, LAUNCHES)


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Raise DataError, naming `place`, where anything in it cannot be written."""
    try:
        yield
    except OSError as exc:
        raise DataError(
            f"the tokens cannot be written to {place}: {exc.strerror or exc}. What is done is "
            "kept; free space or mend it, and run the same command again"
        ) from exc


def refuse_foreign(folder: Path, sources: Sequence[SourceFile]) -> None:
    """Raise DataError where `folder` holds anything but a preparation, or one of the sources."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; tokens need a folder: name another with --out")
    inside = os.path.join(os.path.realpath(folder), "")
    for source in sources:
        if os.path.realpath(source.path).startswith(inside):
            raise DataError(
                f"{source.name} lies in {folder}, where its tokens would go: name another folder "
                "with --out"
            )
    if not _is_ours(folder):
        raise DataError(
            f"{folder} holds other files, and tokens need a folder of their own: name another "
            "with --out"
        )


def begin(folder: Path) -> None:
    """Make `folder` ours, where it is new."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BEGUN).touch()
    (folder / NEW_CLEANED).unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove what an earlier preparation made."""
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
        for leftover in folder.glob(f".{name}.*.tmp"):
            leftover.unlink()
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)  # tasks of another plan are never taken


def _is_ours(folder: Path) -> bool:
    """Whether `folder` is absent, empty, or a preparation, be it one that was only begun."""
    if not folder.is_dir() or any((folder / name).exists() for name in (BEGUN, SPEC)):
        return True
    return next(folder.iterdir(), None) is None
