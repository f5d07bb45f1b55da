import pytest

from cloche.errors import SettingError
from cloche.planning.choosing import Candidate, best_run
from cloche.planning.laws import Law

LAW = Law(1.0, 300.0, 0.4, 40.0, 0.35)


def ladder(*, rate=2e11):
    """Models whose speed falls with their size, as on one machine."""
    sizes = [1e5, 3e5, 1e6, 3e6, 1e7]
    return [Candidate(f"{n:.0e}", n, 2048, 6 * n * 2048 / rate) for n in sizes]


def choose(*, seconds=300.0, tokens=10**9, candidates=None, **how):
    return best_run(candidates or ladder(), seconds=seconds, law=LAW, train_tokens=tokens, **how)


def test_the_choice_has_the_lowest_predicted_loss():
    found = choose()
    assert all(found.best.loss < other.loss for other in found.others)
    assert [o.loss for o in found.others] == sorted(o.loss for o in found.others)
    assert found.best.loss == pytest.approx(
        LAW.loss(found.best.candidate.parameters, found.best.tokens)
    )
    assert found.best.tokens == found.best.steps * 2048


def test_more_time_buys_a_larger_model():
    sizes = [choose(seconds=s).best.candidate.parameters for s in (5, 60, 3600)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_a_small_text_buys_a_smaller_batch_of_passes_and_the_loss_says_so():
    plenty, little = choose(tokens=10**9), choose(tokens=10**5)
    assert little.best.loss > plenty.best.loss
    assert little.best.passes > 16
    assert little.best.worth < 17e5


def test_a_batch_beyond_the_critical_size_loses_to_a_smaller_one():
    small = Candidate("small", 1e6, 1024, 0.1)
    large = Candidate("large", 1e6, 8192, 0.6)  # more tokens a second
    assert choose(candidates=[small, large]).best.candidate is large
    assert choose(candidates=[small, large], critical_batch_tokens=2000).best.candidate is small


def test_a_model_with_time_for_a_few_steps_only_is_left_out():
    slow = Candidate("slow", 1e12, 10**9, 100.0)
    assert choose(candidates=[slow, *ladder()]).best.candidate is not slow
    assert choose(candidates=[slow]).best.candidate is slow


def test_setting_up_and_evaluations_take_their_time():
    plain = Candidate("x", 1e6, 100, 1.0)
    late = Candidate("x", 1e6, 100, 1.0, setup_seconds=40.0)
    assert choose(seconds=100, candidates=[plain]).best.steps == 100
    assert choose(seconds=100, candidates=[late]).best.steps == 60
    assert choose(seconds=100, candidates=[late], overhead=0.25).best.steps == 35


def test_the_reasons_name_the_neighbours_and_what_they_would_reach():
    found = choose()
    first, smaller, larger = found.reasons
    assert f"{found.best.steps:,} steps" in first
    sizes = sorted(found.others, key=lambda other: other.candidate.parameters)
    place = sum(o.candidate.parameters < found.best.candidate.parameters for o in sizes)
    for sentence, other in ((smaller, sizes[place - 1]), (larger, sizes[place])):
        assert other.candidate.name in sentence
        assert f"{other.loss - found.best.loss:.3f} nats a token higher" in sentence


def test_no_time_for_a_single_step_is_an_error():
    with pytest.raises(SettingError, match="none of 5 models"):
        choose(seconds=1e-9)
