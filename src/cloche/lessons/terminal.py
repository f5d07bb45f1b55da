"""A lesson read in a terminal: text, code, and what the code gives, as it runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from cloche.lens.wording import Language
from cloche.lessons.lesson import Cell, Lesson
from cloche.lessons.markdown import WrappedMarkdown
from cloche.lessons.outputs import Shown
from cloche.lessons.parts import PARTS
from cloche.lessons.phrases import in_language
from cloche.lessons.running import Ran
from cloche.lessons.showing import draw_shown, renderable
from cloche.lessons.texts import Prose, fill, write_links

_WORDS = {
    "en": {"runs": "running", "wrote": "written to", "minutes": "minutes", "needs": "needs"},
    "zh": {"runs": "正在运行", "wrote": "已写入", "minutes": "分钟", "needs": "需要"},
}


def print_course(lessons: Sequence[Lesson], console: Console, lang: Language) -> None:
    """Print all lessons by the parts of the course."""
    words = _WORDS[lang]
    widest = max((len(lesson.name) for lesson in lessons), default=0)
    for part, title in PARTS.items():
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=widest)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")  # Chinese has no spaces to break at
        for each in (lesson for lesson in lessons if lesson.part == part):
            about = each.summary(lang)
            if each.needs:
                about += f" ({words['needs']}: {', '.join(each.needs)})"
            minutes = f"{each.minutes} {words['minutes']}"
            table.add_row(Text(each.name, style="bold green"), Text(minutes, "dim"), Text(about))
        if table.row_count:
            console.print(Text(in_language(title, lang), style="bold"))
            console.print(Padding(table, (0, 0, 1, 2)))


def print_lesson(
    lesson: Lesson,
    ran: Iterator[Ran],
    console: Console,
    *,
    lang: Language,
    pictures: Path | None = None,
) -> None:
    """Print a lesson; each cell runs when it is reached. Figures go to `pictures` as PNG too."""
    console.print(Rule(Text(lesson.title(lang), style="bold green")))
    console.print(Text(lesson.summary(lang), style="italic"), justify="center")
    values = {}
    names = {cell.name: cell for cell in lesson.cells}
    for piece in lesson.texts[lang].pieces:
        if isinstance(piece, Prose):
            text = write_links(fill(piece.text, values, lang), _link)
            console.print(Padding(WrappedMarkdown(text), (1, 0)))
            continue
        _print_code(names[piece.cell], console)
        with console.status(f"{_WORDS[lang]['runs']} {piece.cell}"):
            done = next(ran)
        values = done.values
        _print_outputs(lesson, done, console, lang=lang, pictures=pictures)


def draw_pictures(
    lesson: Lesson, done: Ran, folder: Path, *, lang: Language, ending: str = ".png"
) -> list[list[Path]]:
    """Pictures of a cell's figures, for each of them the light and the dark one."""
    figures = [output for output in done.outputs if isinstance(output, Shown)]
    return [
        [
            draw_shown(
                shown,
                folder / f"{lesson.name}-{done.cell.name}-{number}-{lang}-{theme}{ending}",
                lang=lang,
                theme=theme,
            )
            for theme in ("light", "dark")
        ]
        for number, shown in enumerate(figures, start=1)
    ]


def _print_code(cell: Cell, console: Console) -> None:
    if cell.folded:
        console.print(Text(f"# {cell.name} …", style="dim"))
    else:
        highlighter = Syntax("", "python", theme="ansi_dark", background_color="default")
        for line in highlighter.highlight(cell.code.rstrip()).split("\n"):
            # never wrapped here: what is copied out of the terminal is the code
            console.print(Text("    ").append_text(line), soft_wrap=True)


def _print_outputs(
    lesson: Lesson, done: Ran, console: Console, *, lang: Language, pictures: Path | None
) -> None:
    for output in done.outputs:
        console.print(Padding(renderable(output, lang), (1, 0, 0, 2)))
        if isinstance(output, Shown) and output.caption:
            console.print(Text(f"  {in_language(output.caption, lang)}", style="italic"))
    if pictures is not None:
        for drawn in draw_pictures(lesson, done, pictures, lang=lang):
            for path in drawn:
                console.print(Text(f"  {_WORDS[lang]['wrote']} {path}", style="dim"))


def _link(words: str, target: str) -> str:
    """A link as one can follow it here: another lesson by its command, a guide by its file."""
    kind, _, name = target.partition(":")
    return f"{words} (`cloche learn {name}`)" if kind == "lesson" else f"{words} (docs/{name})"
