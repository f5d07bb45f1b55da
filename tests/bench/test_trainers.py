import json
import sys
from dataclasses import asdict

import pytest
import torch

from cloche.bench import trainers
from cloche.bench.sizes import SIDES, SIZES, BenchSize, TrainerSetup
from cloche.bench.trainers import BUILDERS, serve
from cloche.errors import SettingError
from cloche.planning.flops import parameter_count

TINY = BenchSize("tiny", layers=2, heads=2, width=16, context=8, vocab_size=20, batch=3)


def setup_for(side: str, **changes) -> TrainerSetup:
    return TrainerSetup(side, TINY, batch=3, compile="off", **changes)


def answers_of(setup: TrainerSetup, *requests: dict) -> list[dict]:
    found = []
    lines = [json.dumps(values) for values in (asdict(setup), *requests)]
    serve(iter(lines), found.append)
    return found


@pytest.mark.parametrize("side", SIDES)
def test_a_trainer_takes_whole_steps_until_the_time_is_over(side):
    about, one, several, memory = answers_of(
        setup_for(side),
        {"ask": "steps", "seconds": 0.0},
        {"ask": "steps", "seconds": 0.1},
        {"ask": "memory"},
    )
    assert about["start_seconds"] >= about["first_step_seconds"] > 0
    assert (one["steps"], one["tokens"]) == (1, 3 * 8)
    assert several["tokens"] == several["steps"] * 3 * 8
    assert several["seconds"] >= 0.1
    assert memory["peak_bytes"] >= memory["before_bytes"] > 1_000_000


@pytest.mark.parametrize("side", SIDES)
def test_a_step_moves_the_weights(side, tmp_path):
    trainer = BUILDERS[side](setup_for(side), tmp_path)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    for _ in range(2):  # the first one may be at a learning rate of a warm-up
        trainer.step()
    moved = [
        not torch.equal(old, new)
        for old, new in zip(before, trainer.model.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) // 2


def test_all_sides_train_the_same_model():
    counts = {side: answers_of(setup_for(side))[0]["parameters"] for side in SIDES}
    assert counts["cloche"] == counts["transformers float32"] == counts["transformers bfloat16"]
    assert counts["cloche"] == parameter_count(TINY.config())
    # the textbook's has no biases: of nine widths of linear maps and two norms a block, and a norm
    assert counts["cloche"] - counts["textbook"] == (TINY.layers * 11 + 1) * TINY.width


def test_only_cloche_heeds_the_optimizer(tmp_path):
    trainer = BUILDERS["cloche"](setup_for("cloche", optimizer="muon"), tmp_path)
    trainer.step()
    assert trainer.precision in ("float32", "bfloat16")
    assert not trainer.compiled


def test_without_a_compiler_cloche_is_not_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(trainers, "has_compiler", lambda device: False)
    setup = TrainerSetup("cloche", TINY, batch=3, compile="on")
    assert not BUILDERS["cloche"](setup, tmp_path).compiled


def test_the_peak_is_measured_in_each_precision():
    about, exact, half = answers_of(
        setup_for("matmul"), {"precision": "float32"}, {"precision": "bfloat16"}
    )
    assert about["threads"] >= 1
    assert min(exact["flops_per_second"], half["flops_per_second"]) > 1e6


def test_a_process_computes_with_the_threads_it_is_told():
    before = torch.get_num_threads()
    try:
        assert answers_of(setup_for("matmul", threads=before + 1))[0]["threads"] == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(SettingError, match=r"tpu is not available here"):
        answers_of(setup_for("textbook", device="tpu"))


def test_an_absent_transformers_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SettingError, match=r"pip install 'cloche\[dev\]'"):
        BUILDERS["transformers float32"](setup_for("transformers float32"), tmp_path)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("0.8M", 809_856), ("10M", 10_770_816), ("124M", 124_439_808 - 768 * 768)],
)
def test_the_sizes_are_gpt2s(name, parameters):
    assert parameter_count(SIZES[name].config()) == parameters
