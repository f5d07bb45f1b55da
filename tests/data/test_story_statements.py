"""What can be said at the end of a story, and which of it is true."""

import pytest

from cloche.data.stories.corpus import story
from cloche.data.stories.statements import first_sentence, is_statement, true_statements


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("part", ["train", "held_out"])
def test_the_right_ending_is_true_and_the_wrong_one_is_a_statement_that_is_not(language, part):
    for index in range(150):
        told = story(index, seed=9, language=language, part=part)
        true = true_statements(index, seed=9, language=language, part=part)
        right, wrong = (
            first_sentence(text) for text in (told.continuation.right, told.continuation.wrong)
        )
        assert right in true, (index, right)
        assert wrong not in true, (index, wrong)
        assert is_statement(right, language), (index, right)
        assert is_statement(wrong, language), (index, wrong)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_true_statement_is_known_as_a_statement(language):
    for index in range(40):
        for sentence in true_statements(index, seed=2, language=language):
            assert is_statement(sentence, language), sentence


@pytest.mark.parametrize(
    ("sentence", "language", "known"),
    [
        ("In the end, it was Anna who had the purple kite.", "en", True),
        ("The gardener never forgot that day in the park.", "en", True),
        ("In the end, Tom had three apples", "en", True),
        ("They left the key under a bench.", "en", True),
        ("In the end, it was she who had the purple kite.", "en", False),
        ("In the end, it was Anna who had the purple idea.", "en", False),
        ("Anna smiled.", "en", False),
        ("", "en", False),
        ("最后，紫色的风筝在安娜那里。", "zh", True),
        ("最后，汤姆有三个苹果。", "zh", True),
        ("最后，它在安娜那里。", "zh", False),
        ("大家都很满意。", "zh", False),
    ],
)
def test_a_statement_names_people_things_and_places_that_stories_know(sentence, language, known):
    assert is_statement(sentence, language) is known


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (" Anna had it. Then she left.", "Anna had it"),
        ("\nNow it was with Mr Zhang.\nAll slept well.", "Now it was with Mr Zhang"),
        ("最后，她有三个苹果。大家都很满意。", "最后，她有三个苹果"),
        ("“我来帮你。”她说。", "“我来帮你"),
        ("It went on and on", "It went on and on"),
        ("", ""),
    ],
)
def test_the_first_sentence_ends_at_its_mark(text, sentence):
    assert first_sentence(text) == sentence


def test_things_that_changed_hands_and_colour_are_told_as_they_are_at_the_end():
    for index in range(60):
        told = story(index, seed=4, language="en")
        true = true_statements(index, seed=4, language="en")
        for asked in told.questions:
            if asked.kind == "count":
                assert any(f"{asked.answer} " in sentence for sentence in true)
            if asked.kind == "holder":
                thing = asked.question.removeprefix("Who had ").removesuffix(" at the end?")
                assert f"In the end, it was {asked.answer} who had {thing}" in true
