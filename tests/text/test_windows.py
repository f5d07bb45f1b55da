import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import SettingError, TextError
from cloche.text.windows import Lesson, Window, WindowPlan, lesson_line


def test_each_context_of_a_window_has_its_next_token():
    (window,) = WindowPlan(3, 3).windows([5, 6, 7, 8])
    assert window == Window(0, (5, 6, 7), (6, 7, 8))
    assert window.lessons() == [Lesson((5,), 6), Lesson((5, 6), 7), Lesson((5, 6, 7), 8)]


@given(
    context=st.integers(1, 6),
    stride=st.integers(1, 8),
    start=st.integers(0, 5),
    tokens=st.integers(12, 60),
    wanted=st.none() | st.integers(1, 9),
)
def test_windows_are_those_of_the_whole_text(context, stride, start, tokens, wanted):
    plan = WindowPlan(context, stride, start)
    ids = list(range(100, 100 + tokens))
    firsts = [first for first in range(start, tokens, stride) if first + context < tokens]
    assert plan.count(tokens) == len(firsts)
    kept = plan.needed(wanted)
    windows = plan.windows(ids[kept.within(0, tokens)])
    assert [window.start for window in windows] == firsts[:wanted]
    for window in windows:
        assert window.inputs == tuple(ids[window.start : window.start + context])
        assert window.targets == tuple(ids[window.start + 1 : window.start + context + 1])


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ((0, 1, 0), "--windows must be at least 1 token, got 0"),
        ((4, 0, 0), "--stride must be at least 1 token, got 0"),
        ((4, 1, -1), "--start must be at least 0 token, got -1"),
    ],
)
def test_impossible_windows_are_refused(plan, message):
    with pytest.raises(SettingError, match=message):
        WindowPlan(*plan)


def test_a_text_without_a_whole_window_says_what_it_needs():
    assert WindowPlan(4, 4, 2).count(7) == 1
    with pytest.raises(TextError, match="6 tokens; a window of 4 from token 2 needs 7"):
        WindowPlan(4, 4, 2).count(6)


def test_a_lesson_reads_with_one_space_before_what_follows():
    assert lesson_line(" and", " established") == " and ----> established"
    assert lesson_line("Firs", "t") == "Firs ----> t"
