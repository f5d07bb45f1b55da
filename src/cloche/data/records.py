"""Records of JSON, JSON lines and Parquet files: objects with named fields, each with its place.

A `.json` holds a list of objects; one that begins with a brace has an object in each line, as
`.jsonl` does. All are read a record at a time, so what is held in memory is what is kept. A key
that comes twice, NaN and infinities are no JSON, though Python would read them.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from cloche.errors import SettingError, TextError
from cloche.text.detection import detect_encoding
from cloche.text.encodings import decode_blocks
from cloche.text.extras import missing_library
from cloche.text.rows import lines
from cloche.text.sources import SourceFile, find_sources, refuse_binary

SHOWN_PROBLEMS = 10
"""Problems named in one message; all are counted."""

_ENDINGS = (".json", ".jsonl", ".ndjson", ".parquet")
_SLICE = re.compile(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*")
_MOST_CHARACTERS = 256_000_000  # of one record; more is surely a mistake
_NEAR_THE_END = 16  # an error so near to the end of what was read may only be the cut there
_PARQUET_ROWS = 256
_PARQUET_BUFFER = 1 << 20  # bytes; without it, a column of a whole row group is read at once


@dataclass(frozen=True)
class Record:
    """One object of a file."""

    place: str
    """As messages call it: "data.json, record 7", counted from 1; in JSON lines, the line."""
    fields: Mapping[str, Any]
    number: int
    """Among all records of the files, from 0; a slice of them changes no number."""


class Problems:
    """What is wrong with records: the first few in words, the records counted."""

    def __init__(self) -> None:
        self.records = 0
        """Records with something wrong."""
        self._first: list[str] = []
        self._more = 0
        self._last = ""

    def add(self, place: str, problems: Iterable[str]) -> None:
        """What is wrong with the record at the place; nothing where there is no problem."""
        for problem in problems:
            self.records += place != self._last
            self._last = place
            if len(self._first) < SHOWN_PROBLEMS:
                self._first.append(f"{place}: {problem}")
            else:
                self._more += 1

    def refuse(self, *, of: int, what: str) -> None:
        """Raise TextError where there are any; `what` they are no good for, `of` how many."""
        if not self.records:
            return
        listed = "\n".join(f"  - {problem}" for problem in self._first)
        more = f"\n  - and {self._more:,} more" if self._more else ""
        raise TextError(
            f"{self.records:,} of {of:,} records cannot be {what}:\n{listed}{more}\n"
            "Mend these records, or leave them out"
        )


@dataclass(frozen=True)
class _Found:
    """What stands where a record should."""

    place: str
    value: object
    problem: str = ""


def read_records(
    paths: str | Path | Sequence[str | Path], *, records: str = "", encoding: str = "auto"
) -> list[Record]:
    """The records of one or several files, folders or patterns, in order, joined.

    `records` is a slice of all of them as Python's, "1000:5001", ":500" or "-100:", from 0 and
    without the end. `encoding` is that of text files, detected for each with "auto".

    Raises TextError where a file is none of .json, .jsonl and .parquet (.gz or .zst behind the
    first two), is damaged, holds no records, or where entries are no objects: the first ones are
    named and all counted. SettingError for a slice that is none or holds nothing.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    files = _files(given)
    start, stop = _parse_slice(records)
    total = None
    if (start or 0) < 0 or (stop or 0) < 0:
        total = sum(1 for _ in _all(files, encoding))
        start, stop, _ = slice(start, stop).indices(total)
    kept, problems = [], Problems()
    for number, found in enumerate(islice(_all(files, encoding), stop)):
        if number < (start or 0):
            continue
        if isinstance(found.value, Mapping) and not found.problem:
            kept.append(Record(found.place, found.value, number))
        else:
            problem = found.problem or f"it is no object with fields but {kind_of(found.value)}"
            problems.add(found.place, [problem])
    problems.refuse(of=len(kept) + problems.records, what="read")
    if not kept:
        total = sum(1 for _ in _all(files, encoding)) if total is None else total
        raise _nothing(files, records, total=total)
    return kept


