"""The text of a preparation in its two parts: what belongs to training, what to validation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cloche.data.spec import TRAIN, VALIDATION, PartName, Piece, Spec
from cloche.text.ingest import Document, documents


@dataclass
class Stretch:
    """Text of one document in one part; read `pieces` to their end, then ask the rest."""

    part: PartName
    pieces: Iterator[str]
    ends: bool = False
    """Whether the document's true end lies in it."""
    closes: bool = False
    """Whether nothing more of the document follows in this part."""


def stretches(spec: Spec, pieces: Iterable[Piece]) -> Iterator[Stretch]:
    """The stretches of these pieces in the order of the text; each is to be read before the next.

    Raises DataError where a source has changed, and what reading it raises.
    """
    for piece in pieces:
        source = spec.sources[piece.source]
        source.check_unchanged()
        found = documents(
            source.file,
            source.encoding,
            skip_bad=spec.skip_bad,
            column=spec.column,
            part=piece.range,
        )
        if spec.split.by == "position":
            yield from _cut_at_position(spec, piece, found)
        else:
            yield from _whole_documents(spec, piece, found)
        source.check_unchanged()


def _whole_documents(spec: Spec, piece: Piece, found: Iterable[Document]) -> Iterator[Stretch]:
    ends = piece.range.ends
    for number, document in enumerate(found, start=piece.document):
        key = number if spec.split.by == "document" else piece.source
        yield Stretch(spec.split.part_of(key), document.pieces(), ends=ends, closes=ends)


def _cut_at_position(spec: Spec, piece: Piece, found: Iterable[Document]) -> Iterator[Stretch]:
    position, cut, ends = piece.character, spec.split.cut, piece.range.ends
    for document in found:
        rest = document.pieces()
        if position < cut:
            reader = _Reader(rest, room=cut - position)
            stretch = Stretch(TRAIN, iter(()))
            stretch.pieces = reader.before(stretch, ends=ends)
            yield stretch
            position += reader.read
            if stretch.ends or reader.remainder is None:
                continue
            rest = reader.after()
        yield Stretch(VALIDATION, rest, ends=ends, closes=ends)


@dataclass
class _Reader:
    """A document's pieces up to a number of characters, and those behind them."""

    pieces: Iterator[str]
    room: int
    read: int = 0
    remainder: str | None = field(default=None)
    """The text at hand behind the cut; None where the document goes no further."""

    def before(self, stretch: Stretch, *, ends: bool) -> Iterator[str]:
        """The pieces before the cut; at their end `stretch` is told what ends with them."""
        for piece in self.pieces:
            taken = piece[: self.room - self.read]
            self.read += len(taken)
            if len(taken) < len(piece):
                self.remainder = piece[len(taken) :]
            elif self.read == self.room:
                self.remainder = next(self.pieces, None)
            yield taken
            if self.read == self.room:
                break
        stretch.ends = ends and self.remainder is None
        stretch.closes = stretch.ends or self.read == self.room

    def after(self) -> Iterator[str]:
        """The pieces behind the cut."""
        if self.remainder:
            yield self.remainder
        yield from self.pieces
