"""Shares, means and separations: their values and how sure they are, against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.evaluation.trials import mean_of, separation_of, share_of

numbers = st.lists(st.integers(0, 9).map(float), min_size=1, max_size=12)


def test_a_share_has_its_binomial_error_and_wilsons_interval():
    found = share_of(20, 100)
    assert found.value == 0.2
    assert found.stderr == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((0.1334, 0.2888), abs=1e-4)  # published tables


def test_the_interval_of_no_hit_at_all_stays_open():
    assert share_of(0, 100).low == 0.0
    assert share_of(0, 100).high == pytest.approx(0.0370, abs=1e-4)
    assert share_of(7, 7).high == pytest.approx(1.0)


def test_impossible_shares_are_a_mistake_of_ours():
    with pytest.raises(ValueError, match="3 hits of 2"):
        share_of(3, 2)


def test_a_mean_has_the_error_of_its_spread():
    found = mean_of([1.0, 2.0, 3.0, 6.0])
    assert found.value == 3.0
    assert found.stderr == pytest.approx(np.std([1, 2, 3, 6], ddof=1) / 2)
    assert found.count == 4


def test_one_trial_says_nothing_of_its_error():
    assert mean_of([5.0]).stderr is None
    assert separation_of([1.0], [2.0, 3.0]).stderr is None


def test_a_mean_with_an_infinity_warns_of_nothing():
    found = mean_of([1.0, math.inf])
    assert found.value == math.inf
    assert found.stderr is not None
    assert math.isnan(found.stderr)


@given(numbers, numbers)
def test_the_separation_is_the_share_of_pairs_in_the_right_order(lower, higher):
    pairs = [(one, other) for one in lower for other in higher]
    right = sum((one < other) + (one == other) / 2 for one, other in pairs)
    assert separation_of(lower, higher).value == pytest.approx(right / len(pairs))


def test_the_error_of_a_separation_is_what_draws_show():
    generator = np.random.default_rng(3)
    found = [
        separation_of(generator.normal(0, 1, 60).tolist(), generator.normal(1, 1, 40).tolist())
        for _ in range(400)
    ]
    errors = [each.stderr for each in found if each.stderr is not None]
    assert np.std([each.value for each in found]) == pytest.approx(np.mean(errors), rel=0.12)
    assert np.mean([each.value for each in found]) == pytest.approx(0.760, abs=0.01)
