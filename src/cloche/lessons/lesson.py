"""A lesson as it lies in its folder: one script in named cells, and a text in each language.

`pages/attention/cells.py` is the code of both texts; `en.md` and `zh.md` say where each cell
stands. So both have the same code, figures and numbers. Reading a lesson runs nothing and loads no
torch.
"""

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal, get_args

from cloche.errors import SettingError
from cloche.lens.wording import Language
from cloche.lessons.phrases import LessonError
from cloche.lessons.texts import LessonText, read_text

Part = Literal["text", "attention", "model", "training", "writing", "tuning", "world"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
FACTS = ("part", "order", "minutes", "needs")

_HEAD = re.compile(r"\A# /// lesson\n((?:#.*\n)+?)# ///\n")
_OPENING = "from cloche.lessons.stage import open_stage\n\nstage = open_stage()\n"
_CELL = re.compile(r"^# %% (?P<name>\S+)(?P<folded> folded)?$")
_CELL_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Cell:
    """A piece of the script that the texts name."""

    name: str
    code: str
    line: int
    """Of its first line in the script, from 1."""
    folded: bool = False
    """Whether it is no part of the story: shown closed where that is possible."""


@dataclass(frozen=True)
class Lesson:
    """One lesson, read and not yet run."""

    name: str
    script: str
    """Where its code lies, for tracebacks."""
    part: Part
    order: int
    """Its place in the course."""
    minutes: int
    """How long one reads, about."""
    needs: tuple[str, ...]
    """Texts by name, `model`, or `package:NAME`: what has to be here."""
    cells: tuple[Cell, ...]
    texts: dict[Language, LessonText]

    def title(self, lang: Language) -> str:
        """The lesson's name as people read it."""
        return self.texts[lang].title

    def summary(self, lang: Language) -> str:
        """What it teaches, in one line."""
        return self.texts[lang].summary


def load_course() -> tuple[Lesson, ...]:
    """All lessons that come with cloche, in the order of the course."""
    folders = [each for each in _pages().iterdir() if each.is_dir() and _is_lesson(each)]
    return tuple(sorted((read_lesson(each) for each in folders), key=lambda each: each.order))


def find_lesson(name: str) -> Lesson:
    """The lesson of that name; SettingError naming the nearest for another."""
    names = [each.name for each in _pages().iterdir() if each.is_dir() and _is_lesson(each)]
    if name in names:
        return read_lesson(_pages() / name)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    meant = f"; did you mean {near[0]}?" if near else "."
    raise SettingError(f"there is no lesson {name!r}{meant} `cloche learn` lists all {len(names)}")


def read_lesson(folder: Traversable) -> Lesson:
    """The lesson in a folder. LessonError says what is wrong with its files."""
    script = folder / "cells.py"
    source = script.read_text(encoding="utf-8")
    facts = _read_facts(source, folder.name)
    cells = _read_cells(source, folder.name)
    texts: dict[Language, LessonText] = {
        lang: read_text(
            (folder / f"{lang}.md").read_text(encoding="utf-8"), f"{folder.name}/{lang}"
        )
        for lang in LANGUAGES
    }
    for lang, text in texts.items():
        _check_places(f"{folder.name}/{lang}", cells, text)
    return Lesson(
        name=folder.name,
        script=str(script),
        part=facts["part"],
        order=facts["order"],
        minutes=facts["minutes"],
        needs=tuple(facts["needs"]),
        cells=cells,
        texts=texts,
    )


def _pages() -> Traversable:
    return resources.files("cloche.lessons").joinpath("pages")


def _is_lesson(folder: Traversable) -> bool:
    """Whether all files of a lesson lie in a folder; one that lacks some is still being written."""
    return all((folder / file).is_file() for file in ("cells.py", "en.md", "zh.md"))


def _read_facts(source: str, lesson: str) -> dict[str, Any]:
    head = _HEAD.match(source)
    if head is None or not source[head.end() :].startswith(_OPENING):
        raise LessonError(f"{lesson}/cells.py does not begin with the head that lessons share")
    if not source[head.end() + len(_OPENING) :].lstrip("\n").startswith("# %% "):
        raise LessonError(f"{lesson}/cells.py has code before its first cell")
    lines = (line.removeprefix("#").strip() for line in head.group(1).splitlines())
    facts = tomllib.loads("\n".join(lines))
    if set(facts) != set(FACTS) or facts["part"] not in get_args(Part):
        raise LessonError(f"{lesson}: the head has {', '.join(FACTS)}; part is one of {Part}")
    return facts


def _read_cells(source: str, lesson: str) -> tuple[Cell, ...]:
    lines = source.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    cells = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        found = _CELL.match(lines[start])
        if found is None or not _CELL_NAME.fullmatch(found["name"]):
            raise LessonError(f"{lesson}/cells.py, line {start + 1}: not a cell: {lines[start]}")
        code = "\n".join(lines[start + 1 : end])
        line = start + 2 + len(code) - len(code.lstrip("\n"))
        cells.append(Cell(found["name"], code.strip("\n"), line, folded=bool(found["folded"])))
    names = [cell.name for cell in cells]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise LessonError(f"{lesson}/cells.py has two cells called {', '.join(twice)}")
    return tuple(cells)


def _check_places(where: str, cells: Sequence[Cell], text: LessonText) -> None:
    """LessonError where a text does not name every cell once, in the order of the script."""
    wanted, placed = [cell.name for cell in cells], list(text.cells)
    if wanted == placed:
        return
    absent = [name for name in wanted if name not in placed]
    unknown = [name for name in placed if name not in wanted]
    told = (
        f"without {', '.join(absent)}"
        if absent
        else f"with {', '.join(unknown)}, which the script has not"
        if unknown
        else "in another order, or one twice"
    )
    raise LessonError(f"{where}.md has its cells {told}")
