"""What a cell gives, where it is read: as a picture's file, in a terminal, in a notebook."""

import tempfile
from pathlib import Path
from typing import Any

import rich
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cloche.lens.drawing import figure
from cloche.lens.rendering import render
from cloche.lens.view import View
from cloche.lens.wording import Language
from cloche.lessons.chart_lines import chart_lines
from cloche.lessons.charts import Chart
from cloche.lessons.extras import require_package
from cloche.lessons.outputs import Output, Printed, Rows, Said, Shown
from cloche.lessons.phrases import in_language
from cloche.plots.canvas import save_figure, theme_named

_ONLY_PICTURE = {
    "en": "[a picture; --out FOLDER writes it]",
    "zh": "［一幅图；用 --out 文件夹 写出来］",
}


def draw_shown(shown: Shown, path: Path, *, lang: Language, theme: str) -> Path:
    """Write the picture of a figure in a language and a theme to a .png or .svg file."""
    what = shown.what
    if isinstance(what, View):
        made: Any = figure(what, lang=lang, theme=theme)
    elif isinstance(what, Chart):
        made = what.draw(theme_named(theme), lang)
    else:
        made = what(theme_named(theme), lang)
    save_figure(made, path)
    return path


def renderable(output: Output, lang: Language) -> RenderableType:
    """An output of a cell for `rich.print`."""
    if isinstance(output, Printed):
        return Text(output.text.rstrip("\n"))
    if isinstance(output, Said):
        return Text(in_language(output.phrase, lang))
    if isinstance(output, Rows):
        columns, rows = output.in_language(lang)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(Text(column))
        for row in rows:
            table.add_row(*(Text(each) for each in row))
        return table
    if isinstance(output.what, View):
        return render(output.what, lang=lang)
    if isinstance(output.what, Chart):
        return chart_lines(output.what, lang)
    return Text(_ONLY_PICTURE[lang], style="dim")


def print_output(output: Output, *, lang: Language) -> None:
    """Print an output in a terminal."""
    rich.print(renderable(output, lang))


def display_output(output: Output, *, lang: Language) -> None:
    """Show an output below the running cell of a notebook."""
    display = require_package("IPython.display", "a notebook", install="ipykernel")
    if isinstance(output, Shown):
        display.display(display.Image(data=png_bytes(output, lang)))
        if output.caption:
            display.display(display.Markdown(f"*{in_language(output.caption, lang)}*"))
    elif isinstance(output, Rows):
        display.display(display.Markdown(markdown_table(output, lang)))
    else:
        print_output(output, lang=lang)


def png_bytes(shown: Shown, lang: Language) -> bytes:
    """The picture of a figure on light paper."""
    with tempfile.TemporaryDirectory() as folder:
        path = draw_shown(shown, Path(folder) / "figure.png", lang=lang, theme="light")
        return path.read_bytes()


def markdown_table(rows: Rows, lang: Language) -> str:
    """A table in Markdown."""
    columns, body = rows.in_language(lang)
    lines = [columns, ["---"] * len(columns), *body]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(cell: str) -> str:
    """A cell that cannot end early, nor be read as marks."""
    for mark in "\\|*_`<[":
        cell = cell.replace(mark, f"\\{mark}")
    return cell.replace("\n", " ")
