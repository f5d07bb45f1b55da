"""Every lesson that comes with cloche, held to the rules without being run; a few are run."""

import ast
import re
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from cloche.lessons.lesson import find_lesson, load_course
from cloche.lessons.needs import Given
from cloche.lessons.parts import PARTS
from cloche.lessons.running import run_lesson
from cloche.lessons.texts import Prose, fill

COURSE = load_course()
NAMES = [lesson.name for lesson in COURSE]
QUICK = ("attention", "scaling", "scaling-laws")
"""Run with every run of the tests; `make bars` runs them all."""
PAGES = Path(str(resources.files("cloche.lessons").joinpath("pages")))
DOCS = Path(__file__).parents[2] / "docs"
BEYOND_MARKDOWN = re.compile(r"\$\$|\\\(|\\frac|^!!! |<[a-z]+[ >]|!\[", re.MULTILINE)

every_lesson = pytest.mark.parametrize("lesson", COURSE, ids=NAMES)


def kept_by(code: str) -> set[str]:
    """Names that a cell keeps, as its source has them."""
    calls = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    return {
        keyword.arg or "**"
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "keep"
        for keyword in call.keywords
    }


def test_every_folder_is_a_whole_lesson():
    folders = {path.name for path in PAGES.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == set(NAMES)


def test_places_in_the_course_are_distinct_and_parts_follow_one_another():
    orders = [lesson.order for lesson in COURSE]
    assert len(set(orders)) == len(orders)
    assert {lesson.part for lesson in COURSE} <= set(PARTS)


@every_lesson
def test_both_languages_have_the_same_shape(lesson):
    english, chinese = lesson.texts["en"], lesson.texts["zh"]
    assert english.cells == chinese.cells
    assert [level for level, _ in english.headings] == [level for level, _ in chinese.headings]
    assert Counter(english.values) == Counter(chinese.values)
    assert Counter(english.links) == Counter(chinese.links)


@every_lesson
def test_a_lesson_ends_with_what_to_try_and_its_sources(lesson):
    assert [words for _, words in lesson.texts["en"].headings][-2:] == [
        "What to try next",
        "Sources",
    ]
    assert [words for _, words in lesson.texts["zh"].headings][-2:] == ["接下来可以试", "来源"]
    assert all(level in (2, 3) for level, _ in lesson.texts["en"].headings)


@every_lesson
def test_chinese_is_chinese(lesson):
    text = lesson.texts["zh"]
    assert re.search("[\u4e00-\u9fff]", text.title + text.summary)
    assert len(re.findall("[\u4e00-\u9fff]", text.prose)) > 200


@every_lesson
def test_texts_use_what_terminal_site_and_notebook_all_show(lesson):
    for text in lesson.texts.values():
        outside_code = re.sub(r"```.*?```|`[^`]*`", "", text.prose, flags=re.DOTALL)
        assert BEYOND_MARKDOWN.search(outside_code) is None


@every_lesson
def test_marks_are_read_as_marks(lesson):
    """A closing ** between a Chinese stop and a character is none: 好**。, never 好。**而."""
    for text in lesson.texts.values():
        inline = (token.children or [] for token in MarkdownIt().parse(text.prose))
        left = [token.content for tokens in inline for token in tokens if token.type == "text"]
        assert not [words for words in left if "**" in words or "](" in words]


@every_lesson
def test_links_lead_to_lessons_and_guides_that_exist(lesson):
    for target in lesson.texts["en"].links:
        kind, _, name = target.partition(":")
        assert kind in ("lesson", "guide", "https"), target
        if kind == "lesson":
            assert name in NAMES, target
        if kind == "guide":
            assert (DOCS / name.partition("#")[0]).is_file(), target


@every_lesson
def test_values_are_kept_by_a_cell_before_they_are_told(lesson):
    code = {cell.name: cell.code for cell in lesson.cells}
    for text in lesson.texts.values():
        kept: set[str] = set()
        for piece in text.pieces:
            if isinstance(piece, Prose):
                told = set(re.findall(r"\{\{= *(\w+)", piece.text))
                assert told <= kept or "**" in kept, told - kept
            else:
                kept |= kept_by(code[piece.cell])


@every_lesson
def test_code_is_read_in_a_terminal(lesson):
    for cell in lesson.cells:
        compile(cell.code, cell.name, "exec")
        assert max(map(len, cell.code.splitlines())) <= 88, cell.name


@pytest.mark.parametrize("name", QUICK)
def test_quick_lessons_run_and_fill_their_texts(name, tmp_path_factory, shared_data):
    lesson = find_lesson(name)
    cache = tmp_path_factory.getbasetemp() / "cache"
    ran = {each.cell.name: each for each in run_lesson(lesson, Given(shared_data, cache))}
    for lang, text in lesson.texts.items():
        values = {}
        for piece in text.pieces:
            if isinstance(piece, Prose):
                assert "{{" not in fill(piece.text, values, lang)
            else:
                values = ran[piece.cell].values
