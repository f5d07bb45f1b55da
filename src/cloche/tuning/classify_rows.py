"""Texts with a class each, from tables and records: CSV, TSV, JSON, JSONL and Parquet."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloche.data.records import naming_own_option, read_records
from cloche.errors import DataError, TextError
from cloche.text.detection import detect_encoding
from cloche.text.encodings import decode_blocks
from cloche.text.sources import SourceFile, find_sources

CELL_CHARACTERS = 256_000_000
"""A cell is in memory whole; more is surely a quote left open."""
MOST_CLASSES = 1000
NAMED = 10
"""Problems that are told; the others are counted."""
DELIMITERS = (",", "\t", ";")


@dataclass(frozen=True)
class LabelledText:
    """One row."""

    place: str
    """File and row."""
    text: str
    label: str


@dataclass(frozen=True)
class Columns:
    """What holds text and class: names, or numbers from 1 on where a table's first row names
    nothing."""

    text: str
    label: str

    @property
    def numbered(self) -> bool:
        """Whether they are numbers."""
        return self.text.isdecimal() and self.label.isdecimal()


def read_labelled(
    names: Sequence[str], columns: Columns, *, records: str = "", encoding: str = "auto"
) -> list[LabelledText]:
    """The rows of the files in their order; `records` takes a slice of all of them.

    Raises DataError with the places of all rows without a text or a class, and TextError for a
    file that is none of the formats.
    """
    rows: list[LabelledText] = []
    problems: list[str] = []
    for source in find_sources(names):
        for place, text, label in _cells(source, columns, encoding=encoding):
            if problem := _problem(text, label, columns):
                problems.append(f"{place}: {problem}")
            else:
                rows.append(LabelledText(place, str(text), _as_label(label)))
    if problems:
        more = [f"and {len(problems) - NAMED} more"] if len(problems) > NAMED else []
        heading = f"{len(problems)} of {len(problems) + len(rows)} rows cannot be used:"
        raise DataError("\n  - ".join([heading, *problems[:NAMED], *more]))
    return _sliced(rows, records)


def classes_of(rows: Sequence[LabelledText]) -> tuple[str, ...]:
    """The classes that occur, sorted. DataError where there is one alone, or far too many."""
    classes = tuple(sorted({row.label for row in rows}))
    if len(classes) < 2:
        raise DataError(
            f"all {len(rows):,} training rows are of the class {classes[0]!r}: there is nothing to "
            "tell apart"
            if classes
            else "there is no row to train on"
        )
    if len(classes) > MOST_CLASSES:
        raise DataError(
            f"there are {len(classes):,} different classes in {len(rows):,} rows, such as "
            f"{classes[0]!r} and {classes[1]!r}: is this the column of the classes? At most "
            f"{MOST_CLASSES:,} are told apart"
        )
    return classes


def require_known(rows: Sequence[LabelledText], classes: Sequence[str], *, part: str) -> None:
    """DataError where held-out rows have classes that no training row has."""
    known = set(classes)
    unknown = [row for row in rows if row.label not in known]
    if unknown:
        counts = Counter(row.label for row in unknown)
        listed = ", ".join(f"{label!r} ({count})" for label, count in counts.most_common(NAMED))
        raise DataError(
            f"the {part} part has classes that no training row has: {listed}, first in "
            f"{unknown[0].place}. Train on rows of each class, or leave these out"
        )


def without_copies(rows: Sequence[LabelledText]) -> list[LabelledText]:
    """The rows without those whose text and class came before."""
    seen: dict[tuple[str, str], LabelledText] = {}
    for row in rows:
        seen.setdefault((row.text, row.label), row)
    return list(seen.values())


def _cells(
    source: SourceFile, columns: Columns, *, encoding: str
) -> Iterator[tuple[str, object, object]]:
    """(place, text, class) of each row, as they stand."""
    if source.format == "csv":
        yield from _table_cells(source, columns, encoding=encoding)
        return
    if columns.numbered:
        raise TextError(
            f"{source.name}: columns are numbers in tables without names only (CSV, TSV): name "
            "the fields that hold text and class"
        )
    for record in read_records(Path(source.path), encoding=encoding):
        missing = [name for name in (columns.text, columns.label) if name not in record.fields]
        if missing:
            there = ", ".join(map(repr, list(record.fields)[:NAMED])) or "none"
            raise TextError(
                f"{record.place} has no field {missing[0]!r}; its fields are {there}. Name those "
                "of text and class with --classify.text-column and --classify.label-column"
            )
        yield record.place, record.fields[columns.text], record.fields[columns.label]


def _table_cells(
    source: SourceFile, columns: Columns, *, encoding: str
) -> Iterator[tuple[str, object, object]]:
    found = encoding
    with naming_own_option():
        if encoding == "auto":
            found = detect_encoding(source.open_bytes, name=source.name)
    with naming_own_option(), source.open_bytes() as stream:
        content = "".join(decode_blocks(stream, found, name=source.name))
    first = content.split("\n", 1)[0].rstrip("\r")
    if not first.strip():
        raise TextError(f"{source.name} is empty, or begins with an empty line")
    delimiter = _delimiter(first, columns)
    rows = _rows(content, delimiter, name=source.name)
    header = None if columns.numbered else next(rows)[1]
    places = [_place(each, header, source.name) for each in (columns.text, columns.label)]
    width = len(header) if header is not None else None
    for number, row in enumerate(row for row in rows if any(row[1])):
        line, cells = row
        place = f"{source.name}, row {number + 1}"
        if len(cells) <= max(places) or (width is not None and any(cells[width:])):
            raise TextError(
                f"{place} (line {line}) has {len(cells)} cells for {width or max(places) + 1} "
                "columns; text with separators needs quotes"
            )
        yield place, cells[places[0]], cells[places[1]]


def _rows(content: str, delimiter: str, *, name: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, with the line it ends on."""
    if delimiter == "\t":
        # a quote in such a table is mostly a sign of the text; whole cells in quotes lose them
        for number, line in enumerate(content.split("\n"), start=1):
            yield number, [_unquoted(cell) for cell in line.rstrip("\r").split("\t")]
        return
    csv.field_size_limit(CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as exc:
            raise TextError(
                f"{name}, line {reader.line_num} is no CSV ({exc}): is there a quote too many?"
            ) from exc
        if row is None:
            return
        yield reader.line_num, row


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _delimiter(first: str, columns: Columns) -> str:
    """What separates the cells: what finds both columns in the first line, else what finds most."""

    def names(delimiter: str) -> list[str]:
        return [_unquoted(cell) for cell in first.split(delimiter)]

    wanted = {columns.text, columns.label}
    fitting = [delimiter for delimiter in DELIMITERS if wanted <= set(names(delimiter))]
    if columns.numbered and "\t" in first:
        return "\t"
    return max(fitting or DELIMITERS, key=lambda delimiter: len(names(delimiter)))


def _place(column: str, header: Sequence[str] | None, name: str) -> int:
    """The place of a column in a row, from 0."""
    if header is None:
        if column == "0":
            raise TextError("columns are numbered from 1 on")
        return int(column) - 1
    if header.count(column) != 1:
        there = ", ".join(map(repr, header[:NAMED]))
        what = f"has {header.count(column)} columns" if header.count(column) else "has no column"
        raise TextError(
            f"{name} {what} {column!r}; its columns are {there}. Name those of text and class with "
            "--classify.text-column and --classify.label-column; where the first row names "
            "nothing, as numbers from 1 on"
        )
    return header.index(column)


def _problem(text: object, label: object, columns: Columns) -> str | None:
    if not isinstance(text, str):
        return f"{columns.text} is {text!r:.60}, which is no text"
    if not text.strip():
        return f"{columns.text} is empty"
    if label is None or not isinstance(label, str | int | float | bool):
        return f"{columns.label} is {label!r:.60}, which is no class"
    if not str(label).strip():
        return f"{columns.label} is empty"
    return None


def _as_label(label: object) -> str:
    """The class as text, without the space about it; true and 1.0 as JSON writes them."""
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label).strip()


def _sliced(rows: list[LabelledText], records: str) -> list[LabelledText]:
    """The rows that a slice such as 1000:5001 takes."""
    if not records:
        return rows
    begin, colon, end = records.partition(":")
    try:
        taken = rows[int(begin) if begin.strip() else None : int(end) if end.strip() else None]
    except ValueError as exc:
        raise DataError(f"data.records takes a slice such as 1000:5001, got {records!r}") from exc
    if not colon or not taken:
        raise DataError(f"data.records {records!r} takes none of the {len(rows):,} rows")
    return taken
