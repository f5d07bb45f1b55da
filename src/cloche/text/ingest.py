"""Sources to documents: what a source holds, and its text in pieces of bounded size.

A `.txt` or `.md` file is one document, a row of a `.jsonl` file another each. A source is inspected
once (encoding, size, fingerprint, bad rows), then read as often as needed. Text files are never in
memory whole; of `.jsonl`, one row is.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cloche.errors import TextError
from cloche.text.detection import detect_encoding
from cloche.text.encodings import decode_blocks, decoder_name, find_lone_surrogate, surrogate_error
from cloche.text.sources import SourceFile, find_sources, refuse_binary

__all__ = [
    "PIECE_CHARACTERS",
    "Document",
    "SourceFile",
    "SourceReport",
    "documents",
    "find_sources",
    "inspect_source",
    "require_text",
]

PIECE_CHARACTERS = 1_000_000
"""Most characters in one piece of a document."""

_ROW_CHARACTERS = 256_000_000  # one row of .jsonl is in memory whole; more is surely a mistake


@dataclass(frozen=True)
class SourceReport:
    """What a source holds."""

    path: str
    encoding: str
    """As detected or given; `--text.encoding` takes it."""
    characters: int
    """Of all its documents."""
    documents: int
    """Those with any text."""
    utf8_sha256: str
    """Of the whole decoded source as UTF-8: the same whatever encoding it came in."""
    utf8_bytes: int
    """Of that UTF-8."""
    bad_rows: int = 0
    """Rows of .jsonl that were skipped."""
    blank: bool = False
    """Whether there is nothing but white space."""


@dataclass(frozen=True)
class Document:
    """One text, to be tokenized by itself."""

    name: str
    """Its file; of a row, with the line."""
    _open: Callable[[], Iterator[str]] = field(repr=False)

    def pieces(self) -> Iterator[str]:
        """The text from its beginning, in pieces of at most PIECE_CHARACTERS, none empty."""
        return self._open()


@dataclass
class RowCount:
    """How many rows of .jsonl were skipped so far."""

    bad: int = 0


def inspect_source(
    source: SourceFile, *, encoding: str | None = None, skip_bad: bool = False
) -> SourceReport:
    """What `source` holds, found by reading all of it once or twice in bounded memory.

    The encoding is detected where none is given. Raises TextError at the first thing that is no
    text (bytes, NUL, half a surrogate pair, damaged gzip) and at the first bad row; with
    `skip_bad`, bad rows are counted instead.
    """
    refuse_binary(source)
    if encoding is None:
        encoding = detect_encoding(source.open_bytes, name=source.name)
    seen = _Seen()
    count = RowCount()
    characters = number = 0
    blank = True
    for document in _documents(source, encoding, skipped=count if skip_bad else None, seen=seen):
        before = characters
        for piece in document.pieces():
            characters += len(piece)
            blank = blank and not piece.strip()
        number += characters > before
    return SourceReport(
        path=source.name,
        encoding=encoding,
        characters=characters,
        documents=number,
        utf8_sha256=seen.digest.hexdigest(),
        utf8_bytes=seen.utf8_bytes,
        bad_rows=count.bad,
        blank=blank,
    )


def documents(source: SourceFile, encoding: str, *, skip_bad: bool = False) -> Iterator[Document]:
    """The documents of `source` in order, without empty ones; `encoding` is its report's.

    Raises TextError as `inspect_source` does, while iterating.
    """
    return _documents(source, encoding, skipped=RowCount() if skip_bad else None, seen=None)


def require_text(reports: Sequence[SourceReport]) -> None:
    """Raise TextError where all sources together hold nothing but white space."""
    if all(report.blank for report in reports):
        names = ", ".join(report.path for report in reports)
        raise TextError(f"there is no text in {names}: nothing, or white space only")


@dataclass
class _Seen:
    """Fingerprint and size of the text that went by."""

    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    utf8_bytes: int = 0

    def add(self, text: str) -> None:
        data = text.encode("utf-8")
        self.digest.update(data)
        self.utf8_bytes += len(data)


def _documents(
    source: SourceFile, encoding: str, *, skipped: RowCount | None, seen: _Seen | None
) -> Iterator[Document]:
    decoder_name(encoding)  # an unknown name is told before anything is read

    def text() -> Iterator[str]:
        with source.open_bytes() as stream:
            for block in decode_blocks(stream, encoding, name=source.name):
                if seen is not None:
                    seen.add(block)
                yield block  # shorter than PIECE_CHARACTERS, as BLOCK_BYTES is

    if source.rows:
        yield from _row_documents(text(), name=source.name, skipped=skipped)
    elif seen is not None or any(text()):  # an empty file holds no document
        yield Document(source.name, text)


def _row_documents(
    pieces: Iterator[str], *, name: str, skipped: RowCount | None
) -> Iterator[Document]:
    for number, line in _lines(pieces, name=name):
        if not line.strip():
            continue
        try:
            text = _row_text(line, name=name, number=number)
        except TextError:
            if skipped is None:
                raise
            skipped.bad += 1
            continue
        if text:
            yield Document(f"{name}, line {number}", lambda text=text: _slices(text))


def _lines(pieces: Iterator[str], *, name: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from 1. Only a line feed ends one: JSON may hold the others."""
    number, parts, length = 1, [], 0
    for piece in pieces:
        *ended, rest = piece.split("\n")
        for part in ended:
            yield number, "".join([*parts, part])
            number, parts, length = number + 1, [], 0
        parts.append(rest)
        length += len(rest)
        if length > _ROW_CHARACTERS:
            raise TextError(
                f"{name}: line {number} is longer than {_ROW_CHARACTERS:,} characters; a .jsonl "
                f"file has one JSON object a line. Text of one piece belongs in a .txt file"
            )
    if length:
        yield number, "".join(parts)


def _row_text(line: str, *, name: str, number: int) -> str:
    """The `text` of one row."""
    place = f"{name}: line {number}"
    advice = "mend the row, or skip such rows with --text.skip-bad"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise TextError(f"{place} is no JSON ({exc}); {advice}") from exc
    if not isinstance(row, dict):
        raise TextError(f"{place} is not a JSON object but {_kind(row)}; {advice}")
    if "text" not in row:
        keys = ", ".join(map(repr, sorted(row)[:8])) or "nothing"
        raise TextError(f'{place} has no "text" (it has {keys}); {advice}')
    text = row["text"]
    if not isinstance(text, str):
        raise TextError(f'{place}: "text" is not a string but {_kind(text)}; {advice}')
    if half := find_lone_surrogate(text):
        raise surrogate_error(name, line=number, character=half[0])
    if "\0" in text:
        raise TextError(f'{place}: "text" holds a NUL character, which text never holds; {advice}')
    return text


def _kind(value: object) -> str:
    """What a JSON value is called."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def _slices(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_CHARACTERS):
        yield text[start : start + PIECE_CHARACTERS]
