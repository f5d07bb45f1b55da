import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.data.conversation_fields import Turn, order_problems
from cloche.data.conversations import read_conversations
from cloche.data.preferences import read_preferences, read_prompts
from cloche.data.stories.conversations import (
    HARD_PLOTS,
    has_hard_plot,
    hasty_conversation,
    is_tangled,
    stories_to_ask,
    stories_to_converse,
    stories_to_prefer,
    story_conversation,
    story_preferences,
    story_prompt,
    story_rankings,
)
from cloche.data.stories.corpus import story
from cloche.data.stories.rows import story_rows

indices = st.integers(0, 10**6)
languages = st.sampled_from(["en", "zh"])
parts = st.sampled_from(["train", "held_out"])


@given(indices, languages, parts)
@settings(max_examples=40, deadline=None)
def test_a_conversation_asks_all_questions_of_its_story_and_answers_them(index, language, part):
    told = story(index, seed=3, language=language, part=part)
    messages = story_conversation(index, seed=3, language=language, part=part)
    asked, answers = messages[::2], messages[1::2]
    assert asked[0].content.startswith(f"{told.text}\n\n")
    questions = [asked[0].content.removeprefix(f"{told.text}\n\n"), *(m.content for m in asked[1:])]
    found = sorted(zip(questions, [m.content for m in answers], strict=True))
    assert found == sorted((q.question, q.answer) for q in told.questions)
    assert order_problems([Turn("", message) for message in messages], answered=True) == []


def test_every_kind_of_question_comes_first_at_times():
    firsts = set()
    for index in range(60):
        told = story(index, seed=3, language="en")
        first = story_conversation(index, seed=3, language="en")[0].content
        firsts |= {q.kind for q in told.questions if first.endswith(f"\n\n{q.question}")}
    assert {"holder", "colour", "feeling", "place"} <= firsts


def test_a_prompt_asks_the_question_of_its_number():
    told = story(5, seed=3, language="en")
    for number in range(2 * len(told.questions)):
        (message,), question = story_prompt(5, number, seed=3, language="en")
        assert question == told.questions[number % len(told.questions)]
        assert message.content == f"{told.text}\n\n{question.question}"


@given(indices, languages, parts)
@settings(max_examples=70, deadline=None)
def test_the_right_answer_is_preferred_to_a_wrong_one_of_its_kind(index, language, part):
    told = story(index, seed=3, language=language, part=part)
    pair = story_preferences(index, seed=3, language=language, part=part)
    text, question = pair.prompt[0].content.rsplit("\n\n", 1)
    (asked,) = [one for one in told.questions if one.question == question]
    (chosen,), (rejected,) = pair.chosen, pair.rejected
    assert text == told.text
    assert chosen.content == asked.answer != rejected.content
    if language == "zh":
        assert rejected.content.startswith("很") == (asked.kind == "feeling")
        assert asked.kind != "place" or rejected.content.startswith("在")
        assert asked.kind != "count" or rejected.content[-1] == asked.answer[-1]  # measure word


def test_wrong_answers_come_from_the_story_where_they_can():
    pairs = [story_preferences(index, seed=3, language="en") for index in range(120)]
    named = [pair.rejected[0].content.lower() in pair.prompt[0].content.lower() for pair in pairs]
    assert sum(named) > 60
    assert len({pair.rejected[0].content for pair in pairs}) > 30


@given(indices, languages, parts)
@settings(max_examples=40, deadline=None)
def test_rankings_put_the_right_answer_before_wrong_ones_that_the_story_names_if_it_can(
    index, language, part
):
    told = story(index, seed=3, language=language, part=part)
    ranked = story_rankings(index, most=3, seed=3, language=language, part=part)
    by_text = {question.question: question for question in told.questions}
    assert len(ranked) == len(told.questions)
    for (prompt,), (first, *wrong) in ranked:
        text, asked = prompt.content.rsplit("\n\n", 1)
        assert text == told.text
        assert first == by_text.pop(asked).answer
        assert len({first, *wrong}) == 3
        bare = [each.removeprefix("很").removeprefix("在") for each in wrong]
        if language == "zh":
            named = [each in told.text for each in bare]
            assert named == sorted(named, reverse=True)
    assert not by_text


def test_hard_plots_are_found_without_telling_the_story():
    shapes = set()
    for part in ("train", "held_out"):
        for index in range(150):
            shape = story(index, seed=5, language="en", part=part).shape
            assert has_hard_plot(index, seed=5, part=part) == (shape in HARD_PLOTS)
            shapes.add(shape)
    assert len(shapes & set(HARD_PLOTS)) == len(HARD_PLOTS)


def test_stories_are_what_reading_their_rows_gives(tmp_path):
    which = {"seed": 4, "language": "zh", "part": "held_out"}
    files = {}
    for form in ("chat", "preferences", "prompts"):
        files[form] = tmp_path / f"{form}.jsonl"
        rows = story_rows(form, "zh", size_bytes=4000, seed=4, part="held_out")
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        files[form].write_text("".join(lines), "utf-8")
    conversations = read_conversations(files["chat"])
    count = len(conversations)
    assert count > 3
    wanted = stories_to_converse(count, **which)
    assert [r.conversation for r in conversations] == [r.conversation for r in wanted]
    assert wanted.form == conversations.form
    pairs = read_preferences(files["preferences"]).pairs
    wanted = stories_to_prefer(count, **which).pairs
    assert [(p.prompt, p.chosen, p.rejected) for p in pairs] == [
        (p.prompt, p.chosen, p.rejected) for p in wanted
    ]
    prompts = read_prompts(files["prompts"])
    wanted = stories_to_ask(count, **which)
    assert [(p.conversation, p.fields) for p in prompts] == [
        (p.conversation, p.fields) for p in wanted
    ]


@pytest.mark.parametrize("function", [stories_to_converse, stories_to_ask])
def test_stories_go_on_from_any_index_and_are_numbered_by_it(function):
    whole = list(function(6, seed=1, language="en"))
    assert list(function(2, first=4, seed=1, language="en")) == whole[4:]
    assert [record.number for record in whole] == list(range(6))
    assert whole[5].place == "stories en train, story 5"


def test_tangled_stories_count_or_hide_something_or_name_others_for_three_questions():
    which = {"seed": 3, "language": "en"}
    found = {index: is_tangled(index, **which) for index in range(60)}
    assert 0.2 < sum(found.values()) / len(found) < 0.6
    for index, tangled in found.items():
        told = story(index, **which)
        counts = any(question.kind in ("count", "spot") for question in told.questions)
        mistaken = hasty_conversation(index, share=1.0, **which)
        right = story_conversation(index, **which)
        if counts:
            assert tangled
        elif not tangled:  # in haste, at most two of its answers can be wrong
            assert sum(a != b for a, b in zip(mistaken, right, strict=True)) <= 2
