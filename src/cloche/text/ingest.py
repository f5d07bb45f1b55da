"""Sources to documents: what a source holds, and its text in pieces of bounded size.

A `.txt` or `.md` file is one document, a row of a `.jsonl` file another each; other formats:
`formats/`. A source is inspected once (encoding, size, fingerprint, bad rows), then read as often
as needed, whole or in ranges. Text files are never in memory whole; of `.jsonl`, one row is.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, pairwise

from cloche.errors import TextError
from cloche.text.detection import detect_encoding
from cloche.text.encodings import Place, decode_blocks, decoder_name
from cloche.text.formats.reading import format_encoding, open_documents
from cloche.text.ranges import concrete_codec, cut_places
from cloche.text.rows import PIECE_CHARACTERS, Document, RowCount, lines, row_documents, slices
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

PLAIN_FORMATS = ("text", "jsonl")


@dataclass(frozen=True)
class SourceReport:
    """What a source holds."""

    path: str
    encoding: str
    """As detected or given; `--text.encoding` takes it. The format's name where that says it."""
    characters: int
    """Of all its documents."""
    documents: int
    """Those with any text."""
    utf8_sha256: str
    """Of the whole decoded source as UTF-8: the same whatever encoding it came in."""
    utf8_bytes: int
    """Of that UTF-8."""
    bad_rows: int = 0
    """Rows that were skipped."""
    blank: bool = False
    """Whether there is nothing but white space."""


@dataclass(frozen=True)
class SourceRange:
    """A stretch of a source that is read by itself."""

    start: int = 0
    """First byte."""
    stop: int | None = None
    """Byte behind the last; None for the end of the source."""
    line: int = 1
    """Line of the first byte."""
    characters: int = 0
    documents: int = 0
    """Those with any text that begin in it."""
    ends: bool = True
    """Whether its last document ends in it; running text may go on in the next range."""


WHOLE = SourceRange()


@dataclass(frozen=True)
class Inspection:
    """What a source holds, and the ranges it can be read in."""

    report: SourceReport
    ranges: tuple[SourceRange, ...]
    """In order; joined they are the source."""
    codec: str
    """What decodes any of the ranges."""


def inspect_source(
    source: SourceFile,
    *,
    encoding: str | None = None,
    skip_bad: bool = False,
    column: str | None = None,
) -> SourceReport:
    """What `source` holds, found by reading all of it once or twice in bounded memory.

    The encoding is detected where none is given. Raises TextError at the first thing that is no
    text (bytes, NUL, half a surrogate pair, damaged gzip) and at the first bad row; with
    `skip_bad`, bad rows are counted instead. `column` names what holds the text of rows.
    """
    return inspect_ranges(source, encoding=encoding, skip_bad=skip_bad, column=column).report


def inspect_ranges(
    source: SourceFile,
    *,
    encoding: str | None = None,
    skip_bad: bool = False,
    column: str | None = None,
    every_bytes: int | None = None,
) -> Inspection:
    """`inspect_source`, and the ranges of about `every_bytes` that the source can be read in.

    One range where `every_bytes` is not given or the source cannot be cut.
    """
    refuse_binary(source)
    if source.format not in PLAIN_FORMATS:
        return _inspect_format(source, encoding=encoding, skip_bad=skip_bad, column=column)
    if encoding is None:
        encoding = detect_encoding(source.open_bytes, name=source.name)
    codec = concrete_codec(source, encoding)
    cuts = cut_places(source, codec, every_bytes=every_bytes) if every_bytes else []
    seen, skipped, line = _Seen(), RowCount(), 1
    ranges = []
    for start, stop in pairwise([0, *cuts, None]):
        part = SourceRange(start=start or 0, stop=stop, line=line)
        counted = _Counted()
        counted.add(
            _documents(
                source,
                encoding if not start else codec,
                skipped=skipped if skip_bad else None,
                seen=seen,
                part=part,
                column=column,
            )
        )
        ends = source.rows or stop is None
        documents = counted.documents if source.rows or start == 0 else 0
        ranges.append(replace(part, characters=counted.characters, documents=documents, ends=ends))
        seen.blank = seen.blank and counted.blank
        line += seen.take_lines()
    report = _report(source, encoding, ranges, seen=seen, skipped=skipped)
    return Inspection(report, tuple(ranges), codec)


