"""Options that cannot be used are named, with the value, all at once."""

import pytest

from cloche.training.choices import usual_rate
from cloche.training.options import TrainOptions


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"average": 1.0}, "train.average must be in [0, 1), got 1.0"),
        ({"z_loss": -1e-4}, "train.z-loss must not be negative, got -0.0001"),
        ({"label_smoothing": 1.0}, "train.label-smoothing must be in [0, 1), got 1.0"),
        ({"patience": 0}, "train.patience must be at least 1, got 0"),
        ({"skip_nonfinite": -1}, "train.skip-nonfinite must not be negative, got -1"),
        ({"statistics_every": -5}, "train.statistics-every must not be negative, got -5"),
        ({"rest_rate": 0.0}, "train.rest-rate must be above 0 and at most 10, got 0.0"),
        ({"momentum": 1.0}, "train.momentum must be in [0, 1), got 1.0"),
        ({"optimizer": "adamw", "momentum": 0.9}, "train.optimizer is adamw: leave them out"),
        ({"average": float("nan")}, "train.average must be in [0, 1), got nan"),
        ({"trackers": ("tensorbord",)}, "tensorboard"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named(given, said):
    (problem,) = TrainOptions(**given).problems()
    assert said in problem


def test_all_problems_are_told_at_once():
    assert len(TrainOptions(average=2.0, patience=0, batch=0, z_loss=-1.0).problems()) == 4


def test_short_runs_of_muon_take_a_larger_rate_and_none_takes_less_than_a_long_one():
    rates = [usual_rate("muon", steps=steps) for steps in (1, 175, 400, 700, 10**6)]
    assert rates == [0.04, 0.04, 0.0265, 0.02, 0.02]
    assert {usual_rate("adamw", steps=steps) for steps in (1, 10**6)} == {0.001}
