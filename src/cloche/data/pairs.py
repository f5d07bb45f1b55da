"""Pairs of a source and a target, from tables and JSON: what to learn to translate from.

A `.tsv` or `.txt` has a pair in each line, the cells parted by tabs and never quoted, as sentence
collections come; a `.csv` quotes cells as spreadsheets do; a `.jsonl` has an object in each line,
a `.json` a list of them; on standard input, lines that begin with a brace are such objects. White
space around a cell is no part of it. Every row that is no pair is named with what is wrong, or
counted where the caller skips such rows.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloche.errors import TextError
from cloche.text.detection import detect_encoding
from cloche.text.encodings import decode_blocks, find_lone_surrogate
from cloche.text.rows import lines
from cloche.text.sources import STANDARD_INPUT, SourceFile, refuse_binary

USUAL_COLUMNS = ("source", "target")
"""What the two columns or keys are called, unless others are named."""

_DELIMITERS = (",", "\t", ";")
_MOST_JSON_CHARACTERS = 256_000_000  # a .json is in memory whole
_SHOWN_PROBLEMS = 5


@dataclass(frozen=True)
class Pair:
    """A text and what is to be made of it."""

    source: str
    target: str


@dataclass
class BadRows:
    """The rows that were no pairs: how many, and what was wrong with the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """One more, with its place and what is wrong."""
        self.count += 1
        if len(self.first) < _SHOWN_PROBLEMS:
            self.first.append(problem)

    def to_error(self, pairs: int) -> TextError:
        """An error that names the first of them and counts all."""
        more = self.count - len(self.first)
        listed = "\n".join([*(f"  - {problem}" for problem in self.first)])
        rest = f"\n  - and {more:,} more" if more else ""
        return TextError(
            f"{self.count:,} of {pairs + self.count:,} rows are no pairs:\n{listed}{rest}\n"
            "Mend them, or skip such rows with --text.skip-bad"
        )


@dataclass(frozen=True)
class PairReport:
    """What a file of pairs holds."""

    path: str
    encoding: str
    pairs: int
    characters: int
    """Of all sources and targets."""
    utf8_sha256: str
    """Of all pairs in order, whatever file and encoding they came in."""
    bad_rows: int
    first_row_is_pair: bool
    """Whether the first row of a table was taken for a pair, as it names no columns."""


def inspect_pairs(
    sources: Sequence[SourceFile],
    *,
    encoding: str | None = None,
    columns: Sequence[str] = (),
    skip_bad: bool = False,
) -> list[PairReport]:
    """What each file holds, all of it read once.

    `columns` names the two columns or keys, or gives the numbers of two columns, from 1. Raises
    TextError where a file is no text or no table of pairs, where nothing but blanks is in all
    together, and for rows that are no pairs: the first are named and all counted, unless `skip_bad`
    says to count them only.
    """
    reports, bad = [], BadRows()
    for source in sources:
        before = bad.count
        codec = _encoding(source, encoding)
        digest, pairs, characters = hashlib.sha256(), 0, 0
        table = _open(source, codec, columns=columns, bad=bad)
        for pair in table.pairs():
            pairs, characters = pairs + 1, characters + len(pair.source) + len(pair.target)
            digest.update(
                f"{len(pair.source)} {pair.source}{len(pair.target)} {pair.target}".encode()
            )
        reports.append(
            PairReport(
                path=source.name,
                encoding=codec,
                pairs=pairs,
                characters=characters,
                utf8_sha256=digest.hexdigest(),
                bad_rows=bad.count - before,
                first_row_is_pair=table.first_row_is_pair,
            )
        )
    pairs = sum(report.pairs for report in reports)
    if bad.count and not skip_bad:
        raise bad.to_error(pairs)
    if not pairs:
        raise TextError(f"there are no pairs in {', '.join(report.path for report in reports)}")
    return reports


def read_pairs(
    sources: Sequence[SourceFile], reports: Sequence[PairReport], *, columns: Sequence[str] = ()
) -> Iterator[Pair]:
    """The pairs of files that `inspect_pairs` has reported on, in order, without the bad rows."""
    for source, report in zip(sources, reports, strict=True):
        yield from _open(source, report.encoding, columns=columns, bad=BadRows()).pairs()


