"""Laws fitted to points made from a known law, and to points that follow none."""

import numpy as np
import pytest

from cloche.errors import RunError
from cloche.planning.laws import Law
from cloche.planning.observations import Point
from cloche.planning.regression import fit_law

TRUE = Law(1.2, 60.0, 0.33, 35.0, 0.4)
SIZES = (100_000, 300_000, 1_000_000, 3_000_000)
TOKENS = (1e6, 4e6, 1.6e7, 6.4e7)


def points(*, noise=0.0, sizes=SIZES, tokens=TOKENS, seed=0):
    generator = np.random.default_rng(seed)
    return [
        Point(f"{n}-{d:.0f}", n, d, TRUE.loss(n, d) * float(np.exp(generator.normal(0, noise))))
        for n in sizes
        for d in tokens
    ]


def test_a_law_without_noise_is_recovered():
    found = fit_law(points(), resamples=5).law
    assert found.floor == pytest.approx(TRUE.floor, rel=1e-3)
    assert found.token_exponent == pytest.approx(TRUE.token_exponent, rel=0.01)
    assert found.parameter_exponent == pytest.approx(TRUE.parameter_exponent, rel=0.01)
    assert found.loss(1e8, 1e9) == pytest.approx(TRUE.loss(1e8, 1e9), rel=1e-3)


def test_with_noise_of_a_thousandth_exponents_are_within_a_tenth():
    fitted = fit_law(points(noise=0.001), resamples=20)
    assert fitted.law.token_exponent == pytest.approx(TRUE.token_exponent, rel=0.1)
    assert fitted.law.parameter_exponent == pytest.approx(TRUE.parameter_exponent, rel=0.1)
    assert fitted.spread == pytest.approx(0.001, abs=0.0005)
    assert fitted.explained > 0.99
    low, high = fitted.interval("token_exponent")
    assert low <= fitted.law.token_exponent <= high


def test_more_noise_widens_the_intervals():
    def width(noise):
        low, high = fit_law(points(noise=noise), resamples=20).loss_interval(1e7, 1e9)
        return high - low

    assert width(0.02) > 3 * width(0.001)


def test_one_outlier_hardly_moves_the_law():
    spoiled = points(noise=0.001)
    spoiled[5] = Point("odd", spoiled[5].parameters, spoiled[5].tokens, 1.5 * spoiled[5].loss)
    found = fit_law(spoiled, resamples=2).law
    assert found.loss(1e6, 1e7) == pytest.approx(TRUE.loss(1e6, 1e7), rel=0.01)


def test_one_size_gives_a_law_of_tokens_alone():
    some = points(sizes=SIZES[:1], tokens=np.geomspace(1e6, 1e8, 10).tolist())
    found = fit_law(some, resamples=5).law
    assert not found.has_sizes
    assert found.token_exponent == pytest.approx(TRUE.token_exponent, rel=0.01)
    assert found.loss(1, 1e9) == pytest.approx(TRUE.loss(SIZES[0], 1e9), rel=1e-3)


def test_runs_are_drawn_again_or_the_evaluations_within_them():
    ends = fit_law(points(), resamples=2)
    assert ends.drawn == "the 16 runs"
    within = [Point("one", p.parameters, p.tokens, p.loss) for p in points()]
    assert "within each run" in fit_law(within, resamples=2).drawn


def test_equal_seeds_give_equal_intervals():
    first, again = (fit_law(points(noise=0.01), seed=3, resamples=5) for _ in range(2))
    assert first == again


def test_noise_is_no_law():
    generator = np.random.default_rng(1)
    noise = [
        Point(str(d), 1000, d, float(generator.normal(2.0, 0.1))) for d in range(1000, 60000, 900)
    ]
    with pytest.raises(RunError, match="follow no law"):
        fit_law(noise, resamples=2)


def test_losses_that_rise_are_no_law():
    rising = [Point(str(d), 1000, d, 2.0 + d / 1e5) for d in range(1000, 30000, 1000)]
    with pytest.raises(RunError, match="follow no law"):
        fit_law(rising, resamples=2)


def test_points_close_together_are_told_to_reach_not_far():
    close = points(sizes=SIZES[:1], tokens=np.linspace(1e6, 5e6, 10).tolist())
    (note,) = fit_law(close, resamples=2).notes
    assert "factor of 5.0 in tokens" in note
