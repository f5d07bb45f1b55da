import pytest

from cloche.errors import SettingError
from cloche.planning.scaling import (
    PARAMETER_EXPONENT,
    PARAMETER_TERM,
    TOKEN_EXPONENT,
    TOKEN_TERM,
    best_use,
    chinchilla_tokens,
    copies_of_text,
    training_cost,
    training_flops,
)


def loss_above_floor(parameters: float, tokens: float) -> float:
    return PARAMETER_TERM / parameters**PARAMETER_EXPONENT + TOKEN_TERM / tokens**TOKEN_EXPONENT


@pytest.mark.parametrize("flops", [1e18, 1e21, 5.76e23])
def test_no_other_share_of_the_compute_gives_a_lower_loss(flops):
    best = best_use(flops)
    assert training_flops(best.parameters, best.tokens) == pytest.approx(flops)
    lowest = loss_above_floor(best.parameters, best.tokens)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert loss_above_floor(best.parameters * factor, best.tokens / factor) > lowest


def test_the_fitted_law_agrees_with_chinchilla():
    best = best_use(training_flops(70e9, 1.4e12))
    assert best.parameters == pytest.approx(70e9, rel=0.1)
    assert best.tokens_per_parameter == pytest.approx(20, rel=0.1)
    assert chinchilla_tokens(70e9) == 1.4e12


def test_hours_of_devices_cost_what_their_machines_do():
    assert training_cost(184_320, devices=8, dollars_per_hour=30) == 691_200


def test_copies_are_counted_in_tokens():
    assert copies_of_text(2e12, text_tokens=1e5) == 2e7


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_nothing_is_computed_from_nothing(value):
    with pytest.raises(SettingError, match="must be above 0"):
        copies_of_text(2e12, text_tokens=value)
    with pytest.raises(SettingError, match="flops must be above 0"):
        best_use(value)
