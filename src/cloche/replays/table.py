"""Rows of a replay as text: one under another, in full, or as a table for a document."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from cloche.replays.replay import Row

_MARKDOWN_CHARACTERS = 68


def write_value(value: Any) -> str:
    """A value as one line: text as it is quoted, numbers in full precision."""
    return json.dumps(value, ensure_ascii=False)


def shorten(value: Any, *, characters: int) -> str:
    """A value as one line of at most so many characters, its end left out where it is longer.

    A dash stands for what was not measured.
    """
    line = "–" if value is None else write_value(value)
    return line if len(line) <= characters else line[: characters - 1] + "…"


def describe_row(row: Row) -> str:
    """Everything about one row, in full."""
    published = row.published
    lines = [("published", write_value(published.values))]
    if published.figures is not None:
        lines.append(("in figures", write_value(published.figures)))
    if row.right is not None:
        lines.append(("right", write_value(row.right)))
    if row.measured is not None:
        lines.append(("measured", write_value(row.measured)))
    lines.append(("outcome", f"{row.status} ({row.seconds:.2f} s)"))
    lines += [(name, write_value(value)) for name, value in row.beside.items()]
    lines += [("cause", row.cause)] if row.cause else []
    lines += [("note", published.note)] if published.note else []
    source = " ".join(filter(None, (published.source.title, published.source.address)))
    lines.append(("source", source))
    return "\n".join([published.name, *(f"  {name}: {text}" for name, text in lines)])


def remarks(rows: Iterable[Row]) -> list[str]:
    """What there is to tell of rows: why they are not met, and what to know of them.

    A cause that several share is told once.
    """
    names_of_cause: dict[str, list[str]] = {}
    notes = []
    for row in rows:
        name, note = row.published.name, row.published.note
        if row.cause:
            names_of_cause.setdefault(row.cause, []).append(name)
        if note:
            notes.append(f"{name}: {note}")
    causes = [f"{'; '.join(names)}: {cause}" for cause, names in names_of_cause.items()]
    return causes + notes


def summary(rows: Sequence[Row]) -> str:
    """How many rows came out how, and how long they took."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.status] = counts.get(row.status, 0) + 1
    found = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{len(rows)} replayed: {found}; {sum(r.seconds for r in rows):.1f} s"


def markdown_table(rows: Iterable[Row]) -> str:
    """The rows as a table in Markdown: values shortened, measured ones to a few digits more."""
    lines = [
        "| name | published | measured | outcome | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        precision = (row.published.wrong or row.published).precision
        values = (row.published.values, precision.for_document(row.measured))
        shown = (f"`{shorten(value, characters=_MARKDOWN_CHARACTERS)}`" for value in values)
        cells = (row.published.name, *shown, row.status, row.published.source.kind)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)