def kind_of(value: object) -> str:
    """What a value of JSON is called."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number" if isinstance(value, int | float) else "no text")


def _parse_slice(text: str) -> tuple[int | None, int | None]:
    if not text:
        return None, None
    match = _SLICE.fullmatch(text)
    if match is None:
        raise SettingError(
            f"data.records {text!r} is no slice of records: write START:STOP, counted from 0 and "
            "without the record at STOP, such as 1000:5001, :500 or -100:"
        )
    start, stop = (None if part is None else int(part) for part in match.groups())
    return start, stop


def _nothing(files: Sequence[SourceFile], records: str, *, total: int) -> Exception:
    names = ", ".join(file.name for file in files)
    if not total:
        return TextError(f"{names} holds no records")
    return SettingError(
        f"data.records {records!r} holds none of the {total:,} records of {names}, which are "
        "counted from 0"
    )


def _files(given: Sequence[str | Path]) -> tuple[SourceFile, ...]:
    names = []
    for path in map(Path, given):
        names += _in_folder(path) if path.is_dir() else [str(path)]
    files = find_sources(names)
    other = [file.name for file in files if _ending(file) not in _ENDINGS]
    if other:
        raise TextError(
            f"records are read from .json, .jsonl and .parquet (.gz or .zst may stand behind the "
            f"first two), and {', '.join(other[:5])} is none: rename or convert it. Plain "
            "text is learned by cloche train, and by cloche tune --task text"
        )
    return files


def _in_folder(folder: Path) -> list[str]:
    endings = (*_ENDINGS, *(f"{end}{packed}" for end in _ENDINGS[:3] for packed in (".gz", ".zst")))
    found = sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, onerror=_unreadable)
        for name in names
        if name.lower().endswith(endings) and not name.startswith(".")
    )
    found = [path for path in found if os.path.isfile(path)]
    if not found:
        raise TextError(f"the folder {folder} holds no {', '.join(_ENDINGS)}")
    return found


def _unreadable(exc: OSError) -> None:
    """TextError for a folder that cannot be read; one that went away meanwhile holds nothing."""
    if not isinstance(exc, FileNotFoundError):
        raise TextError(f"the folder {exc.filename} cannot be read: {exc.strerror}") from exc


def _ending(source: SourceFile) -> str:
    path = source.path
    return (path.with_suffix("") if source.compressed else path).suffix.lower()


def _all(files: Sequence[SourceFile], encoding: str) -> Iterator[_Found]:
    for source in files:
        if source.format == "parquet":
            yield from _parquet_rows(source)
        else:
            yield from _json_values(source, encoding)


def _json_values(source: SourceFile, encoding: str) -> Iterator[_Found]:
    refuse_binary(source)
    codec = encoding
    with naming_own_option():
        if encoding == "auto":
            codec = detect_encoding(source.open_bytes, name=source.name)
    with naming_own_option(), source.open_bytes() as stream:
        pieces = decode_blocks(stream, codec, name=source.name)
        head = next((piece for piece in pieces if piece.strip()), "")
        text = chain([head], pieces)
        if _ending(source) == ".json" and head.lstrip().startswith("["):
            yield from _ListReader(text, source.name).values()
        else:
            yield from _line_values(text, source)


@contextmanager
def naming_own_option() -> Iterator[None]:
    """Inside, errors of an encoding name the option that records have for it, not that of texts."""
    try:
        yield
    except TextError as exc:
        if "text.encoding" not in str(exc):
            raise
        raise TextError(str(exc).replace("text.encoding", "data.encoding")) from exc


def _line_values(pieces: Iterable[str], source: SourceFile) -> Iterator[_Found]:
    for number, line in lines(pieces, name=source.name):
        if not line.strip():
            continue
        place = f"{source.name}, line {number}"
        try:
            yield _Found(place, _STRICT.decode(line))
        except RecursionError:
            yield _Found(place, None, "it is nested too deeply")
        except json.JSONDecodeError as exc:
            problem = f"it is no JSON ({exc.msg} at character {exc.pos + 1})"
            if _ending(source) == ".json":
                problem += "; a .json is a list, [{...}, {...}], or has a whole object in each line"
            yield _Found(place, None, problem)
        except ValueError as exc:
            yield _Found(place, None, str(exc))


class _ListReader:
    """The entries of a JSON list, one after the other, of a text that comes in pieces."""

    def __init__(self, pieces: Iterator[str], name: str) -> None:
        self._pieces = pieces
        self._name = name
        self._text = ""  # read, and not yet done with
        self._at = 0  # place in it
        self._line = 1  # at which it begins

    def values(self) -> Iterator[_Found]:
        """Every entry. TextError where the list itself is no JSON."""
        self._take()  # the opening bracket
        number = 0
        mark = self._peek()
        while mark != "]" or number:
            number += 1
            yield self._value(f"{self._name}, record {number}")
            mark = self._take()
            if mark == "]":
                break
            if mark != ",":
                raise self._malformed(
                    f"behind record {number} a comma or ] must stand, not {mark or 'the end'}"
                )
        else:
            self._take()
        if self._peek():
            raise self._malformed("it goes on behind the end of its list")

    def _value(self, place: str) -> _Found:
        self._peek()
        decoder, problem = _STRICT, ""
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except RecursionError as exc:
                raise TextError(f"{place} is nested too deeply") from exc
            except json.JSONDecodeError as exc:
                if self._may_be_cut(exc) and self._fill():
                    continue
                self._at = exc.pos
                raise self._malformed(f"{place} is no JSON ({exc.msg})") from exc
            except ValueError as exc:
                if decoder is _PLAIN:  # a number of too many digits, for one
                    raise TextError(f"{place} is no JSON that can be read ({exc})") from exc
                decoder, problem = _PLAIN, str(exc)  # goes over it, to find the next one
                continue
            self._at = end
            return _Found(place, value, problem)

    def _may_be_cut(self, exc: json.JSONDecodeError) -> bool:
        near = exc.pos >= len(self._text) - _NEAR_THE_END
        return near or exc.msg.startswith("Unterminated string")

    def _peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\n\r":
                    return self._text[self._at]
                self._at += 1
            if not self._fill():
                return ""

    def _take(self) -> str:
        mark = self._peek()
        self._at += len(mark)
        return mark

    def _fill(self) -> bool:
        """Read on, at least as much as is held: so a long entry is begun again only few times."""
        self._line += self._text.count("\n", 0, self._at)
        parts, length = [self._text[self._at :]], 0
        held = len(parts[0])
        if held > _MOST_CHARACTERS:
            raise self._malformed(f"an entry is longer than {_MOST_CHARACTERS:,} characters")
        while length < max(1, held) and (piece := next(self._pieces, "")):
            parts.append(piece)
            length += len(piece)
        self._text, self._at = "".join(parts), 0
        return bool(length)

    def _malformed(self, problem: str) -> TextError:
        line = self._line + self._text.count("\n", 0, self._at)
        return TextError(f"{self._name}: line {line}: {problem}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it has the key {twice!r} twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"it holds {name}, which JSON does not know")


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)
_PLAIN = json.JSONDecoder()


def _parquet_rows(source: SourceFile) -> Iterator[_Found]:
    name = source.name
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as exc:
        raise missing_library("pyarrow", name=name, what="a Parquet file") from exc
    with source.open_bytes():  # tells a file that cannot be opened
        pass
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(
            source.path, buffer_size=_PARQUET_BUFFER, pre_buffer=False
        ) as file:
            for batch in file.iter_batches(_PARQUET_ROWS, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield _Found(f"{name}, row {number}", row)
    except (pyarrow.ArrowException, OSError) as exc:
        raise TextError(f"{name} is damaged, or no Parquet file ({exc}); fetch it again") from exc
    except UnicodeDecodeError as exc:
        raise TextError(f"{name}: after row {number} comes text that is no UTF-8 ({exc})") from exc
