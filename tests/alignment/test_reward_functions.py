"""The rewards that come with cloche."""

from fractions import Fraction

import pytest

from cloche.alignment.reward_functions.arithmetic import (
    evaluate,
    question_value,
    reward_arithmetic,
)
from cloche.alignment.reward_functions.exact import reward_exact
from cloche.alignment.reward_functions.length import reward_length
from cloche.alignment.reward_functions.pattern import reward_format
from cloche.alignment.reward_functions.stories import reward_stories
from cloche.data.stories.corpus import story
from cloche.data.stories.statements import first_sentence, true_statements
from cloche.errors import DataError, SettingError


def test_exact_takes_one_of_several_right_answers_and_spaces_do_not_count():
    exact = reward_exact(None)
    assert exact("?", "  the   red\nball ", {"answer": "the red ball"}) == 1.0
    assert exact("?", "the red ball.", {"answer": "the red ball"}) == 0.0
    assert exact("?", "two", {"answer": ["2", "two"]}) == 1.0
    assert exact("?", "2", {"answer": 2}) == 1.0
    assert reward_exact("label")("?", "a", {"label": "a", "answer": "b"}) == 1.0


def test_exact_names_the_field_that_it_misses():
    with pytest.raises(DataError, match="no field 'answer'; there are: id"):
        reward_exact(None)("?", "x", {"id": 1})
    with pytest.raises(DataError, match="'answer' must hold the right answer"):
        reward_exact(None)("?", "x", {"answer": {"a": 1}})


def test_format_wants_the_whole_answer_of_that_form():
    assert reward_format(r"\d+\.")("?", " 12.\n", {}) == 1.0
    assert reward_format(r"\d+\.")("?", "12. Yes", {}) == 0.0
    assert reward_format("<think>.*</think>.*")("?", "<think>a\nb</think>c", {}) == 1.0
    assert reward_format(None)("?", "ab", {"format": "a+b"}) == 1.0
    with pytest.raises(SettingError, match="no regular expression"):
        reward_format("(")
    with pytest.raises(DataError, match="'format' must hold a regular expression"):
        reward_format(None)("?", "ab", {"format": 3})


@pytest.mark.parametrize(
    ("count", "reward"), [(0, 0.0), (5, 0.5), (10, 1.0), (20, 1.0), (30, 0.5), (40, 0.0), (99, 0.0)]
)
def test_length_falls_off_on_both_sides_of_its_range(count, reward):
    assert reward_length("10..20")("?", "字" * count, {}) == reward


@pytest.mark.parametrize("option", [None, "", "20", "20..10", "0..0", "a..b", "-1..5"])
def test_a_range_that_is_none_is_refused(option):
    with pytest.raises(SettingError, match="needs a range of characters"):
        reward_length(option)


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("What is 3 * (2 + 4)?", 18),
        ("Compute 7 - -2.", 9),
        ("12 ÷ 5 = ?", Fraction(12, 5)),
        ("１ is nothing. 2×3−10?", -4),
        ("1,000 + 0.5", Fraction(2001, 2)),
        ("Add 2+2. Then 2+3*4.", 14),
        ("(How much is 2+(3-1)?) (or (2+3))", 5),
        ("（２＋３）×２＝？", 10),
        ("In 2019-05 nothing, but 8/4/2", 1),
    ],
)
def test_the_value_of_a_question_is_exact(question, value):
    assert question_value(question) == value


@pytest.mark.parametrize("text", ["How are you?", "7", "-5", "", "3 apples"])
def test_a_prompt_without_a_question_is_told(text):
    with pytest.raises(DataError, match="no arithmetic question"):
        question_value(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1/(2-2)", "divides by zero"),
        ("(" * 60 + "1+1" + ")" * 60, "nests deeply"),
        ("(1+2", "not closed"),
        ("9" * 50 + "+1", "40 digits"),
        ("1+2)", "no arithmetic"),
        ("2**9", "ends too early"),
        ("2+__import__", "no arithmetic"),
    ],
)
def test_what_is_no_arithmetic_is_never_run(text, told):
    with pytest.raises(DataError, match=told):
        evaluate(text)


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("18", 1.0),
        ("3 * 6 = 18.", 1.0),
        ("18, not 17", 0.0),
        ("It is 36/2", 1.0),
        ("no number", 0.0),
        ("18/0", 0.0),
        ("9" * 100, 0.0),
    ],
)
def test_the_last_number_of_the_answer_counts(answer, reward):
    assert reward_arithmetic(None)("What is 3 * (2 + 4)?", answer, {}) == reward


def test_a_rounded_number_is_right_with_two_decimals():
    arithmetic = reward_arithmetic(None)
    assert arithmetic("1/3 = ?", "0.33", {}) == 1.0
    assert arithmetic("1/3 = ?", "0.3", {}) == 0.0
    assert arithmetic("1/3 = ?", "0.34", {}) == 0.0


def test_a_statement_about_a_story_is_held_against_its_world():
    stories = reward_stories(None)
    record = {"story": 3, "seed": 1, "language": "en"}
    true = sorted(true_statements(3, seed=1, language="en"))[0]
    assert stories("...", f" {true}. And then?", record) == 1.0
    wrong = story(3, seed=1, language="en").continuation.wrong
    assert stories("...", wrong, record) == 0.0
    assert first_sentence(wrong)
    assert stories("...", "", record) == 0.0


def test_a_question_about_a_story_has_one_answer_whatever_its_capitals():
    record = {"answer": "Tom"}
    assert reward_stories(None)("Who?", "tom.", record) == 1.0
    assert reward_stories(None)("Who?", "Tom and Ann", record) == 0.0


@pytest.mark.parametrize(
    "record",
    [
        {"story": "3", "seed": 1, "language": "en"},
        {"story": 3, "seed": 1, "language": "fr"},
        {"story": 3, "seed": 1},
        {"story": 3, "seed": True, "language": "en"},
    ],
)
def test_a_record_of_no_story_is_told(record):
    with pytest.raises(DataError, match=r"field '(story|seed|language)'"):
        reward_stories(None)("...", "x", record)
