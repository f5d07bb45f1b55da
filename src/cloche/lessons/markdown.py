"""Markdown in a terminal whose Chinese is broken into lines as Chinese is.

rich breaks lines at spaces, which Chinese has none of: it would leave lines half empty.
"""

from collections.abc import Iterator
from typing import ClassVar

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.markdown import Markdown, MarkdownElement, Paragraph
from rich.text import Text

_FIRST_WIDE = "\u2e80"
_NEVER_FIRST = "，。；：！？、）」』》〉】”’…—"
"""Marks that no line begins with."""


class WrappedParagraph(Paragraph):
    """A paragraph broken at spaces and between Chinese characters."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The paragraph's lines."""
        text = self.text
        places = list(line_ends(text.plain, options.max_width))
        for line in text.divide(places):
            line.rstrip()
            line.no_wrap = True
            yield line


class WrappedMarkdown(Markdown):
    """Markdown of such paragraphs."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "paragraph_open": WrappedParagraph,
    }


def line_ends(text: str, width: int) -> Iterator[int]:
    """Where lines of at most `width` columns end, the last one's end left out."""
    start, place, columns = 0, 0, 0
    for index, character in enumerate(text):
        if index > start and _may_begin(text, index):
            place = index
        columns += cell_len(character)
        if columns > width and not character.isspace():
            end = place if place > start else index  # a word longer than a line is cut
            yield end
            start, columns = end, cell_len(text[end : index + 1])


def _may_begin(text: str, index: int) -> bool:
    """Whether a line may begin with the character there."""
    before, first = text[index - 1], text[index]
    if first in _NEVER_FIRST or first.isspace():
        return False
    return before.isspace() or first >= _FIRST_WIDE or before >= _FIRST_WIDE
