"""A text made ready to learn from: its tokenizer, and its training and validation tokens.

The cut between the two parts is made on characters, before tokenizing, and the tokenizer sees the
training part only. What was made is kept in a folder and made again only where the text, the cut
or the tokenizer changed.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from cloche.data.options import DataOptions
from cloche.data.shards import Shard, ShardWriter
from cloche.errors import DataError, TextError
from cloche.text.choice import (
    TokenizerChoice,
    choose_tokenizer,
    make_tokenizer,
    read_statistics,
)
from cloche.text.cutting import safe_pieces
from cloche.text.ingest import (
    PIECE_CHARACTERS,
    SourceReport,
    documents,
    inspect_source,
    require_text,
)
from cloche.text.options import TextOptions
from cloche.text.saved import load_tokenizer
from cloche.text.sources import SourceFile
from cloche.text.tokenizer import Tokenizer

RECIPE = "recipe.json"
TOKENIZER = "tokenizer"
TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class PreparedText:
    """A text as tokens in two parts, with the tokenizer that made them."""

    tokenizer: Tokenizer
    train: Shard
    validation: Shard
    choice: TokenizerChoice
    """Which tokenizer was asked for, complete."""


@dataclass(frozen=True)
class Part:
    """A range of the characters of all sources, laid end to end."""

    start: int
    stop: int


def inspect_all(sources: Sequence[SourceFile], options: TextOptions) -> list[SourceReport]:
    """What each source holds. TextError where one cannot be read or all are blank."""
    reports = [
        inspect_source(source, encoding=options.encoding, skip_bad=options.skip_bad)
        for source in sources
    ]
    require_text(reports)
    return reports


def prepare_text(
    folder: Path,
    sources: Sequence[SourceFile],
    reports: Sequence[SourceReport],
    *,
    text: TextOptions,
    data: DataOptions,
    tell: Callable[[str], None],
) -> PreparedText:
    """The text's tokens, from `folder` if they were made of the same text in the same way.

    `reports` are `inspect_all`'s. `tell` is given a sentence about each choice. Raises TextError or
    TokenizerError; a folder half made by a killed process is made anew.
    """
    reader = _Reader(sources, reports, skip_bad=text.skip_bad)
    total = sum(report.characters for report in reports)
    cut = int(total * data.split)
    if not 0 < cut < total:
        raise TextError(
            f"the text has {total} characters, too few to train on {data.split:.0%} of it and "
            "validate on the rest: bring more text"
        )
    train, validation = Part(0, cut), Part(cut, total)
    choice = choose_tokenizer(
        text,
        train=read_statistics(reader.pieces(train)),
        validation=read_statistics(reader.pieces(validation)),
    )
    recipe = _recipe(reports, cut=cut, choice=choice)
    stored = _stored_recipe(folder)
    if stored is not None and stored["recipe"] == recipe:
        tell(f"Tokens: those made earlier in {folder}, as text and tokenizer are unchanged.")
        return open_prepared(folder)
    tell(f"Tokenizer: {choice.reason}.")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    tokenizer = make_tokenizer(choice, reader.pieces(train))
    tokenizer.save(unfinished / TOKENIZER)
    for name, part in ((TRAIN, train), (VALIDATION, validation)):
        _write_part(unfinished / name, reader, part, tokenizer, reports=reports)
    _write_recipe(unfinished, recipe, choice)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(unfinished, folder)
    return open_prepared(folder)


def open_prepared(folder: Path) -> PreparedText:
    """What `prepare_text` made in `folder`. DataError where it is absent or damaged."""
    recipe = _stored_recipe(folder)
    if recipe is None:
        raise DataError(f"there are no prepared tokens in {folder}")
    tokenizer = load_tokenizer(folder / TOKENIZER)
    train, validation = Shard(folder / TRAIN), Shard(folder / VALIDATION)
    for shard in (train, validation):
        if shard.metadata.tokenizer != tokenizer.fingerprint:
            raise DataError(
                f"{shard.folder} was made with tokenizer {shard.metadata.tokenizer[:12]}, but "
                f"{folder / TOKENIZER} is {tokenizer.fingerprint[:12]}: delete {folder} to have "
                "the tokens made anew"
            )
    return PreparedText(tokenizer, train, validation, TokenizerChoice(**recipe["choice"]))


def fingerprints(reports: Sequence[SourceReport]) -> list[dict[str, Any]]:
    """What identifies each source's text, whatever its name and encoding."""
    return [
        {"characters": report.characters, "utf8_sha256": report.utf8_sha256} for report in reports
    ]


