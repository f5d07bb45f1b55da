"""What a preparation does, complete: sources in ranges, the cut, and tasks that share the work.

A specification is made once and written down. Each of its tasks is then a pure function of it: it
may run in any process, on any machine that sees the files, in any order, and twice.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from cloche.data.options import DataOptions
from cloche.errors import DataError, TextError
from cloche.text.ingest import Inspection, SourceRange
from cloche.text.sources import SourceFile

PartName = Literal["train", "validation"]
TRAIN: PartName = "train"
VALIDATION: PartName = "validation"
PARTS: tuple[PartName, ...] = (TRAIN, VALIDATION)

TASK_BYTES = 1 << 22
"""Of the sources in one task, about."""
MOST_TASKS = 1024
"""From 4 GB on, tasks become larger instead of more."""


@dataclass(frozen=True)
class SpecSource:
    """A source and the state it must be in while it is read."""

    file: SourceFile
    encoding: str
    size: int
    """Bytes of the file."""
    modified_ns: int
    """When it was last changed, in nanoseconds."""

    def check_unchanged(self) -> None:
        """Raise DataError where the file has changed since it was inspected."""
        if signature(self.file) != (self.size, self.modified_ns):
            raise DataError(
                f"{self.file.name} has changed since its preparation began: prepare it again"
            )


@dataclass(frozen=True)
class Piece:
    """A range of a source, and what lies before it in all sources, laid end to end."""

    source: int
    """Index of the source."""
    range: SourceRange
    character: int
    """Number of its first character."""
    document: int
    """Number of the document it begins in or with."""


@dataclass(frozen=True)
class Split:
    """Which part of the text a character, document or file belongs to."""

    by: Literal["position", "document", "file"]
    cut: int
    """by position: characters trained on. Else: documents or files that validate."""
    total: int
    """Characters, documents or files in all."""

    def part_of(self, number: int) -> PartName:
        """The part of document or file `number`: those that validate lie evenly among all."""
        if (number + 1) * self.cut // self.total > number * self.cut // self.total:
            return VALIDATION
        return TRAIN


@dataclass(frozen=True)
class Spec:
    """A preparation."""

    sources: tuple[SpecSource, ...]
    fingerprints: tuple[dict[str, Any], ...]
    """What identifies each source's text, whatever its name and encoding; before any cleaning."""
    split: Split
    tokenizer: str
    """Fingerprint of the tokenizer."""
    separated: bool
    """Whether documents end with the end-of-text token."""
    skip_bad: bool
    column: str | None
    cleaned: str | None
    """SHA-256 of the text after cleaning; None where it was not cleaned."""
    tasks: tuple[tuple[Piece, ...], ...]

    def to_bytes(self) -> bytes:
        """Its JSON form."""
        values = asdict(self)
        for source in values["sources"]:
            source["file"]["path"] = str(source["file"]["path"])
        return (json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode("utf-8")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that its tokens depend on; where the sources lie is not among it."""
        values = asdict(replace(self, sources=()))
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8")).hexdigest()


def spec_from_bytes(data: bytes) -> Spec:
    """The specification that `to_bytes` wrote. Raises DataError where it is damaged."""
    try:
        values = json.loads(data)
        sources = tuple(_source(entry) for entry in values.pop("sources"))
        tasks = tuple(tuple(map(_piece, task)) for task in values.pop("tasks"))
        split = Split(**values.pop("split"))
        fingerprints = tuple(values.pop("fingerprints"))
        return Spec(sources=sources, tasks=tasks, split=split, fingerprints=fingerprints, **values)
    except (ValueError, KeyError, TypeError) as exc:
        raise DataError(f"the specification of the preparation is damaged ({exc})") from exc


def signature(source: SourceFile) -> tuple[int, int]:
    """Size and time of the last change: another text has other ones."""
    try:
        found = source.path.stat()
    except OSError as exc:
        raise DataError(f"{source.name} cannot be read any more: {exc.strerror}") from exc
    return found.st_size, found.st_mtime_ns


def task_bytes(total_bytes: int) -> int:
    """Bytes of a task: it depends on the size of the text alone, never on machines."""
    return max(TASK_BYTES, -(-total_bytes // MOST_TASKS))


def place_pieces(inspections: Sequence[Inspection]) -> list[Piece]:
    """The ranges of all sources, with what lies before each."""
    pieces, character, document = [], 0, 0
    for index, inspection in enumerate(inspections):
        for part in inspection.ranges:
            going_on = part.start > 0 and not part.documents
            pieces.append(Piece(index, part, character, document - going_on))
            character += part.characters
            document += part.documents
    return pieces


def share_out(
    pieces: Sequence[Piece], sizes: Sequence[int], *, task_bytes: int
) -> tuple[tuple[Piece, ...], ...]:
    """The pieces in tasks of about `task_bytes`, in order; `sizes` are the sources' in bytes."""
    tasks: list[tuple[Piece, ...]] = []
    gathered: list[Piece] = []
    held = 0
    for piece in pieces:
        stop = sizes[piece.source] if piece.range.stop is None else piece.range.stop
        size = stop - piece.range.start
        if gathered and held + size > task_bytes:
            tasks.append(tuple(gathered))
            gathered, held = [], 0
        gathered.append(piece)
        held += size
    return (*tasks, tuple(gathered)) if gathered else tuple(tasks)


def make_split(options: DataOptions, inspections: Sequence[Inspection]) -> Split:
    """The cut that the options ask for. TextError where there is too little to cut."""
    if options.split_by == "position":
        total = sum(inspection.report.characters for inspection in inspections)
        cut = int(total * options.split)
        if not 0 < cut < total:
            raise TextError(
                f"the text has {total} characters, too few to train on {options.split:.0%} of it "
                "and validate on the rest: bring more text"
            )
        return Split("position", cut, total)
    if options.split_by == "document":
        total = sum(inspection.report.documents for inspection in inspections)
    else:
        total = len(inspections)
    if total < 2:
        raise TextError(
            f"data.split-by {options.split_by} needs at least two of them, and there is {total}; "
            "use data.split-by position"
        )
    validating = min(total - 1, max(1, round(total * (1.0 - options.split))))
    return Split(options.split_by, validating, total)


def pieces_of(spec: Spec) -> Iterator[Piece]:
    """All pieces in the order of the text."""
    for task in spec.tasks:
        yield from task


def _source(values: dict[str, Any]) -> SpecSource:
    file = values.pop("file")
    return SpecSource(file=SourceFile(**{**file, "path": Path(file["path"])}), **values)


def _piece(values: dict[str, Any]) -> Piece:
    return Piece(range=SourceRange(**values.pop("range")), **values)
