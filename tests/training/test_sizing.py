"""The size for a time: measured at two sizes, told by a law for all."""

import pytest

from cloche.model.config import ModelOptions
from cloche.planning.budget import LADDER, SMALLEST_BATCH_TOKENS, Budget
from cloche.planning.flops import flops_per_token, matrix_parameters
from cloche.planning.laws import SMALL_RUNS, effective_tokens
from cloche.training.sizing import OVERHEAD, choose_for_time, fitting_models

RATE = 1e11
TEXT_TOKENS = 10**7


def budget(seconds, *, rate=RATE, tokens=TEXT_TOKENS):
    return Budget(seconds, rate, train_tokens=tokens, validation_tokens=10**5)


class Machine:
    """Steps that take a moment of their own, and then the operations at a fixed rate."""

    def __init__(self, *, moment=0.01, rate=0.5 * RATE):
        self.moment, self.rate, self.asked = moment, rate, []

    def step_seconds(self, config):
        self.asked.append(config)
        return self.seconds(config)

    def seconds(self, config):
        return self.moment + SMALLEST_BATCH_TOKENS * flops_per_token(config) / self.rate


def loss_of(config, seconds):
    tokens = SMALLEST_BATCH_TOKENS * int((1 - OVERHEAD) * seconds[0] / seconds[1])
    decay = SMALL_RUNS.repetition_decay
    worth = effective_tokens(tokens, unique_tokens=TEXT_TOKENS, decay=decay)
    return SMALL_RUNS.loss(matrix_parameters(config), worth)


@pytest.mark.parametrize("seconds", [20.0, 300.0, 3600.0])
def test_the_choice_is_the_best_of_all_sizes_by_the_law(seconds):
    machine = Machine()
    sized = choose_for_time(
        ModelOptions(context=128),
        budget(seconds),
        vocab_size=1000,
        step_seconds=machine.step_seconds,
    )
    models = fitting_models(ModelOptions(), LADDER, vocab_size=1000, context=128)
    feasible = [model for model in models if 0.9 * seconds / machine.seconds(model) >= 50]
    best = min(feasible, key=lambda model: loss_of(model, (seconds, machine.seconds(model))))
    assert sized.config == best
    assert len(machine.asked) <= 2
    assert f"{best.layers} layers of width {best.width}" in sized.reasons[0]


def test_more_time_and_a_faster_machine_buy_larger_models():
    def width(seconds, rate=0.5 * RATE):
        machine = Machine(rate=rate)
        chosen = choose_for_time(
            ModelOptions(), budget(seconds), vocab_size=99, step_seconds=machine.step_seconds
        )
        return chosen.config.width

    widths = [width(seconds) for seconds in (10.0, 100.0, 1000.0, 10_000.0)]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    assert width(300.0, rate=0.1 * RATE) < width(300.0, rate=10 * RATE)


def test_a_size_that_takes_long_to_measure_is_reckoned_from_the_first():
    machine = Machine(moment=0.0, rate=1e9)
    choose_for_time(ModelOptions(), budget(60.0), vocab_size=99, step_seconds=machine.step_seconds)
    assert len(machine.asked) == 1


def test_noise_that_makes_the_larger_model_the_faster_one_does_no_harm():
    answers = iter([0.5, 0.4])
    sized = choose_for_time(
        ModelOptions(), budget(3600.0), vocab_size=99, step_seconds=lambda _: next(answers)
    )
    assert (sized.config.layers, sized.config.width) in LADDER


def test_where_there_is_no_time_for_a_step_the_smallest_is_taken():
    sized = choose_for_time(ModelOptions(), budget(0.5), vocab_size=99, step_seconds=lambda _: 60.0)
    assert (sized.config.layers, sized.config.width) == LADDER[0]


@pytest.mark.parametrize("options", [{"width": 96}, {"family": "bigram"}], ids=str)
def test_where_no_size_is_open_nothing_is_measured(options):
    sized = choose_for_time(
        ModelOptions(**options),
        budget(60.0),
        vocab_size=99,
        step_seconds=lambda _: pytest.fail("measured"),
    )
    assert sized.reasons == ()


def test_a_size_that_is_named_is_taken_without_measuring_it():
    def measure(_config):
        raise AssertionError("a named size may need more memory than there is")

    options = ModelOptions(family="gpt2", size="xl")
    sized = choose_for_time(options, budget(60.0), vocab_size=50257, step_seconds=measure)
    assert (sized.config.layers, sized.config.width) == (48, 1600)
