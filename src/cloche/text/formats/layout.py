"""Text laid out in lines as a reader sees it, from the parts that a marked-up document consists of.

Breaks wait until more text comes, so that a document neither begins nor ends with them, and those
that end several nested blocks count once, as in `innerText`:
https://html.spec.whatwg.org/multipage/dom.html#the-innertext-idl-attribute
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from cloche.errors import TextError
from cloche.text.encodings import find_lone_surrogate

_SPACES = re.compile("[ \t\n\f\r]+")  # those of HTML; the ideographic space stays, as do others


class Layout:
    """Parts in, laid out text out."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._last = ""  # the character that was laid out last
        self._space = ""  # white space held back until text follows it on its line
        self._blocks = 0  # line ends that the end of a block asks for
        self._lines = 0  # line ends that were put there one by one
        self._tabs = 0
        self._row_ends = 0  # line ends before a row in which nothing stands yet
        self._rows: list[int] = []  # cells so far in each table row that is open

    def take(self) -> str:
        """The text since it was last asked."""
        text = "".join(self._out)
        self._out.clear()
        return text

    def flow(self, text: str) -> None:
        """Running text, in which white space of any length is one space.

        None is left of a line end between two wide characters (as of Chinese), which is there for
        the lines of the file only: https://drafts.csswg.org/css-text-3/#line-break-transform
        """
        place = 0
        for space in _SPACES.finditer(text):
            self._word(text[place : space.start()])
            self._space += space[0]
            place = space.end()
        self._word(text[place:])

    def exact(self, text: str) -> None:
        """Text whose white space is meant; line ends at its end count as `line_end`."""
        body = text.rstrip("\n")
        if body:
            if self._space and not self._at_line_start():
                self._out.append(" ")
            self._write(body)
        self._lines += len(text) - len(body)

    def line_end(self) -> None:
        """End the line, also an empty one."""
        self._space = ""
        self._lines += 1

    def block(self, *, line_ends: int = 1) -> None:
        """Begin or end what stands on lines of its own, `line_ends` away from other text."""
        self._space = ""
        self._blocks = max(self._blocks, line_ends)

    def begin_row(self) -> None:
        """Begin a row of a table on a line of its own."""
        self.block()
        self._row_ends = self._breaks()
        self._rows.append(0)

    def begin_cell(self) -> None:
        """Begin a cell; a tab goes before all but the first of its row."""
        self._space = ""
        if not self._rows or not self._rows[-1]:
            self.block()
        else:
            self._blocks = self._lines = 0  # the end of a block that ended the cell before
            self._tabs += 1
        if self._rows:
            self._rows[-1] += 1

    def end_row(self) -> None:
        """End the row; empty cells at its end leave nothing."""
        if self._rows:
            self._rows.pop()
        self._tabs = 0
        self.block()

    def _word(self, word: str) -> None:
        if not word:
            return
        if self._space and not self._at_line_start():
            joined = "\n" in self._space and _is_wide(self._last) and _is_wide(word[0])
            self._out.append("" if joined else " ")
        self._write(word)

    def _at_line_start(self) -> bool:
        return not self._last or bool(self._breaks()) or bool(self._tabs)

    def _breaks(self) -> int:
        return max(self._blocks, self._lines)

    def _write(self, text: str) -> None:
        line_ends = self._row_ends if self._tabs else self._breaks()
        if self._last:
            self._out.append("\n" * line_ends)
        self._out.append("\t" * self._tabs + text)
        self._last = text[-1]
        self._space = ""
        self._blocks = self._lines = self._tabs = self._row_ends = 0


def checked(pieces: Iterable[str], *, name: str) -> Iterator[str]:
    """`pieces` without empty ones; TextError at a NUL or half a surrogate pair, naming `name`."""
    for piece in pieces:
        if problem := text_problem(piece):
            raise TextError(f"{name} {problem}; mend the file, or leave it out")
        if piece:
            yield piece


def text_problem(text: str) -> str | None:
    """What in `text` is never part of a text, as the end of a sentence, or None."""
    if "\0" in text:
        return "holds a NUL character, which text never holds"
    if half := find_lone_surrogate(text):
        return f"holds the lone surrogate U+{ord(half[0]):04X}, which is half a character"
    return None


def _is_wide(character: str) -> bool:
    """Whether lines of such characters are written without spaces; Korean's are not."""
    return unicodedata.east_asian_width(character) in "FWH" and not _is_hangul(character)


def _is_hangul(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3" or "\u1100" <= character <= "\u11ff"
