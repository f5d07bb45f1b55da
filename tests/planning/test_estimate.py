"""What a training takes: steps, operations, time and money; and what laws say of it."""

from dataclasses import replace
from typing import Any

import pytest

from cloche.errors import SettingError
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.planning.estimate import Pace, TextSize, estimate, outlook, tokens_within
from cloche.planning.fitting import fit_training
from cloche.planning.flops import flops_per_token, parameter_count
from cloche.planning.machines import (
    DEFAULT_UTILISATION,
    MACHINES,
    TRAININGS,
    UTILISATIONS,
    find_machine,
)
from cloche.planning.parameters import parameters_by_part
from cloche.planning.scaling import training_cost, training_flops

PACE = Pace(peak_flops=1e12, utilisation=0.5, measured=False)
TEXT = TextSize("book", tokens=120_000, train_tokens=100_000, characters=400_000, tokenizer="bpe")


def model(family: Any = "qwen3", **options):
    return complete(
        ModelOptions(family=family, **options), vocab_size=1000, layers=3, width=96, context=64
    )


def planned(config=None, *, available=10**11, batch=16, tokens=1e6, **how):
    config = config or model()
    memory = fit_training(
        config,
        batch=batch,
        precision="bfloat16",
        optimizer="muon",
        attention="fused",
        available_bytes=available,
    )
    return estimate(config, batch=batch, tokens=tokens, memory=memory, pace=PACE, **how)


@pytest.mark.parametrize("family", ["qwen3", "moe", "gpt", "gpt2", "seq2seq", "bigram"])
def test_the_parts_are_all_parameters(family):
    config = model(family)
    assert sum(parameters_by_part(config).values()) == parameter_count(config)


def test_time_and_cost_are_operations_over_speed():
    found = planned(devices=4, dollars_per_hour=2.0)
    assert found.steps == round(1e6 / (16 * 64))
    assert found.tokens == found.steps * 16 * 64
    assert found.flops == found.tokens * flops_per_token(model())
    assert found.seconds == pytest.approx(found.flops / 5e11)
    assert found.seconds is not None
    assert found.device_hours is not None
    assert found.device_hours == pytest.approx(4 * found.seconds / 3600)
    assert found.dollars == pytest.approx(2 * found.device_hours)


def test_without_a_price_there_is_no_cost_and_what_does_not_fit_takes_no_time():
    assert planned().dollars is None
    too_large = planned(available=1000, dollars_per_hour=2.0)
    assert too_large.seconds is too_large.device_hours is too_large.dollars is None


def test_the_time_that_was_given_is_the_time_that_is_told():
    tokens = tokens_within(model(), PACE, seconds=60)
    assert planned(tokens=tokens).seconds == pytest.approx(60, rel=0.01)


def test_the_outlook_counts_passes_and_their_worth():
    laws = outlook(planned(), TEXT)
    assert laws is not None
    assert laws.passes == pytest.approx(10, rel=0.01)
    assert laws.worth is not None
    assert 100_000 < laws.worth < 1e6
    assert laws.most_worth == pytest.approx(1_638_776, rel=0.001)
    assert laws.llama_2_copies == pytest.approx(2e12 / 120_000)
    assert laws.loss is None  # no published law speaks of so small a model


def test_without_a_text_nothing_is_said_of_passes():
    laws = outlook(planned())
    assert laws is not None
    assert laws.passes is laws.worth is laws.llama_2_copies is None


def test_a_large_model_is_told_the_loss_that_the_law_predicts():
    large = model("gpt2", size="small")
    laws = outlook(planned(replace(large, vocab_size=50_257), tokens=2.5e9))
    assert laws is not None
    assert laws.loss == pytest.approx(3.37, abs=0.1)
    assert laws.tokens_per_parameter == pytest.approx(20, rel=0.01)


def test_every_machine_is_found_and_its_figures_are_plausible():
    for machine in MACHINES:
        assert find_machine(machine.name.upper()) is machine
        assert machine.source
        assert (machine.dollars_per_hour is None) == (machine.price_source is None)
        assert 1e12 < machine.float32_flops < machine.peak("bfloat16") * 1.0001
        assert 1e10 < machine.bytes_per_second < 1e13


def test_a_machine_without_16_bits_computes_in_32():
    assert find_machine("m1").peak("bfloat16") == find_machine("m1").float32_flops
    assert find_machine("m1").precision == "float32"
    assert find_machine("v100").half == "float16"
    assert find_machine("A100").memory_bytes == 80e9


def test_an_unknown_machine_names_the_nearest():
    with pytest.raises(SettingError, match="did you mean h100"):
        find_machine("h10")


def test_the_assumed_utilisation_lies_within_those_published():
    shares = [each.share for each in UTILISATIONS]
    assert min(shares) < DEFAULT_UTILISATION < max(shares)


def test_llama_2_7b_took_what_was_published():
    llama = next(training for training in TRAININGS if training.name == "Llama 2 7B")
    assert training_cost(llama.device_hours, devices=8, dollars_per_hour=30) == 691_200
    share = training_flops(6.74e9, llama.tokens) / (llama.device_hours * 3600 * 312e12)
    named = next(each for each in UTILISATIONS if "Llama 2 7B" in each.name)
    assert share == pytest.approx(named.share, abs=0.005)


def test_pauses_come_on_top_of_the_steps():
    asked = []

    def pauses(steps, step_seconds):
        asked.append((steps, step_seconds))
        return 7.0

    plain, paused = planned(tokens=50 * 16 * 64), planned(tokens=50 * 16 * 64, pauses=pauses)
    assert plain.seconds is not None
    assert paused.seconds == pytest.approx(plain.seconds + 7.0)
    assert asked == [(50, pytest.approx(plain.seconds / 50))]