def describe_pairs(reports: Sequence[PairReport]) -> list[str]:
    """What was found, in lines for the screen."""
    found = []
    for report in reports:
        bad = f", {report.bad_rows:,} bad rows skipped" if report.bad_rows else ""
        first = "; its first row is taken for a pair" if report.first_row_is_pair else ""
        found.append(f"{report.path}: {report.encoding}, {report.pairs:,} pairs{bad}{first}")
    return found


class _Rows:
    """The rows of a file as pairs; `bad` is told of those that are none."""

    def __init__(
        self, source: SourceFile, encoding: str, columns: Sequence[str], bad: BadRows
    ) -> None:
        self.source = source
        self.encoding = encoding
        self.columns = tuple(columns)
        self.bad = bad
        self.first_row_is_pair = False

    def pairs(self) -> Iterator[Pair]:
        """The pairs in order."""
        raise NotImplementedError

    def text(self) -> Iterator[str]:
        """The file's text in pieces."""
        refuse_binary(self.source)
        with self.source.open_bytes() as stream:
            yield from decode_blocks(stream, self.encoding, name=self.source.name)

    def lines(self) -> Iterator[tuple[int, str]]:
        return lines(self.text(), name=self.source.name)

    def checked(self, texts: Sequence[str], place: str) -> list[Pair]:
        """The pair of two texts; none, and why, where one of them cannot be used."""
        stripped = [text.strip() for text in texts]
        for text, name in zip(stripped, USUAL_COLUMNS, strict=True):
            if not text:
                self.bad.add(f"{place} has no {name}")
                return []
            if "\0" in text or find_lone_surrogate(text):
                self.bad.add(f"{place}: its {name} holds half a character or a NUL")
                return []
        return [Pair(*stripped)]


class _Table(_Rows):
    """Cells in columns: the first row names them, or is a pair where it names none."""

    most_unnamed: int | None = None
    """Most columns whose first two are taken where nothing names them; None for any number, as in
    collections of sentences, where a note follows the pair."""

    def pairs(self) -> Iterator[Pair]:
        places = None
        for place, cells in self.rows():
            if places is None:
                places = self._places(cells)
                if not self.first_row_is_pair:
                    continue
            if max(places) >= len(cells):
                self.bad.add(f"{place} has {_count(len(cells), 'cell')}, and a pair needs 2")
                continue
            yield from self.checked([cells[number] for number in places], place)

    def rows(self) -> Iterator[tuple[str, list[str]]]:
        """Place and cells of each row that is not blank."""
        for number, line in self.lines():
            if line.strip():
                yield f"{self.source.name}, line {number}", line.split("\t")

    def _places(self, first: Sequence[str]) -> tuple[int, int]:
        """Where in a row source and target stand, found in the first one."""
        wanted = self.columns or USUAL_COLUMNS
        names = [cell.strip() for cell in first]
        if all(name in names for name in wanted):
            return names.index(wanted[0]), names.index(wanted[1])
        if self.columns and not all(name.isdecimal() and int(name) > 0 for name in wanted):
            raise _no_columns(self.source.name, wanted, names)
        self.first_row_is_pair = True
        if self.columns:
            return int(wanted[0]) - 1, int(wanted[1]) - 1
        if len(first) > (self.most_unnamed or len(first)):
            raise TextError(
                f"{self.source.name} has {len(first)} columns, none of them called "
                f"{' or '.join(map(repr, wanted))}: its first row holds "
                f"{', '.join(map(repr, names[:12]))}. Name two of them with --data.pair-columns, "
                "or give their numbers, from 1, where the first row is a pair itself"
            )
        if len(first) < 2:
            raise TextError(
                f"{self.source.name} holds no pairs: its first line has no two cells, source and "
                "target, parted by a tab (in .csv by a comma); .jsonl and .json have a "
                '"source" and a "target"'
            )
        return 0, 1


class _QuotedTable(_Table):
    """Cells parted by commas, tabs or semicolons, in quotes where they hold one of these."""

    most_unnamed = 2

    def rows(self) -> Iterator[tuple[str, list[str]]]:
        """Place and cells of each row that is not blank."""
        name = self.source.name
        numbered = self.lines()
        _, first = next(numbered, (1, ""))
        texts = (f"{line}\n" for line in _first_again(first, numbered))
        reader = csv.reader(texts, delimiter=self._delimiter(first), strict=True)
        while True:
            place = f"{name}, line {reader.line_num + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as exc:
                self.bad.add(f"{place} is no CSV ({exc}): is there a quote too many?")
                continue
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield place, cells

    def _delimiter(self, first: str) -> str:
        """What parts the cells: what finds the columns in the first line, else what parts most."""
        wanted = set(self.columns or USUAL_COLUMNS)
        found = {mark: next(csv.reader([first], delimiter=mark), []) for mark in _DELIMITERS}
        fitting = [mark for mark in _DELIMITERS if wanted <= set(found[mark])]
        return max(fitting or _DELIMITERS, key=lambda mark: len(found[mark]))


