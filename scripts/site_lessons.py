"""Lessons executed for the site, each kept until something that it depends on has changed."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cloche.cli.environment import cache_folder, data_folder
from cloche.lens.wording import Language
from cloche.lessons.lesson import Lesson, find_lesson, load_course
from cloche.lessons.needs import Given, missing
from cloche.lessons.page import write_pages, write_unrun_pages
from cloche.lessons.parts import PARTS
from cloche.lessons.phrases import in_language
from cloche.lessons.running import run_lesson

PACKAGE = Path(__file__).parents[1] / "src" / "cloche"
LIBRARIES = ("torch", "matplotlib", "numpy", "tokenizers")
HEADS = {
    "en": "# Lessons\n\nEach is short, and its code runs: on this site it ran when the page was "
    "built. `cloche learn` runs it in your terminal, or writes it as a notebook.",
    "zh": "# 课程\n\n每一课都很短，代码都能运行：这里的结果是生成页面时当场算出来的。"
    "`cloche learn --lang zh` 在终端里运行它们，也可以写成笔记本。",
}


@dataclass(frozen=True)
class Built:
    """Pages of a lesson on disk."""

    lesson: Lesson
    folder: Path
    pages: dict[str, Path]


def build_lessons(cache: Path, *, only: Sequence[str] = (), model: str | None) -> list[Built]:
    """The pages of all lessons, or of those named."""
    lessons = [find_lesson(name) for name in only] if only else list(load_course())
    source = _source_hash()
    given = Given(data_folder(), cache_folder(), model)
    return [_build(lesson, cache, source, given) for lesson in lessons]


def course_page(lessons: Sequence[Lesson], lang: Language) -> str:
    """All lessons by the parts of the course, one line each."""
    parts = [HEADS[lang]]
    for part, title in PARTS.items():
        lines = [
            f"- [{each.title(lang)}]({each.name}.md): {each.summary(lang)}"
            for each in lessons
            if each.part == part
        ]
        if lines:
            parts.append(f"## {in_language(title, lang)}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _build(lesson: Lesson, cache: Path, source: str, given: Given) -> Built:
    files = [Path(lesson.script).parent / name for name in ("cells.py", "en.md", "zh.md")]
    lacking = missing(lesson, given)
    key = _hash(source, given.model or "", *lacking, *(file.read_text("utf-8") for file in files))
    folder = cache / lesson.name / key
    done = folder / "done.json"
    if done.exists():
        pages = {lang: folder / name for lang, name in json.loads(done.read_text("utf-8")).items()}
        return Built(lesson, folder, pages)
    began = time.monotonic()
    if lacking:
        found = write_unrun_pages(lesson, lacking, folder, link=link_of_page)
        print(f"lesson {lesson.name}: not run, it needs {'; '.join(lacking)}", flush=True)
    else:
        found = write_pages(lesson, list(run_lesson(lesson, given)), folder, link=link_of_page)
        print(f"lesson {lesson.name}: {time.monotonic() - began:.1f} s, {folder}", flush=True)
    names = {lang: path.name for lang, path in found.items()}
    done.write_text(json.dumps(names), encoding="utf-8")
    return Built(lesson, folder, dict(found.items()))


def link_of_page(words: str, target: str) -> str:
    """A link from a lesson's page to another lesson or to a guide."""
    kind, _, name = target.partition(":")
    return f"[{words}]({name}.md)" if kind == "lesson" else f"[{words}](../{name})"


def _source_hash() -> str:
    """Of the package without its lessons' pages, and the versions of what computes and draws."""
    files = sorted(PACKAGE.rglob("*.py")) + sorted(PACKAGE.rglob("*.json"))
    own = [file for file in files if "pages" not in file.parts]
    versions = [f"{name} {version(name)}" for name in LIBRARIES]
    return _hash(*versions, *(file.read_text("utf-8") for file in own))


def _hash(*texts: str) -> str:
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode("utf-8") + b"\0")
    return found.hexdigest()[:16]
