import pytest

from cloche.errors import SettingError
from cloche.lessons.lesson import find_lesson, read_lesson
from cloche.lessons.phrases import LessonError, in_language
from cloche.lessons.texts import fill, unfilled, write_links


def change(folder, name, old, new):
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_lesson_has_its_facts_cells_and_texts(lesson):
    assert (lesson.name, lesson.part, lesson.order, lesson.minutes) == ("sums", "attention", 1, 2)
    assert [cell.name for cell in lesson.cells] == ["numbers", "words", "figures"]
    assert [cell.folded for cell in lesson.cells] == [False, True, False]
    assert lesson.title("en") == "Sums: a start"
    assert lesson.summary("zh") == "加起来。"
    assert lesson.texts["en"].headings == ((2, "Numbers"), (2, "What to try next"), (2, "Sources"))
    assert lesson.texts["en"].values == ("total", "half")
    assert lesson.texts["zh"].links[-1] == "https://example.org/one"


def test_a_cells_line_is_that_of_the_script(lesson, lesson_folder):
    lines = (lesson_folder / "cells.py").read_text(encoding="utf-8").splitlines()
    for cell in lesson.cells:
        assert lines[cell.line - 1] == cell.code.splitlines()[0]


def test_chinese_lines_are_joined_without_a_space(lesson):
    assert "一共是多少？下一行。" in lesson.texts["zh"].prose


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("cells.py", "# minutes = 2\n", "", "the head has"),
        ("cells.py", 'part = "attention"', 'part = "nothing"', "the head has"),
        ("cells.py", "stage = open_stage()", "stage = 1", "does not begin with the head"),
        ("cells.py", "\n# %% numbers", "\nx = 1\n# %% numbers", "code before its first cell"),
        ("cells.py", "# %% numbers", "# %% Numbers", "not a cell"),
        ("cells.py", "# %% words folded", "# %% words closed", "not a cell"),
        ("cells.py", "# %% words folded", "# %% numbers", "two cells called numbers"),
        ("en.md", "{{ words }}", "", "without words"),
        ("zh.md", "{{ words }}", "{{ word }}", "without words"),
        ("zh.md", "{{ words }}", "{{ words }}\n\n{{ more }}", "with more, which"),
        ("zh.md", "{{ words }}", "{{ words }}\n\n{{ words }}", "in another order, or one twice"),
        ("en.md", "{{ words }}", "see {{ words }}", "neither a cell nor a value"),
        ("en.md", "{{= total:.1f }}", "{{ total }}", "neither a cell nor a value"),
        ("en.md", "summary:", "about:", "begins with --- and its title"),
    ],
)
def test_a_lesson_that_is_written_wrongly_says_where(lesson_folder, name, old, new, told):
    change(lesson_folder, name, old, new)
    with pytest.raises(LessonError, match=told):
        read_lesson(lesson_folder)


def test_an_unknown_lesson_names_the_nearest():
    with pytest.raises(SettingError, match="did you mean attention"):
        find_lesson("atention")


def test_values_are_filled_in_their_format_and_language():
    prose = "a {{= loss:.2f}}, b {{= name }}"
    values = {"loss": 1.234, "name": {"en": "cat", "zh": "猫"}}
    assert fill(prose, values, "en") == "a 1.23, b cat"
    assert fill(prose, values, "zh") == "a 1.23, b 猫"
    assert unfilled(prose) == "a —, b —"


def test_a_value_before_its_cell_is_refused():
    with pytest.raises(LessonError, match="no cell before it keeps 'loss'"):
        fill("{{= loss }}", {}, "en")


def test_only_links_within_the_course_are_rewritten():
    prose = "[a](lesson:heads) [b](https://example.org) [c](guide:x.md)"
    written = write_links(prose, lambda words, target: f"<{words}|{target}>")
    assert written == "<a|lesson:heads> [b](https://example.org) <c|guide:x.md>"


def test_a_phrase_without_one_language_is_refused():
    assert in_language("same", "zh") == "same"
    with pytest.raises(LessonError, match="en and zh"):
        in_language({"en": "only"}, "en")