class _Objects(_Rows):
    """A JSON object in each line."""

    def pairs(self) -> Iterator[Pair]:
        for place, row in self.objects():
            keys = self.columns or USUAL_COLUMNS
            if not isinstance(row, dict):
                self.bad.add(f"{place} is no JSON object")
                continue
            if missing := [key for key in keys if key not in row]:
                there = ", ".join(map(repr, list(row)[:8])) or "nothing"
                self.bad.add(
                    f"{place} has no {missing[0]!r}, it has {there} (the two can be named with "
                    "--data.pair-columns)"
                )
                continue
            texts = [row[key] for key in keys]
            if not all(isinstance(text, str) for text in texts):
                self.bad.add(f"{place}: {keys[0]!r} and {keys[1]!r} must both be strings")
                continue
            yield from self.checked(texts, place)

    def objects(self) -> Iterator[tuple[str, Any]]:
        """Place and value of each row."""
        for number, line in self.lines():
            if not line.strip():
                continue
            place = f"{self.source.name}, line {number}"
            try:
                yield place, json.loads(line)
            except (ValueError, RecursionError) as exc:
                self.bad.add(f"{place} is no JSON ({exc})")


class _ObjectList(_Objects):
    """A JSON list of objects."""

    def objects(self) -> Iterator[tuple[str, Any]]:
        """Place and value of each entry."""
        name, parts, length = self.source.name, [], 0
        for piece in self.text():
            parts.append(piece)
            length += len(piece)
            if length > _MOST_JSON_CHARACTERS:
                raise TextError(
                    f"{name} is longer than {_MOST_JSON_CHARACTERS:,} characters: save it as "
                    ".jsonl, an object a line, which is read line by line"
                )
        try:
            values = json.loads("".join(parts))
        except (ValueError, RecursionError) as exc:
            raise TextError(f"{name} is no JSON: {exc}") from exc
        if not isinstance(values, list):
            raise TextError(f"{name} holds no JSON list of pairs, but one value of another kind")
        for number, value in enumerate(values, start=1):
            yield f"{name}, entry {number}", value


def _open(source: SourceFile, encoding: str, *, columns: Sequence[str], bad: BadRows) -> _Rows:
    """The file as what its ending says it is."""
    ending = _ending(source)
    if source.format == "jsonl" or _is_piped_json(source, encoding):
        return _Objects(source, encoding, columns, bad)
    if ending == ".json":
        return _ObjectList(source, encoding, columns, bad)
    if ending == ".csv":
        return _QuotedTable(source, encoding, columns, bad)
    if source.format in ("csv", "text"):
        return _Table(source, encoding, columns, bad)
    raise TextError(f"pairs are read from .tsv, .csv, .jsonl and .json, and {source.name} is none")


def _is_piped_json(source: SourceFile, encoding: str) -> bool:
    """Whether standard input, which has no ending, begins as a line of JSON does."""
    if source.name != STANDARD_INPUT:
        return False
    with source.open_bytes() as stream:
        for text in decode_blocks(stream, encoding, name=source.name):
            if begin := text.lstrip():
                return begin.startswith("{")
    return False


def _encoding(source: SourceFile, given: str | None) -> str:
    refuse_binary(source)
    return given or detect_encoding(source.open_bytes, name=source.name)


def _ending(source: SourceFile) -> str:
    """The ending that tells the format, without that of the compression."""
    path = Path(source.name)
    return (path.with_suffix("") if source.compressed else path).suffix.lower()


def _first_again(first: str, numbered: Iterable[tuple[int, str]]) -> Iterator[str]:
    yield first
    for _, line in numbered:
        yield line


def _no_columns(name: str, wanted: Sequence[str], there: Sequence[str]) -> TextError:
    return TextError(
        f"{name} has no columns {wanted[0]!r} and {wanted[1]!r}: its first row holds "
        f"{', '.join(map(repr, there[:12]))}. Name two of them with --data.pair-columns, or give "
        "their numbers, from 1, where the first row is a pair itself"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
