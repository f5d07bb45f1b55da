import io

import numpy as np
import pytest
from rich.console import Console

from cloche.lessons.chart_lines import chart_lines, spark
from cloche.lessons.charts import Bars, Curves, HeatMap
from cloche.lessons.markdown import line_ends
from cloche.lessons.page import fenced, write_pages, write_unrun_pages
from cloche.lessons.running import run_lesson
from cloche.lessons.terminal import print_course, print_lesson
from cloche.plots.canvas import cjk_font, theme_named


def link(words, target):
    return f"[{words}]({target}.md)"


def printed(lesson, given, lang, pictures=None):
    paper = io.StringIO()
    console = Console(file=paper, width=80, force_terminal=False)
    print_lesson(lesson, run_lesson(lesson, given), console, lang=lang, pictures=pictures)
    return paper.getvalue()


def test_the_terminal_has_text_code_values_and_outputs(lesson, given):
    text = printed(lesson, given, "en")
    assert "It is 6.0, half is 3.0. See heads (cloche learn heads)" in text
    assert "torch.arange(4.0).sum()" in text
    assert "tensor(6.)" in text
    assert "# words …" in text
    assert "stage.say" not in text  # folded
    assert "six is 6" in text
    assert "六" not in text
    assert "Eye" in text
    assert "--out FOLDER" in text  # a drawing of the lesson's own has no lines


def test_the_terminal_speaks_chinese(lesson, given):
    text = printed(lesson, given, "zh")
    assert "一共 6.0，一半是 3.0。" in text
    assert "六是 6" in text
    assert "six is" not in text
    assert "名字" in text


def test_pictures_are_written_light_and_dark(lesson, given, tmp_path):
    text = printed(lesson, given, "en", pictures=tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 6
    assert names[0] == "sums-figures-1-en-dark.png"
    assert "written to" in text


def test_the_course_is_printed_by_parts(lesson):
    paper = io.StringIO()
    print_course([lesson], Console(file=paper, width=80), "zh")
    assert paper.getvalue().split()[:2] == ["注意力", "sums"]


def test_a_page_has_code_outputs_values_and_both_pictures(lesson, given, tmp_path):
    if cjk_font() is None:
        pytest.skip("no font with Chinese characters")
    paths = write_pages(lesson, list(run_lesson(lesson, given)), tmp_path / "site", link=link)
    english, chinese = (paths[lang].read_text(encoding="utf-8") for lang in ("en", "zh"))
    assert english.startswith('---\ntitle: "Sums: a start"\n')
    assert "It is 6.0" in english
    assert "[heads](lesson:heads.md)" in english
    assert "| a\\|b | name |" in english
    assert '??? note "Code: words"' in english
    assert '??? note "代码: words"' in chinese
    assert english.count("#only-light") == chinese.count("#only-light") == 3
    assert english.count("```python") == chinese.count("```python")
    pictures = list((tmp_path / "site").glob("*.svg"))
    assert len(pictures) == 12
    assert all(path.name in english + chinese for path in pictures)


def test_a_page_that_could_not_run_shows_no_number(lesson, tmp_path):
    paths = write_unrun_pages(lesson, ["a model:\nname it"], tmp_path / "site", link=link)
    english = paths["en"].read_text(encoding="utf-8")
    assert "did not run when this page was built" in english
    assert "- a model: name it" in english
    assert "It is —" in english
    assert "tensor(6.)" not in english


def test_a_fence_is_longer_than_those_it_holds():
    assert fenced("```x```", "text") == "````text\n```x```\n````"


def test_chinese_lines_are_filled_and_begin_with_no_stop():
    text = "一二三四五。六七八九十，一二"
    ends = list(line_ends(text, 10))
    lines = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert lines == ["一二三四", "五。六七八", "九十，一二"]


def test_english_lines_break_at_spaces_and_long_words_anywhere():
    text = "one two threefour " + "x" * 25
    ends = list(line_ends(text, 10))
    lines = [text[a:b].rstrip() for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert lines == ["one two", "threefour", "x" * 10, "x" * 10, "x" * 5]


CHARTS = [
    HeatMap(np.full((2, 2), np.nan), rows=["a", "b"], columns=["a", "b"]),
    HeatMap([[0.0, float("-inf")]], rows=["a"], columns=["a", "b"], signed=True),
    HeatMap(np.ones((2, 40)), rows=["a", "b"], columns=[f"c{n}" for n in range(40)]),
    Curves([1.0, 2.0], {"a": [1.0, float("nan")], "b": [0.1, 10.0]}, log_y=True, log_x=True),
    Curves([1.0], {"a": [0.0]}, x={"en": "x", "zh": "横"}),
    Bars(["a very long name", "b"], {"s": [1.0, -2.0], "t": [float("nan"), 0.0]}),
]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_charts_of_any_numbers_are_drawn_and_printed(chart, tmp_path):
    chart.draw(theme_named("dark"), "en").savefig(tmp_path / "x.png")
    paper = io.StringIO()
    Console(file=paper, width=100).print(chart_lines(chart, "en"))
    assert paper.getvalue().strip()


def test_a_spark_is_low_where_the_number_is_low():
    assert spark(np.array([0.0, 1.0, np.nan]), low=0.0, high=1.0) == "▁█·"
