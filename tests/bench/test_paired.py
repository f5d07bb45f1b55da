import pytest

from cloche.bench.paired import Timing, paired_ratio, time_in_turn


def test_sides_take_turns_and_each_is_told():
    order, told = [], []

    def side(name, seconds):
        def work():
            order.append(name)
            return seconds

        return work

    found = time_in_turn({"a": side("a", 1.0), "b": side("b", 2.5)}, rounds=2, tell=told.append)
    assert order == ["a", "b", "a", "b"]
    assert found["b"].seconds == (2.5, 2.5)
    assert told[0] == "round 1 of 2: a 1.00 s"
    assert told[3] == "round 2 of 2: b 2.50 s"


def test_another_way_to_show_a_time_is_used():
    told = []
    show = lambda name, seconds: f"{name} at {1 / seconds:.0f} a second"  # noqa: E731
    time_in_turn({"a": lambda: 0.25}, rounds=1, tell=told.append, show=show)
    assert told == ["round 1 of 1: a a at 4 a second"]


def test_a_ratio_is_the_median_of_the_rounds_and_not_that_of_the_times():
    above, below = Timing("above", (2.0, 40.0, 3.0)), Timing("below", (1.0, 10.0, 2.0))
    assert paired_ratio(above, below) == pytest.approx(2.0)
    assert above.median / below.median == pytest.approx(1.5)
