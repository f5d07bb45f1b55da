"""The text of a lesson in one language: prose, places of cells, and values that cells keep.

`{{ scores }}` alone on a line is where the cell `scores` stands; `{{= loss:.3f }}` is a value that
a cell before it kept, in Python's format. Links to `lesson:NAME` and `guide:FILE.md` are written
for where they are read.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloche.lens.wording import Language
from cloche.lessons.phrases import LessonError, in_language

_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_PLACE = re.compile(r"^\{\{ (?P<name>[a-z0-9-]+) \}\}$", re.MULTILINE)
_VALUE = re.compile(r"\{\{= *(?P<name>\w+)(?::(?P<format>[^{}]*?))? *\}\}")
_LEFT = re.compile(r"\{\{.*")
_LINK = re.compile(r"\[(?P<words>[^\]]+)\]\((?P<target>[^)\s]+)\)")
_CHINESE = "[\u2018-\u201d\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
_BROKEN = re.compile(rf"(?<={_CHINESE})\n(?={_CHINESE}|\[)")
"""A line's end between Chinese characters, where Markdown would put a space."""
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)

Linked = Callable[[str, str], str]
"""Writes a link from its words and its target."""


@dataclass(frozen=True)
class Prose:
    """Markdown between two cells."""

    text: str


@dataclass(frozen=True)
class Place:
    """Where a cell stands, with its code and what it gives."""

    cell: str


@dataclass(frozen=True)
class LessonText:
    """A lesson's text in one language."""

    title: str
    summary: str
    pieces: tuple[Prose | Place, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells, in the order of the text."""
        return tuple(piece.cell for piece in self.pieces if isinstance(piece, Place))

    @property
    def prose(self) -> str:
        """All of it but the cells."""
        return "\n\n".join(piece.text for piece in self.pieces if isinstance(piece, Prose))

    @property
    def headings(self) -> tuple[tuple[int, str], ...]:
        """Level and words of each heading."""
        lines = _FENCE.sub("", self.prose).splitlines()
        found = [line.partition(" ") for line in lines if re.match(r"#+ ", line)]
        return tuple((len(marks), words) for marks, _, words in found)

    @property
    def links(self) -> tuple[str, ...]:
        """Where its links lead."""
        return tuple(found["target"] for found in _LINK.finditer(self.prose))

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the kept values that it tells."""
        return tuple(found["name"] for found in _VALUE.finditer(self.prose))


def read_text(source: str, where: str) -> LessonText:
    """The text of a file of a lesson. LessonError where its front matter or a mark is none."""
    front = _FRONT.match(source)
    lines = front.group(1).splitlines() if front else []
    facts = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    if front is None or set(facts) != {"title", "summary"}:
        raise LessonError(f"{where}.md begins with --- and its title and summary")
    pieces: list[Prose | Place] = []
    for number, piece in enumerate(_PLACE.split(_BROKEN.sub("", source[front.end() :]))):
        if number % 2:
            pieces.append(Place(piece))
        elif piece.strip():
            pieces.append(Prose(piece.strip("\n")))
    for piece in pieces:
        left = _LEFT.search(_VALUE.sub("", piece.text)) if isinstance(piece, Prose) else None
        if left:
            raise LessonError(f"{where}.md: neither a cell nor a value: {left.group()}")
    return LessonText(facts["title"], facts["summary"], tuple(pieces))


def fill(prose: str, values: Mapping[str, Any], lang: Language) -> str:
    """The prose with the values that were kept before it.

    LessonError for a value that no cell before it kept.
    """

    def told(found: re.Match[str]) -> str:
        if found["name"] not in values:
            raise LessonError(f"no cell before it keeps {found['name']!r}: {found.group()}")
        value = values[found["name"]]
        if isinstance(value, Mapping):
            value = in_language(value, lang)
        return format(value, found["format"] or "")

    return _VALUE.sub(told, prose)


def unfilled(prose: str) -> str:
    """The prose of a lesson that did not run: a dash where a value would stand."""
    return _VALUE.sub("—", prose)


def write_links(prose: str, write: Linked) -> str:
    """The prose with each link to a lesson or a guide written by `write`; others stay."""

    def written(found: re.Match[str]) -> str:
        target = found["target"]
        is_ours = target.startswith(("lesson:", "guide:"))
        return write(found["words"], target) if is_ours else found.group()

    return _LINK.sub(written, prose)
