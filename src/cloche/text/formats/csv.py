"""The rows of comma- or tab-separated files as documents."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from cloche.errors import TextError
from cloche.text.encodings import decode_blocks
from cloche.text.formats.columns import ROW_ADVICE, no_column
from cloche.text.rows import TEXT_COLUMN, RowCount
from cloche.text.sources import SourceFile

_DELIMITERS = (",", "\t", ";")
_CELL_CHARACTERS = 256_000_000  # a row is in memory whole; more is surely a quote left open


def csv_documents(
    source: SourceFile, *, encoding: str, column: str | None, skipped: RowCount | None
) -> Iterator[tuple[str, Iterator[str]]]:
    """A document for each row: "NAME, row 7" and what stands in the column, `text` if not named.

    The first row names the columns. Cells are separated by commas, tabs or semicolons, whichever
    finds the column there. Raises TextError where there is no such column, and at the first row
    that has not as many cells as there are columns; where `skipped` is given, such rows are counted
    there instead.
    """
    name = source.name
    # The limit of the csv module, one for the whole process, is less than a long text has.
    csv.field_size_limit(_CELL_CHARACTERS)
    with source.open_bytes() as stream:
        lines = _lines(decode_blocks(stream, encoding, name=name), name=name)
        first = next(lines, "")
        if not first.strip():
            raise TextError(f"{name} does not begin with a row that names its columns")
        rows = _Rows(chain([first], lines), _delimiter(first, column or TEXT_COLUMN), name=name)
        header = rows.next_row() or []
        index = _column_index(header, column or TEXT_COLUMN, name=name)
        number = 0
        while rows.more:
            try:
                row = rows.next_row(cells=len(header))
            except TextError:
                if skipped is None:
                    raise
                skipped.bad += 1
                continue
            if row:
                number = rows.number
                yield f"{name}, row {number}", iter([row[index]] if row[index] else [])


class _Rows:
    """Rows one by one, each checked when it is asked for; those that are blank are empty."""

    def __init__(self, lines: Iterable[str], delimiter: str, *, name: str) -> None:
        self.more = True
        self.number = -1
        """Of the row that was read last: 1 for the first below the names of the columns."""
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)
        self._name = name

    def next_row(self, *, cells: int | None = None) -> list[str]:
        """The next row; TextError where it is no CSV or has another number of cells."""
        line = self._reader.line_num + 1
        try:
            row = next(self._reader, None)
        except csv.Error as exc:
            self.number += 1
            raise self._bad(line, f"is no CSV ({exc}): is there a quote too many?") from exc
        self.more = row is not None
        if not row:
            return []
        self.number += 1
        if cells is None:
            return row
        if len(row) < cells or any(row[cells:]):  # empty ones behind the last do no harm
            raise self._bad(
                line, f"has {len(row)} cells for {cells} columns; text with separators needs quotes"
            )
        return row

    def _bad(self, line: int, problem: str) -> TextError:
        place = f"{self._name}: row {self.number} (line {line})" if self.number else self._name
        return TextError(f"{place} {problem}; {ROW_ADVICE}")


def _lines(pieces: Iterable[str], *, name: str) -> Iterator[str]:
    """Lines with their ends."""
    number, parts, length = 1, [], 0
    for piece in pieces:
        *ended, rest = piece.split("\n")
        for part in ended:
            yield "".join([*parts, part, "\n"])
            number, parts, length = number + 1, [], 0
        parts.append(rest)
        length += len(rest)
        if length > _CELL_CHARACTERS:
            raise TextError(
                f"{name}: line {number} is longer than {_CELL_CHARACTERS:,} characters, which is "
                f"no row of a table; text of one piece belongs in a .txt file"
            )
    if length:
        yield "".join(parts)


def _delimiter(first: str, column: str) -> str:
    """What separates the cells: what finds the column in the first line, else what finds most."""
    found = {delimiter: next(csv.reader([first], delimiter=delimiter)) for delimiter in _DELIMITERS}
    fitting = [delimiter for delimiter in _DELIMITERS if column in found[delimiter]]
    return max(fitting or _DELIMITERS, key=lambda delimiter: len(found[delimiter]))


def _column_index(header: Sequence[str], column: str, *, name: str) -> int:
    if header.count(column) > 1:
        raise TextError(f"{name} has {header.count(column)} columns named {column!r}; rename one")
    if column not in header:
        raise no_column(column, header, name=name)
    return header.index(column)