class _Reader:
    """Reads ranges of the characters of several sources, document by document."""

    def __init__(
        self, sources: Sequence[SourceFile], reports: Sequence[SourceReport], *, skip_bad: bool
    ) -> None:
        self.sources = list(zip(sources, reports, strict=True))
        self.skip_bad = skip_bad
        self.several = sum(report.documents for report in reports) > 1

    def documents(self, part: Part) -> Iterator[tuple[Iterator[str], Callable[[], bool]]]:
        """(pieces, ends) of each document in the range; `ends()`, asked after the pieces are
        read, tells whether the document's true end lies inside it."""
        position = 0
        for source, report in self.sources:
            if position + report.characters <= part.start:  # all of it lies before
                position += report.characters
                continue
            for document in documents(source, report.encoding, skip_bad=self.skip_bad):
                if position >= part.stop:
                    return
                clipped = _Clipped(document.pieces(), position=position, part=part)
                yield iter(clipped), clipped.ends
                position = clipped.finish()

    def pieces(self, part: Part) -> Iterator[str]:
        """All text of the range."""
        return chain.from_iterable(pieces for pieces, _ in self.documents(part))


class _Clipped:
    """The pieces of a document that starts at `position`, cut to a range of characters."""

    def __init__(self, pieces: Iterator[str], *, position: int, part: Part) -> None:
        self._pieces = pieces
        self._position = position
        self._part = part

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            begin, self._position = self._position, self._position + len(piece)
            inside = piece[max(0, self._part.start - begin) : max(0, self._part.stop - begin)]
            if inside:
                yield inside
            if self._position > self._part.stop:
                return

    def ends(self) -> bool:
        """Whether the document ended within the range."""
        return self._part.start < self._position <= self._part.stop

    def finish(self) -> int:
        """Where the document ends, or some place after the range."""
        if self._position <= self._part.stop:
            for piece in self._pieces:
                self._position += len(piece)
        return self._position


def _write_part(
    folder: Path,
    reader: _Reader,
    part: Part,
    tokenizer: Tokenizer,
    *,
    reports: Sequence[SourceReport],
) -> None:
    """Tokenize a range of the text into a shard, with a separator where documents are several."""
    eos = tokenizer.special_ids.eos
    separated = reader.several and eos is not None
    writer = ShardWriter(folder, vocab_size=tokenizer.vocab_size, tokenizer=tokenizer.fingerprint)
    characters = utf8_bytes = 0
    try:
        for pieces, ends in reader.documents(part):
            before = writer.count
            for piece in safe_pieces(pieces, size=PIECE_CHARACTERS, most=2 * PIECE_CHARACTERS):
                writer.append(tokenizer.encode_training(piece))
                characters += len(piece)
                utf8_bytes += len(piece.encode("utf-8"))
            if separated and ends() and eos is not None:
                writer.append([eos])
            if writer.count > before:
                writer.end_document()
        writer.finish(
            sources=fingerprints(reports),
            characters=characters,
            utf8_bytes=utf8_bytes,
            separated=separated,
        )
    except BaseException:
        writer.discard()
        raise


def _recipe(
    reports: Sequence[SourceReport], *, cut: int, choice: TokenizerChoice
) -> dict[str, Any]:
    """All that the prepared tokens depend on."""
    tokenizer = {key: value for key, value in choice.to_values().items() if key != "reason"}
    return {"sources": fingerprints(reports), "cut": cut, "tokenizer": tokenizer}


def _stored_recipe(folder: Path) -> dict[str, Any] | None:
    """The recipe the folder was made by; None where it was not made, or not to the end."""
    path = folder / RECIPE
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise DataError(f"{path} is damaged ({exc}); delete {folder} to have it made anew") from exc


def _write_recipe(folder: Path, recipe: dict[str, Any], choice: TokenizerChoice) -> None:
    """Written last: its presence says that all else is whole."""
    temporary = folder / f".{RECIPE}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump({"recipe": recipe, "choice": choice.to_values()}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / RECIPE)
