"""A lesson as a page of the site: Markdown in one language, with pictures light and dark."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cloche.lens.wording import Language
from cloche.lessons.lesson import Cell, Lesson
from cloche.lessons.outputs import Output, Printed, Rows, Said, Shown
from cloche.lessons.phrases import in_language
from cloche.lessons.running import Ran
from cloche.lessons.showing import markdown_table
from cloche.lessons.terminal import draw_pictures
from cloche.lessons.texts import Linked, Prose, fill, unfilled, write_links

_WORDS = {
    "en": {
        "facts": "About {minutes} minutes. In a terminal: `cloche learn {name}`; as a notebook: "
        "`cloche learn {name} --notebook {name}.ipynb`.",
        "code": "Code",
        "absent": "The code of this lesson did not run when this page was built. It needs:",
    },
    "zh": {
        "facts": "大约 {minutes} 分钟。在终端里：`cloche learn {name} --lang zh`；写成笔记本："
        "`cloche learn {name} --lang zh --notebook {name}.ipynb`。",
        "code": "代码",
        "absent": "生成本页时没有运行这一课的代码。它需要：",
    },
}


def write_pages(
    lesson: Lesson, ran: Sequence[Ran], folder: Path, *, link: Linked
) -> dict[Language, Path]:
    """Write the pages of a lesson that has run, `NAME.en.md` and `NAME.zh.md`, and its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    return {lang: _write_page(lesson, ran, folder, lang=lang, link=link) for lang in lesson.texts}


def write_unrun_pages(
    lesson: Lesson, lacking: Sequence[str], folder: Path, *, link: Linked
) -> dict[Language, Path]:
    """The same for a lesson that could not run: they say why, and show no number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for lang, text in lesson.texts.items():
        needs = "\n".join(f"- {' '.join(each.split())}" for each in lacking)
        notice = _indented("!!! warning", f"{_WORDS[lang]['absent']}\n\n{needs}")
        codes = {cell.name: _code(cell, lang) for cell in lesson.cells}
        parts = [
            write_links(unfilled(piece.text), link)
            if isinstance(piece, Prose)
            else codes[piece.cell]
            for piece in text.pieces
        ]
        paths[lang] = _write(lesson, lang, [notice, *parts], folder)
    return paths


def _write_page(
    lesson: Lesson, ran: Sequence[Ran], folder: Path, *, lang: Language, link: Linked
) -> Path:
    done = {each.cell.name: each for each in ran}
    values: Mapping[str, object] = {}
    parts = []
    for piece in lesson.texts[lang].pieces:
        if isinstance(piece, Prose):
            parts.append(write_links(fill(piece.text, values, lang), link))
            continue
        each = done[piece.cell]
        values = each.values
        parts.append(_code(each.cell, lang))
        drawn = iter(draw_pictures(lesson, each, folder, lang=lang, ending=".svg"))
        for output in each.outputs:
            pictures = next(drawn) if isinstance(output, Shown) else []
            parts.append(_output(output, pictures, lang))
    return _write(lesson, lang, parts, folder)


def _write(lesson: Lesson, lang: Language, parts: Sequence[str], folder: Path) -> Path:
    facts = _WORDS[lang]["facts"].format(minutes=lesson.minutes, name=lesson.name)
    head = (
        f"---\ntitle: {_quoted(lesson.title(lang))}\n"
        f"description: {_quoted(lesson.summary(lang))}\n---\n\n# {lesson.title(lang)}\n\n"
        f"*{lesson.summary(lang)}*\n\n{facts}"
    )
    path = folder / f"{lesson.name}.{lang}.md"
    path.write_text("\n\n".join([head, *parts]) + "\n", encoding="utf-8")
    return path


def _code(cell: Cell, lang: Language) -> str:
    code = fenced(cell.code, "python")
    return (
        _indented(f'??? note "{_WORDS[lang]["code"]}: {cell.name}"', code) if cell.folded else code
    )


def _output(output: Output, pictures: Sequence[Path], lang: Language) -> str:
    if isinstance(output, Printed):
        return fenced(output.text.strip("\n"), "text")
    if isinstance(output, Said):
        return fenced(in_language(output.phrase, lang), "text")
    if isinstance(output, Rows):
        return markdown_table(output, lang)
    caption = in_language(output.caption, lang)
    images = "\n".join(
        f"![{caption or path.stem}]({path.name}#only-{theme})"
        for theme, path in zip(("light", "dark"), pictures, strict=True)
    )
    return f"{images}\n\n*{caption}*" if caption else images


def fenced(text: str, kind: str) -> str:
    """A block of code whose fence is longer than any in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{kind}\n{text}\n{fence}"


def _indented(head: str, body: str) -> str:
    lines = (f"    {line}" if line else "" for line in body.splitlines())
    return f"{head}\n\n" + "\n".join(lines)


def _quoted(text: str) -> str:
    """A string of YAML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
