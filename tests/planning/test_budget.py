from itertools import pairwise

from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.planning.budget import (
    LADDER,
    Budget,
    choose_batch,
    choose_context,
    choose_dropout,
    choose_eval_batches,
    choose_size,
)
from cloche.planning.flops import parameter_count


def budget(*, seconds=120.0, tokens=1_000_000):
    return Budget(
        seconds=seconds,
        flops_per_second=4e11,
        train_tokens=tokens,
        validation_tokens=tokens // 9,
    )


def candidates(vocab_size=512):
    return [
        complete(ModelOptions(), vocab_size=vocab_size, layers=layers, width=width, context=128)
        for layers, width in LADDER
    ]


def test_the_ladder_rises():
    counts = [parameter_count(config) for config in candidates()]
    assert counts == sorted(counts)
    assert all(1.4 < later / earlier < 4 for earlier, later in pairwise(counts))


def test_more_time_and_more_text_buy_a_larger_model():
    short = choose_size(budget(seconds=30), candidates())
    long = choose_size(budget(seconds=1200), candidates())
    assert parameter_count(short) < parameter_count(long)
    little = choose_size(budget(seconds=1200, tokens=20_000), candidates())
    assert parameter_count(little) < parameter_count(long)


def test_a_tiny_text_gets_a_context_that_fits_its_validation_part():
    tiny = Budget(seconds=60, flops_per_second=1e11, train_tokens=400, validation_tokens=40)
    assert choose_context(tiny) == 32


def test_batches_grow_with_the_tokens_to_see():
    config = candidates()[2]
    assert choose_batch(config, steps_tokens=1e6) == 16
    assert choose_batch(config, steps_tokens=1e9) == 128


def test_dropout_comes_with_repetition_and_evaluations_stay_cheap():
    assert [choose_dropout(epochs) for epochs in (1, 10, 100)] == [0.0, 0.1, 0.2]
    assert [choose_eval_batches(steps) for steps in (10, 400, 10_000)] == [2, 5, 20]
