"""A text handed over to be looked at, typed or in sources; and tokenizers made from it alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from cloche.errors import TextError
from cloche.text.choice import choose_tokenizer, make_tokenizer
from cloche.text.ingest import documents, inspect_source
from cloche.text.options import TextOptions
from cloche.text.sources import SourceFile
from cloche.text.statistics import read_statistics
from cloche.text.tokenized import Documents
from cloche.text.tokenizer import Tokenizer

MADE_FROM_TEXT = ("characters", "words", "bpe")
"""Kinds of tokenizers that need no more than a text."""


@dataclass(frozen=True)
class GivenText:
    """A text that can be read as often as needed."""

    name: str
    """As messages call it."""
    open: Callable[[], Documents]
    """Its documents from the beginning."""

    def pieces(self) -> Iterator[str]:
        """All of it, in pieces."""
        return chain.from_iterable(self.open())


def typed_text(text: str) -> GivenText:
    """A text that is at hand as it is."""
    return GivenText("the text", lambda: [[text]])


def text_of_sources(
    sources: Sequence[SourceFile], *, encoding: str | None = None, column: str | None = None
) -> GivenText:
    """The text of files; their encodings are detected where none is given. Raises TextError.

    `column` names what holds the text of rows.
    """
    reports = [inspect_source(source, encoding=encoding, column=column) for source in sources]
    encodings = [report.encoding for report in reports]

    def read() -> Iterator[Iterator[str]]:
        for source, found in zip(sources, encodings, strict=True):
            for document in documents(source, found, column=column):
                yield document.pieces()

    return GivenText(", ".join(source.name for source in sources), read)


def tokenizer_from(text: GivenText, options: TextOptions) -> Tokenizer:
    """The tokenizer that training on all of `text` would make. TextError where there is no text."""
    statistics = read_statistics(text.pieces())
    if not statistics.characters:
        raise TextError(f"there is no text to make a tokenizer from: {text.name} is empty")
    choice = choose_tokenizer(options, train=lambda: statistics, validation=lambda: statistics)
    return make_tokenizer(choice, text.pieces())
