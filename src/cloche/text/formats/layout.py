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

_SPACE_CHARACTERS = " \t\n\f\r"  # those of HTML; the ideographic space stays, as do others
_SPACES = re.compile(f"[{_SPACE_CHARACTERS}]+")


class Layout:
    """Parts in, laid out text out."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._last = ""  # the character that was laid out last
        self._space = ""  # held back until text follows it on its line: a line end or a space
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
        body = text.strip(_SPACE_CHARACTERS)
        if not body:
            self._hold(text)
            return
        begin = text.index(body[0])
        self._hold(text[:begin])
        wraps = "\n" in body and not body.isascii()
        self._words(_SPACES.sub(_between_words if wraps else " ", body))
        self._hold(text[begin + len(body) :])

    def exact(self, text: str) -> None:
        """Text whose white space is meant; line ends around it count as `line_end`."""
        body = text.strip("\n")
        begin = text.index(body[0]) if body else len(text)
        self._end_lines(begin)
        if body:
            if self._space and not self._at_line_start():
                self._out.append(" ")
            self._write(body)
            self._end_lines(len(text) - begin - len(body))

    def line_end(self) -> None:
        """End the line, also an empty one."""
        self._space = ""
        self._end_lines(1)

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
        self._tabs = self._blocks = self._lines = 0  # also what ended its last cell
        self.block()

    def _end_lines(self, count: int) -> None:
        if count:  # behind the end of a block, a line end ends an empty line
            self._lines = self._breaks() + count

    def _hold(self, space: str) -> None:
        if space:
            self._space = "\n" if "\n" in self._space or "\n" in space else " "

    def _words(self, text: str) -> None:
        if self._space and not self._at_line_start():
            self._out.append(_space_between(self._last, self._space, text[0]))
        self._write(text)

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


def _between_words(space: re.Match[str]) -> str:
    return _space_between(space.string[space.start() - 1], space[0], space.string[space.end()])


def _space_between(before: str, space: str, after: str) -> str:
    """What is left of white space between two characters: one space, or nothing."""
    return "" if "\n" in space and _is_wide(before) and _is_wide(after) else " "


def _is_wide(character: str) -> bool:
    """Whether lines of such characters are written without spaces; Korean's are not."""
    return unicodedata.east_asian_width(character) in "FWH" and not _is_hangul(character)


def _is_hangul(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3" or "\u1100" <= character <= "\u11ff"
