"""`cloche learn`: lessons that run, in the terminal or as notebooks, in English and Chinese."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.parse import parse

if TYPE_CHECKING:
    from cloche.lessons.lesson import Lesson
    from cloche.lessons.needs import Given
    from cloche.lessons.running import Ran


@dataclass(frozen=True)
class Learn:
    """Read a lesson whose code runs here and now; without a name, list all lessons. Everything is
    in the package: no network is needed but for the texts and models that some lessons name."""

    lesson: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="LESSON")] = None
    """Its name, such as attention."""
    lang: Literal["en", "zh"] = "en"
    """Language of the text and the figures."""
    out: str | None = None
    """Folder for the figures as PNG files, light and dark."""
    notebook: str | None = None
    """Write the lesson as a Jupyter notebook to this .ipynb file, with its outputs."""
    model: str | None = None
    """A pretrained model, for the lessons that look at one: a Hugging Face folder or a run."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """List the lessons, or run one."""
    command = parse(Learn, arguments, prog="cloche learn")
    _check(command)
    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal cannot show, it shows by number
        sys.stdout.reconfigure(errors="backslashreplace")
    if command.lesson is None:
        _list(command)
        return 0
    from cloche.lens.wording import check_language
    from cloche.lessons.lesson import find_lesson

    lesson = find_lesson(command.lesson)
    if command.notebook is not None or command.out is not None:
        check_language(command.lang)  # pictures in Chinese need a font that has it
    from cloche.lessons.needs import Given

    given = Given(data_folder(), cache_folder(), command.model)
    if command.notebook is not None:
        _write_notebook(lesson, command, given)
    elif command.json:
        _print_json(lesson, command, given)
    else:
        _print(lesson, command, given)
    return 0


def _check(command: Learn) -> None:
    """SettingError for options that say nothing about what was asked."""
    from cloche.cli.parse import changed_options
    from cloche.errors import SettingError

    if command.lesson is None:
        if given := changed_options(command, ("out", "notebook", "model")):
            raise SettingError(f"{', '.join(given)} is for one lesson: name it")
    elif command.notebook is not None:
        if command.out is not None or command.json:
            raise SettingError("--notebook holds the figures: leave out --out and --json")
        if Path(command.notebook).suffix != ".ipynb":
            raise SettingError(f"a notebook's name ends in .ipynb, got {command.notebook}")


def _list(command: Learn) -> None:
    from cloche.lessons.lesson import load_course

    lessons = load_course()
    if command.json:
        print(json.dumps({"lessons": [_facts(each) for each in lessons]}, ensure_ascii=False))
        return
    from rich.console import Console

    from cloche.lessons.terminal import print_course

    print_course(lessons, Console(), command.lang)
    print("cloche learn LESSON runs one; --lang zh in Chinese; --notebook FILE.ipynb writes it")


def _print(lesson: "Lesson", command: Learn, given: "Given") -> None:
    from rich.console import Console

    from cloche.lessons.needs import require_needs
    from cloche.lessons.running import run_lesson
    from cloche.lessons.terminal import print_lesson

    require_needs(lesson, given)  # before a line of it is printed
    print_lesson(
        lesson,
        run_lesson(lesson, given),
        Console(),
        lang=command.lang,
        pictures=Path(command.out) if command.out else None,
    )


def _write_notebook(lesson: "Lesson", command: Learn, given: "Given") -> None:
    from cloche.lessons.notebook import require_notebooks, write_notebook

    assert command.notebook is not None, "only called where a file was named"
    require_notebooks()  # before the lesson runs
    ran = _run(lesson, given)
    path = write_notebook(
        lesson, ran, Path(command.notebook), lang=command.lang, model=command.model
    )
    print(f"wrote {path}", file=sys.stderr)


def _print_json(lesson: "Lesson", command: Learn, given: "Given") -> None:
    from cloche.lessons.plain import plain_values

    ran = _run(lesson, given)
    values: dict[str, Any] = {**_facts(lesson), **plain_values(ran)}
    if command.out is not None:
        from cloche.lessons.terminal import draw_pictures

        folder = Path(command.out)
        drawn = [draw_pictures(lesson, each, folder, lang=command.lang) for each in ran]
        values["pictures"] = [str(path) for pictures in drawn for both in pictures for path in both]
    print(json.dumps(values, ensure_ascii=False, allow_nan=False))


def _run(lesson: "Lesson", given: "Given") -> "Sequence[Ran]":
    """All cells run, told on a terminal as they come."""
    from rich.console import Console

    from cloche.lessons.running import run_lesson

    ran = []
    with Console(stderr=True).status(lesson.name) as status:
        for each in run_lesson(lesson, given):
            ran.append(each)
            status.update(f"{lesson.name}: {len(ran)} of {len(lesson.cells)} cells")
    return ran


def _facts(lesson: "Lesson") -> dict[str, Any]:
    return {
        "name": lesson.name,
        "title": {lang: text.title for lang, text in lesson.texts.items()},
        "summary": {lang: text.summary for lang, text in lesson.texts.items()},
        "part": lesson.part,
        "minutes": lesson.minutes,
        "needs": list(lesson.needs),
    }
