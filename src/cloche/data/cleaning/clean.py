"""Documents through the cleaning steps, one at a time, and into a file."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cloche.data.cleaning.duplicates import ExactDuplicates, NearDuplicates
from cloche.data.cleaning.languages import OtherLanguages
from cloche.data.cleaning.report import CleaningReport, Removed
from cloche.data.cleaning.rewriting import (
    compose,
    compose_plain,
    with_tidy_whitespace,
    without_controls,
)
from cloche.data.cleaning.steps import Step
from cloche.errors import TextError

Worker = Callable[[tuple[str, str]], str | Removed]
"""From a document, its name and text, to the text it becomes, or that it was removed."""


def clean(
    documents: Iterable[tuple[str, str]],
    steps: Sequence[Step],
    *,
    report: CleaningReport | None = None,
) -> Iterator[tuple[str, str]]:
    """The (name, text) of the documents that stay, in order, each step done in its turn.

    `report`, made by `CleaningReport.of(steps)`, counts what each step does and is complete when
    the iterator has ended. One document is in memory at a time, beside what the duplicates'
    steps remember. Raises SettingError, before anything is read, where a step needs an extra.
    """
    report = report or CleaningReport.of(steps)
    return _flow(documents, [_worker(step) for step in steps], report)


def write_cleaned(
    path: Path, documents: Iterable[tuple[str, str]], steps: Sequence[Step]
) -> CleaningReport:
    """The report of cleaning `documents` into `path`: one JSON object with text and name a row.

    The file is there whole or not at all; the same documents and steps give the same bytes.
    Raises TextError where no document is left, or where one holds half a character.
    """
    report = CleaningReport.of(steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            for name, text in clean(documents, steps, report=report):
                file.write(_row(name, text))
            empty = file.tell() == 0
            file.flush()
            os.fsync(file.fileno())
        if empty:
            raise TextError(f"cleaning left no document:\n{report.to_text()}")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return report


def _flow(
    documents: Iterable[tuple[str, str]], workers: list[Worker], report: CleaningReport
) -> Iterator[tuple[str, str]]:
    for name, text in documents:
        outcome: str | Removed = text
        for worker, counts in zip(workers, report.steps, strict=True):
            before, outcome = text, worker((name, text))
            counts.count(name, before, outcome)
            if isinstance(outcome, Removed):
                break
            text = outcome
        if not isinstance(outcome, Removed):
            yield name, text
    report.complete = True


def _worker(step: Step) -> Worker:
    """What does the step, with nothing remembered yet."""
    value: Any = step.value
    makers: dict[str, Callable[[], Worker]] = {
        "nfc": lambda: _rewriting(compose),
        "nfkc": lambda: _rewriting(compose_plain),
        "controls": lambda: _rewriting(without_controls),
        "whitespace": lambda: _rewriting(with_tidy_whitespace),
        "exact-duplicates": ExactDuplicates,
        "near-duplicates": lambda: NearDuplicates(value),
        "language": lambda: OtherLanguages(value),
        "min-length": lambda: _keeping(lambda length: length >= value),
        "max-length": lambda: _keeping(lambda length: length <= value),
    }
    return makers[step.name]()


def _rewriting(rewrite: Callable[[str], str]) -> Worker:
    """A step of rewriting; a document of which nothing is left is removed."""

    def work(document: tuple[str, str]) -> str | Removed:
        _, text = document
        changed = rewrite(text)
        return changed if changed or not text else Removed("nothing is left of it")

    return work


def _keeping(fits: Callable[[int], bool]) -> Worker:
    def work(document: tuple[str, str]) -> str | Removed:
        _, text = document
        return text if fits(len(text)) else Removed(f"{len(text):,} characters")

    return work


def _row(name: str, text: str) -> bytes:
    row = json.dumps({"text": text, "name": name}, ensure_ascii=False) + "\n"
    try:
        return row.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise TextError(
            f"{name!r} holds half a surrogate pair, U+{ord(row[exc.start]):04X}, which no text "
            "has: mend or leave out the document"
        ) from exc
