"""Templates are filled with data, told by line where they cannot be, and reach nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import SettingError, TextError
from cloche.text import templates
from cloche.text.templates import Template


def fill(source: str, **values: object) -> str:
    return Template(source, name="the template").fill(values)


def test_variables_are_filled_and_the_last_line_end_is_no_part():
    assert fill("Q: {{ q }}\nA:\n", q="why?", unused=1) == "Q: why?\nA:"


def test_lines_of_blocks_leave_no_lines_behind():
    source = "{% for tag in tags %}\n- {{ tag }}\n{% endfor %}\nend"
    assert fill(source, tags=["a", "b"]) == "- a\n- b\nend"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_fills_a_variable_is_data_and_stays_as_it_is(text):
    assert fill("{{ x }}", x=text) == text


def test_braces_in_a_value_are_no_template():
    assert fill("{{ x }}", x="{{ y }} {% include 'f' %}") == "{{ y }} {% include 'f' %}"


def test_the_first_line_of_each_variable_is_known():
    assert Template("a\n{{ x }}\n{{ y }}{{ x }}", name="t").variables == {"x": 2, "y": 3}


def test_all_missing_variables_are_told_with_their_lines():
    with pytest.raises(TextError, match=r"\{\{ a \}\} \(line 1\), \{\{ c \}\} \(line 3\).*'b'"):
        fill("{{ a }}\n{{ b }}\n{{ c }}", b="1")


def test_a_variable_that_the_template_asks_after_may_be_missing():
    source = "{% if a is defined %}{{ a }}{% endif %}{{ b | default('none') }}"
    assert fill(source) == "none"
    assert fill(source, a="1", b="2") == "12"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("one\ntwo {{ x \n", "line 2"),
        ("{% if x %}\n{{ x }}", "line 2"),
        ("a\n{% include 'secret' %}", "line 2: include asks for another template"),
        ("{% extends 'base' %}", "extends"),
        ("{% import 'base' as b %}", "import"),
        ("\n\n{{ x | no_filter }}", "line 3: No filter named 'no_filter'"),
    ],
)
def test_wrong_syntax_is_told_with_its_line(source, said):
    with pytest.raises(SettingError, match="the template: ") as caught:
        Template(source, name="the template")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a\n{{ x.__class__ }}", "line 2"),
        ("{{ x.y }}", "has no attribute 'y'"),
        ("a\nb\n{{ null }}", "line 3: a value is null"),
        ("{{ x * 1000000000 }}", "only for numbers"),
        ("{{ 9 ** 999999999 }}", "** for none"),
        ("{{ '%999999999d' % 1 }}", "only for numbers"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ range(9) }}", "range"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ("{{ half }}", "lone surrogate U+D800"),
    ],
)
def test_what_cannot_be_filled_is_told_with_its_line(source, said):
    with pytest.raises(TextError, match="the template") as caught:
        fill(source, x="text", null=None, half="\ud800")
    assert said in str(caught.value)


def test_numbers_may_be_reckoned_with():
    assert fill("{{ n * 2 + n % 2 }}", n=3) == "7"


def test_a_text_that_grows_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(templates, "MOST_CHARACTERS", 1000)
    with pytest.raises(TextError, match="grows beyond 1,000 characters"):
        fill("{% for a in x %}{% for b in x %}{{ a }}{% endfor %}{% endfor %}", x=["ab"] * 100)