def documents(
    source: SourceFile,
    encoding: str,
    *,
    skip_bad: bool = False,
    column: str | None = None,
    part: SourceRange = WHOLE,
) -> Iterator[Document]:
    """The documents of `source` in order, without empty ones; `encoding` is its report's.

    Of a range, those that begin in it; of running text, what of it lies there (`encoding` is then
    the inspection's codec). Raises TextError as `inspect_source` does, while iterating.
    """
    skipped = RowCount() if skip_bad else None
    if source.format not in PLAIN_FORMATS:
        return _format_documents(source, encoding, skipped=skipped, column=column)
    return _documents(source, encoding, skipped=skipped, seen=None, part=part, column=column)


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
    lines: int = 0
    blank: bool = True

    def add(self, text: str) -> None:
        data = text.encode("utf-8")
        self.digest.update(data)
        self.utf8_bytes += len(data)
        self.lines += data.count(b"\n")

    def take_lines(self) -> int:
        """Line ends since it was last asked."""
        lines, self.lines = self.lines, 0
        return lines


@dataclass
class _Counted:
    """What some documents hold."""

    characters: int = 0
    documents: int = 0
    blank: bool = True

    def add(self, found: Iterable[Document]) -> None:
        for document in found:
            before = self.characters
            for piece in document.pieces():
                self.characters += len(piece)
                self.blank = self.blank and piece.isspace()
            self.documents += self.characters > before


def _report(
    source: SourceFile,
    encoding: str,
    ranges: Sequence[SourceRange],
    *,
    seen: _Seen,
    skipped: RowCount,
) -> SourceReport:
    return SourceReport(
        path=source.name,
        encoding=encoding,
        characters=sum(part.characters for part in ranges),
        documents=sum(part.documents for part in ranges),
        utf8_sha256=seen.digest.hexdigest(),
        utf8_bytes=seen.utf8_bytes,
        bad_rows=skipped.bad,
        blank=seen.blank,
    )


def _documents(
    source: SourceFile,
    encoding: str,
    *,
    skipped: RowCount | None,
    seen: _Seen | None,
    part: SourceRange,
    column: str | None,
) -> Iterator[Document]:
    decoder_name(encoding)  # an unknown name is told before anything is read

    def text() -> Iterator[str]:
        place = Place(byte=part.start, line=part.line)
        with source.open_bytes(part.start, part.stop) as stream:
            for block in decode_blocks(stream, encoding, name=source.name, start=place):
                if seen is not None:
                    seen.add(block)
                yield block  # shorter than PIECE_CHARACTERS, as BLOCK_BYTES is

    if source.rows:
        rows = lines(text(), name=source.name, first=part.line)
        yield from row_documents(rows, name=source.name, skipped=skipped, column=column)
    elif seen is not None or any(text()):  # an empty file holds no document
        yield Document(source.name, text)


def _inspect_format(
    source: SourceFile, *, encoding: str | None, skip_bad: bool, column: str | None
) -> Inspection:
    """What a source holds that is no plain text: the text taken from it, document by document."""
    if encoding is None and source.has_encoding:
        encoding = format_encoding(source)
    skipped = RowCount()
    found = open_documents(
        source, encoding=encoding, column=column, skipped=skipped if skip_bad else None
    )
    seen, counted = _Seen(), _Counted()

    def watched(pieces: Iterator[str]) -> Iterator[str]:
        for piece in pieces:
            seen.add(piece)
            yield piece
        seen.digest.update(b"\0")  # where a document ends; no text holds it

    counted.add(Document(name, partial(watched, pieces)) for name, pieces in found)
    seen.blank = counted.blank
    named = encoding if encoding is not None else source.format
    whole = SourceRange(characters=counted.characters, documents=counted.documents)
    report = _report(source, named, [whole], seen=seen, skipped=skipped)
    return Inspection(report, (whole,), named)


def _format_documents(
    source: SourceFile, encoding: str, *, skipped: RowCount | None, column: str | None
) -> Iterator[Document]:
    given = encoding if source.has_encoding else None
    for name, pieces in open_documents(source, encoding=given, column=column, skipped=skipped):
        first = next((piece for piece in pieces if piece), None)
        if first is not None:
            yield Document(name, partial(_sliced, chain([first], pieces)))


def _sliced(pieces: Iterable[str]) -> Iterator[str]:
    return chain.from_iterable(map(slices, pieces))
