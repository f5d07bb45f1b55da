import math

import pytest

from cloche.errors import SettingError
from cloche.planning.laws import (
    CHINCHILLA,
    DATA_CONSTRAINED,
    Law,
    data_limited_loss,
    effective_parameters,
    effective_tokens,
    kaplan_use,
)
from cloche.planning.scaling import best_use, training_flops


def test_the_law_of_chinchilla_gives_its_models_their_loss():
    # by hand: 1.8172 + 0.0815 + 0.0752
    assert CHINCHILLA.loss(70e9, 1.4e12) == pytest.approx(1.974, abs=0.001)
    assert CHINCHILLA.loss(70e9, 1.4e12) > CHINCHILLA.loss(70e9, 1e15) > CHINCHILLA.floor


def test_the_best_use_of_that_law_is_the_one_known_before():
    assert CHINCHILLA.best_use(1e21) == best_use(1e21)


def test_a_law_for_one_size_says_nothing_of_others():
    law = Law(1.5, 100.0, 0.5)
    assert law.loss(1, 1e4) == law.loss(1e9, 1e4) == 2.5
    with pytest.raises(SettingError, match="parameter term"):
        law.best_use(1e15)


def test_one_pass_is_worth_itself_and_four_nearly():
    assert effective_tokens(50, unique_tokens=100) == 50
    assert effective_tokens(100, unique_tokens=100) == 100
    assert effective_tokens(400, unique_tokens=100) == pytest.approx(373, abs=1)
    # the authors' words: however often repeated, no more than 1 + R* passes' worth
    assert effective_tokens(1e9, unique_tokens=100) == pytest.approx(1638.8, abs=0.1)
    assert effective_tokens(1e9, unique_tokens=100, decay=1.5) == pytest.approx(250.0)


def test_parameters_beyond_what_the_text_calls_for_lose_their_worth():
    assert effective_parameters(5.1, unique_tokens=100) == pytest.approx(5.1)
    assert 5.1 < effective_parameters(10, unique_tokens=100) < 10
    most = 5.1 * (1 + 5.309743)
    assert effective_parameters(1e9, unique_tokens=100) == pytest.approx(most)


def test_the_data_constrained_law_is_the_printed_one():
    # L = 521 / N^0.35 + 1488 / D^0.35 + 1.87
    assert DATA_CONSTRAINED.token_term == pytest.approx(1488, abs=0.5)
    assert DATA_CONSTRAINED.floor == pytest.approx(1.87, abs=0.005)
    assert math.exp(6.255414) == pytest.approx(DATA_CONSTRAINED.parameter_term, abs=0.2)


def test_repeated_text_teaches_less_than_new_text():
    again = data_limited_loss(CHINCHILLA, parameters=1e8, tokens=1e10, unique_tokens=1e9)
    assert CHINCHILLA.loss(1e8, 1e9) > again > CHINCHILLA.loss(1e8, 1e10)


def test_kaplans_models_are_larger_than_chinchillas_and_grow_faster():
    flops = training_flops(70e9, 1.4e12)
    kaplan, chinchilla = kaplan_use(flops), best_use(flops)
    assert kaplan.parameters > 3 * chinchilla.parameters
    assert training_flops(kaplan.parameters, kaplan.tokens) == pytest.approx(flops)
    assert kaplan_use(10 * flops).parameters / kaplan.parameters == pytest.approx(10**0.73)


@pytest.mark.parametrize("tokens", [0.0, -3.0, float("nan")])
def test_no_tokens_are_refused(tokens):
    with pytest.raises(SettingError, match="tokens must be above 0"):
        effective_tokens(tokens, unique_tokens=10)
