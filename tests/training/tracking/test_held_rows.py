"""Rows that a tracker has already are not sent a second time."""

from cloche.training.tracking.held import Held
from cloche.training.tracking.rows import Figures, Writing


def test_a_tracker_that_holds_nothing_gets_the_row_as_it_is():
    row = Figures(1, 5.0, {"train/loss": 2.0})
    assert Held({}).rest_of(row) == row


def test_each_figure_is_sent_from_the_first_step_that_is_not_held():
    held = Held({"train/loss": 4, "eval/loss": 3})
    row = Figures(4, 5.0, {"train/loss": 2.0, "eval/loss": 1.0, "perf/mfu": 0.5})
    assert held.rest_of(row) == Figures(4, 5.0, {"eval/loss": 1.0, "perf/mfu": 0.5})
    assert held.rest_of(Figures(3, 5.0, {"train/loss": 2.0, "eval/loss": 1.0})) is None
    assert held.rest_of(Figures(5, 5.0, {"train/loss": 2.0})) is not None


def test_a_sample_is_sent_once():
    held = Held({"sample": 4})
    assert held.rest_of(Writing(4, 5.0, "a", "b")) is None
    later = Writing(8, 5.0, "a", "b")
    assert held.rest_of(later) is later
