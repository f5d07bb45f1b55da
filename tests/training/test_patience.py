"""Stopping early: where the validation loss no longer falls."""

import pytest
from tiny_training import TinyTraining

from cloche.training.events import Evaluated, Notice, Replanned
from cloche.training.state import LoopState


def stopped(losses, *, patience, steps=40, **options):
    tiny = TinyTraining(eval_every=2, patience=patience, **options)
    tiny.losses = iter(losses)
    return tiny, tiny.run(steps)


def notices(tiny):
    return [event.text for event in tiny.told(Notice)]


@pytest.mark.parametrize(
    ("losses", "patience", "last"),
    [
        ([3, 2, 2.5, 9], 1, 6),
        ([3, 2, 2.5, 2.4, 9], 2, 8),
        ([3, 2, 2.5, 1.9, 2.5, 2.0, 9], 2, 12),
        ([3, 3, 3, 9], 2, 6),  # as low is no lower
    ],
)
def test_a_run_ends_after_so_many_evaluations_without_a_lower_loss(losses, patience, last):
    tiny, ended = stopped(losses, patience=patience)
    assert ended.finished
    assert tiny.told(Evaluated)[-1].step == last == tiny.state.step
    assert [event.steps for event in tiny.told(Replanned)] == [last]
    assert f"Stopped early at step {last}" in notices(tiny)[-1]
    assert f"that of step {tiny.state.best_step}." in notices(tiny)[-1]
    assert list(tiny.saved)[-1] == last


def test_a_run_that_stopped_early_stays_finished():
    tiny, _ = stopped([3, 2, 2.5, 2.6], patience=2)
    again = tiny.resumed()
    again.losses = iter([])  # nothing is evaluated
    ended = again.run(again.state)
    assert ended.finished
    assert (ended.step, again.saved) == (8, {})


def test_patience_counts_on_after_a_resume():
    tiny = TinyTraining(eval_every=2, patience=3)
    tiny.losses = iter([3, 2, 2.5, 2.6])
    tiny.run(40, stop_requested=lambda: tiny.state.step == 8)
    assert LoopState.from_values(tiny.state.to_values()).stale == 2
    again = tiny.resumed()
    again.losses = iter([2.7])
    assert again.run(again.state).step == 10


def test_a_run_that_is_over_anyway_did_not_stop_early():
    tiny, ended = stopped([3, 2, 2.5], patience=1, steps=6)
    assert ended.finished
    assert notices(tiny) == []


def test_without_patience_a_run_goes_to_its_end():
    _, ended = stopped([1, 2, 3, 4, 5, 6], patience=None, steps=12)
    assert ended.step == 12
