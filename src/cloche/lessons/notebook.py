"""A lesson as a Jupyter notebook: the same cells, with what they gave when it was written.

It runs by itself where cloche is installed: its first cell opens a stage that shows figures inline.
Numbers in its text are those of the run that wrote it.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloche.lens.wording import Language
from cloche.lessons.extras import require_package
from cloche.lessons.lesson import Lesson
from cloche.lessons.outputs import Output, Printed, Rows, Said
from cloche.lessons.phrases import in_language
from cloche.lessons.running import Ran
from cloche.lessons.showing import markdown_table, png_bytes
from cloche.lessons.texts import Prose, fill, write_links

_FOR = "writing a notebook"


def require_notebooks() -> Any:
    """The module nbformat; SettingError that names the extra where it is not here."""
    return require_package("nbformat", _FOR, install="cloche[notebook]")


def write_notebook(
    lesson: Lesson, ran: Sequence[Ran], path: Path, *, lang: Language, model: str | None = None
) -> Path:
    """Write a lesson that has run as a notebook, whole or not at all."""
    nbformat = require_notebooks()
    made = make_notebook(lesson, ran, lang=lang, model=model)
    nbformat.validate(made)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(nbformat.writes(made) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def make_notebook(
    lesson: Lesson, ran: Sequence[Ran], *, lang: Language, model: str | None = None
) -> Any:
    """The notebook of a lesson that has run, as nbformat has it."""
    form = require_notebooks().v4
    done = {each.cell.name: each for each in ran}
    cells = [
        form.new_markdown_cell(f"# {lesson.title(lang)}\n\n*{lesson.summary(lang)}*", id="title"),
        form.new_code_cell(_opening(lang, model), id="stage"),
    ]
    values = {}
    for number, piece in enumerate(lesson.texts[lang].pieces):
        if isinstance(piece, Prose):
            text = write_links(fill(piece.text, values, lang), _link)
            cells.append(form.new_markdown_cell(text, id=f"text-{number}"))
            continue
        each = done[piece.cell]
        values = each.values
        cell = form.new_code_cell(each.cell.code, id=piece.cell)
        cell.outputs = [_output(form, output, lang) for output in each.outputs]
        if each.cell.folded:
            cell.metadata = {"jupyter": {"source_hidden": True}}
        cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return form.new_notebook(
        cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}}
    )


def _opening(lang: Language, model: str | None) -> str:
    """The first cell: it opens the stage; CLOCHE_DATA names the folder of texts, as elsewhere."""
    named = "" if model is None else f",\n    model={model!r}"
    return (
        "import os\n\nfrom cloche.lessons.stage import open_stage\n\n"
        f'stage = open_stage(\n    lang="{lang}",\n'
        f'    data_folder=os.environ.get("CLOCHE_DATA"){named},\n)'
    )


def _output(form: Any, output: Output, lang: Language) -> Any:
    if isinstance(output, Printed):
        return form.new_output("stream", name="stdout", text=output.text)
    if isinstance(output, Said):
        said = in_language(output.phrase, lang)
        return form.new_output("stream", name="stdout", text=f"{said}\n")
    if isinstance(output, Rows):
        return form.new_output("display_data", data={"text/markdown": markdown_table(output, lang)})
    data = {
        "image/png": base64.b64encode(png_bytes(output, lang)).decode("ascii"),
        "text/plain": in_language(output.caption, lang),
    }
    return form.new_output("display_data", data=data)


def _link(words: str, target: str) -> str:
    kind, _, name = target.partition(":")
    return f"{words} (`cloche learn {name}`)" if kind == "lesson" else f"{words} (`docs/{name}`)"
