"""Moments of tokens as speeds, and lengths that fit into a model."""

import pytest

from cloche.bench.generating_works import Lengths, Work
from cloche.bench.generators import prefill_seconds, seconds_a_token
from cloche.errors import ClocheError, SettingError


def test_writing_is_timed_from_the_first_token_on():
    assert seconds_a_token([[5.0, 5.5, 6.0, 6.5]]) == pytest.approx(0.5)
    assert Work(1, 10, 4).seconds_per_token([[5.0, 5.5, 6.0, 6.5]]) == pytest.approx(0.5)


def test_answers_count_together_while_all_of_them_are_written():
    early, late = [1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0]
    # from 2 to 4: two tokens of each
    assert seconds_a_token([early, late]) == pytest.approx(2.0 / 4)
    assert seconds_a_token([early, early]) == pytest.approx(3.0 / 6)


def test_answers_that_were_never_written_together_have_no_speed():
    with pytest.raises(ClocheError, match=r"first of 2 answers was done before .* --new-tokens"):
        seconds_a_token([[1.0, 2.0], [3.0, 4.0]])


def test_reading_is_timed_until_the_last_answer_has_a_token():
    assert prefill_seconds([[2.0, 9.0], [4.0, 9.0]]) == 4.0
    assert Work(1, 800, 1).seconds_per_token([[4.0]]) == pytest.approx(4.0 / 800)


def test_every_turn_has_prompts_of_its_own_and_every_side_the_same():
    work = Work(3, 8, 20)
    turns = [work.draw(turn, vocab_size=50) for turn in range(4)]
    prompts = [tuple(prompt) for writing in turns for prompt in writing.prompts]
    assert len(set(prompts)) == 4 * 3
    assert {len(prompt) for prompt in prompts} == {8}
    assert {number for prompt in prompts for number in prompt} <= set(range(50))
    assert work.draw(2, vocab_size=50) == turns[2]


def test_the_turn_that_warms_up_is_short_and_has_the_same_room():
    work = Work(3, 8, 20)
    warm, first = (work.draw(turn, vocab_size=50) for turn in (0, 1))
    assert (warm.new_tokens, first.new_tokens) == (8, 20)
    assert warm.room == first.room == 28


@pytest.mark.parametrize(
    ("context", "wanted"),
    [(8192, [(32, 64), (800, 1)]), (256, [(32, 64), (255, 1)]), (8, [(2, 6), (7, 1)])],
)
def test_lengths_that_were_not_given_fit_into_the_model(context, wanted):
    works = Lengths().works([1], context=context)
    assert [(work.prompt_tokens, work.new_tokens) for work in works] == wanted


@pytest.mark.parametrize("context", [4, 5, 9, 40, 95, 96, 97, 1000])
@pytest.mark.parametrize("given", [{}, {"prompt": 2}, {"new": 2}, {"prompt": 1, "new": 3}])
def test_whatever_fits_is_within_the_context(context, given):
    *decode, prefill = Lengths(**given).works([1, 4], context=context)
    assert [work.batch for work in decode] == [1, 4]
    for work in decode:
        assert work.prompt_tokens >= 1
        assert work.new_tokens >= 2
        assert work.prompt_tokens + work.new_tokens <= context
    assert prefill.name == "prefill"
    assert prefill.prompt_tokens + 1 <= context


def test_lengths_that_were_given_and_do_not_fit_are_told_at_once():
    with pytest.raises(SettingError) as found:
        Lengths(prompt=60, new=50, prefill=100).works([1], context=100)
    assert "--prompt-tokens 60 and --new-tokens 50 are 110 tokens" in str(found.value)
    assert "--prefill-tokens 100 and the token after it" in str(found.value)


def test_a_model_that_reads_hardly_anything_is_told():
    with pytest.raises(SettingError, match="reads 1 tokens, too few"):
        Lengths().works([1], context=1)


def test_lengths_that_no_model_has_are_told_at_once():
    problems = Lengths(prompt=0, new=1, prefill=-3).problems()
    assert len(problems) == 3
    assert any("--new-tokens must be at least 2, got 1" in problem for problem in problems)
