"""Prompts are laid out from system text, examples and question, and say what is missing."""

import pytest

from cloche.errors import SettingError, TextError
from cloche.text.prompts import (
    Example,
    PromptLayout,
    make_layout,
    parse_constants,
    parse_object,
    read_examples,
)
from cloche.text.templates import Template

OPPOSITES = [
    Example("shots, line 1", {"input": "hot", "output": "cold"}),
    Example("shots, line 2", {"input": "big", "output": "small"}),
]


def template(source: str, name: str = "the template") -> Template:
    return Template(source, name=name)


def test_without_anything_a_prompt_is_itself():
    assert PromptLayout().lay_out({"prompt": " as {{ it }} is\n"}) == " as {{ it }} is\n"


def test_system_text_examples_and_question_are_parted_by_blank_lines():
    layout = make_layout(None, system="One word.", examples=OPPOSITES)
    assert layout.lay_out({"prompt": "wet"}) == (
        "One word.\n\nInput: hot\nOutput: cold\n\nInput: big\nOutput: small\n\nInput: wet\nOutput:"
    )


def test_an_example_is_the_template_and_then_its_output():
    layout = make_layout(template("Q: {{ input }}\nA:"), examples=OPPOSITES[:1])
    assert layout.lay_out({"input": "wet"}) == "Q: hot\nA: cold\n\nQ: wet\nA:"


def test_no_space_stands_before_an_output_in_chinese_or_on_a_new_line():
    shots = [Example("x", {"q": "热", "output": "冷"})]
    assert make_layout(template("问：{{ q }}\n答："), examples=shots).shots == ("问：热\n答：冷",)
    assert make_layout(template("{{ q }}\n\n"), examples=shots).shots == ("热\n冷",)


def test_an_example_looks_as_its_own_template_says():
    layout = make_layout(
        template("{{ input }} ->"),
        examples=OPPOSITES,
        shot_template=template("{{ input }} -> {{ output }}!"),
    )
    assert layout.lay_out({"input": "wet"}) == "hot -> cold!\n\nbig -> small!\n\nwet ->"


def test_constants_fill_what_the_fields_do_not():
    layout = make_layout(template("{{ a }}{{ b }}"), constants={"a": "1", "b": "2"})
    assert layout.lay_out({"b": "3"}) == "13"
    assert layout.takes("a")
    assert not layout.takes("prompt")


@pytest.mark.parametrize(
    ("made_of", "said"),
    [
        ({"constants": {"c": "1", "a": "2"}}, "'c' would not be used: its variables are: a"),
        ({"constants": {"b": "1", "c": "2"}}, "2 settings"),
        ({"examples": [Example("x 1", {"a": "1"})]}, "x 1: it has no text 'output'"),
        ({"examples": [Example("x 1", {"output": "1"})]}, "x 1: the template needs {{ a }}"),
    ],
)
def test_what_does_not_fit_the_template_is_told(made_of, said):
    with pytest.raises((SettingError, TextError)) as caught:
        make_layout(template("{{ a }}"), **made_of)
    assert said in str(caught.value)


def test_every_bad_example_is_told_the_first_ten_by_place():
    shots = [Example(f"line {n}", {}) for n in range(1, 13)]
    with pytest.raises(TextError) as caught:
        make_layout(template("{{ a }}"), examples=shots)
    message = str(caught.value)
    assert "12 of 12 examples" in message
    assert "line 10:" in message
    assert "line 11:" not in message
    assert message.endswith("and 2 more")


def test_the_usual_layout_leaves_no_field_of_an_example_out_silently():
    shots = [Example("x", {"instruction": "translate", "input": "a", "output": "b"})]
    with pytest.raises(SettingError, match="'instruction', which the usual layout"):
        make_layout(None, examples=shots)


@pytest.mark.parametrize("fields", [{}, {"prompt": 3}, {"text": "a"}])
def test_a_question_without_text_is_refused(fields):
    with pytest.raises(TextError, match="'prompt'"):
        PromptLayout().lay_out(fields)


def test_constants_are_read_and_all_problems_told():
    assert parse_constants(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(SettingError) as caught:
        parse_constants(["a", "1b=2", "c=1", "c=2"])
    assert all(part in str(caught.value) for part in ("3 settings", "'a' is", "'1b=2' is", "twice"))


EXPECTED = [{"input": "a", "output": "b"}, {"input": "c, d", "output": "e"}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", '{"input": "a", "output": "b"}\n\n{"input": "c, d", "output": "e"}\r\n'),
        ("x.json", '[{"input": "a", "output": "b"},\n {"input": "c, d", "output": "e"}]'),
        ("x.csv", 'input,output\na,b\n"c, d",e\n'),
        ("x.json.gz", '[{"input": "a", "output": "b"}, {"input": "c, d", "output": "e"}]'),
        ("x.CSV", "input;output\r\na;b\r\n\r\nc, d;e\r\n"),
        ("x.tsv", "input\toutput\na\tb\nc, d\te"),
    ],
)
def test_examples_are_read_from_every_format(name, text):
    assert [dict(example.fields) for example in read_examples(text, name=name)] == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.txt", "a", "this ends in .txt"),
        ("x.jsonl", "\n", "holds no examples"),
        ("x.jsonl", '{"a": 1}\n{"a": ', "x.jsonl, line 2 is no example: it is no JSON"),
        ("x.jsonl", '{"a": 1, "a": 2}', "the key 'a' twice"),
        ("x.jsonl", '{"a": NaN}', "NaN, which JSON does not know"),
        ("x.jsonl", "[" * 100_000, "nested too deeply"),
        ("x.json", '{"a": 1}', "no list of examples"),
        ("x.json", "[{}, 3]", "example 2 is not an object but 3"),
        ("x.json", '[{}], "b": 1', "no JSON"),
        ("x.csv", "a,b\n1\n", "line 2 has 1 cells for 2 columns"),
        ("x.csv", "a,a\n1,2\n", "none twice"),
        ("x.csv", 'a,b\n"1,2\n', "is no CSV"),
        ("x.csv", "a,b\n", "holds no examples"),
        ("x.csv", "", "holds no examples"),
    ],
)
def test_what_is_no_example_is_told_with_its_place(name, text, said):
    with pytest.raises(TextError) as caught:
        read_examples(text, name=name)
    assert said in str(caught.value)


def test_an_object_is_parsed_strictly():
    assert parse_object('{"a": [1, null]}') == {"a": [1, None]}
    with pytest.raises(ValueError, match="no JSON object"):
        parse_object("[]")
