"""Calibration of probabilities whose truth is known."""

import numpy as np
import pytest

from cloche.evaluation.calibration import BINS, ReliabilityCounts


def counted(confidences, correct):
    counts = ReliabilityCounts()
    for begin in range(0, len(confidences), 999):
        counts.add(confidences[begin : begin + 999], correct[begin : begin + 999])
    return counts.calibration()


def test_one_who_is_as_often_right_as_it_says_has_almost_no_error():
    rng = np.random.default_rng(0)
    sure = rng.random(200_000)
    found = counted(sure, rng.random(200_000) < sure)
    assert found.expected_error < 0.01
    assert found.tokens == 200_000
    assert len(found.bins) == BINS


def test_the_error_of_the_too_sure_is_how_much_too_sure_they_are():
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.5, 1.0, size=200_000)
    found = counted(sure, rng.random(200_000) < sure - 0.3)
    assert found.expected_error == pytest.approx(0.3, abs=0.01)
    assert all(part.accuracy < part.confidence for part in found.bins)


def test_the_table_is_that_of_a_loop():
    rng = np.random.default_rng(2)
    sure, right = rng.random(5_000) ** 3, rng.random(5_000) < 0.4
    found = counted(sure, right)
    error = 0.0
    for part in found.bins:
        inside = (sure > part.low) & (sure <= part.high)
        assert part.tokens == inside.sum()
        assert part.confidence == pytest.approx(sure[inside].mean())
        assert part.accuracy == pytest.approx(right[inside].mean())
        error += inside.sum() / len(sure) * abs(sure[inside].mean() - right[inside].mean())
    assert found.expected_error == pytest.approx(error)


def test_the_bounds_belong_to_a_bin_and_empty_bins_are_left_out():
    found = counted(np.array([0.0, 1.0, 1.0]), np.array([False, True, False]))
    assert [(part.low, part.high, part.tokens) for part in found.bins] == [
        (0.0, 1 / BINS, 1),
        (1 - 1 / BINS, 1.0, 2),
    ]
    assert found.expected_error == pytest.approx(1 / 3)
