"""The moving average of the weights: what it is, and who sees it."""

import pytest
import torch
from small_runs import SMALL, weights_of
from tiny_training import TinyTraining, Weights, assert_equal_weights
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import cloche
from cloche.training import machine
from cloche.training.events import StepDone
from cloche.weights.checkpoint import load_network, load_trainer


def weights_by_step(tiny, steps):
    """The masters before the first step and after each."""
    found = [tiny.weights()]

    def look(event):
        if isinstance(event, StepDone):
            found.append(tiny.weights())

    tiny.run(steps, listeners=[look])
    return found


def averaged(weights: list[Weights], share: float) -> Weights:
    """Written out in float64: early steps keep less of the old."""
    found = {name: value.double() for name, value in weights[0].items()}
    for step, after in enumerate(weights[1:], start=1):
        kept = min(share, (1 + step) / (10 + step))
        found = {name: kept * found[name] + (1 - kept) * after[name].double() for name in found}
    return found


@pytest.mark.parametrize("share", [0.1, 0.3, 0.999])
def test_the_average_is_the_one_written_out(share):
    tiny = TinyTraining(average=share)
    expected = averaged(weights_by_step(tiny, 8), share)
    assert tiny.average is not None
    for name, value in tiny.average.tensors.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)


def test_the_average_is_that_of_torchs_own_at_the_same_share():
    share = 0.15  # below what the first step keeps at most
    tiny = TinyTraining(average=share)
    reference = AveragedModel(tiny.model, multi_avg_fn=get_ema_multi_avg_fn(share))
    reference.update_parameters(tiny.model)  # the first only copies

    def update(event):
        if isinstance(event, StepDone):
            reference.update_parameters(tiny.model)

    tiny.run(6, listeners=[update])
    assert tiny.average is not None
    for name, value in reference.module.named_parameters():
        torch.testing.assert_close(tiny.average.tensors[name], value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_evaluation_sees_the_average_and_the_training_goes_on_without(precision):
    settings = {"precision": precision, "eval_every": 2}
    tiny, plain = TinyTraining(average=0.9, **settings), TinyTraining(**settings)
    weights = weights_by_step(tiny, 6)
    plain.run(6)
    assert_equal_weights(tiny.weights(), plain.weights())
    low = next(tiny.compute.model.parameters()).dtype
    assert len(tiny.evaluated) == 3
    for step, seen in zip((2, 4, 6), tiny.evaluated, strict=True):
        expected = averaged(weights[: step + 1], 0.9)
        for name, value in seen.items():
            assert value.dtype == low
            torch.testing.assert_close(
                value.double(),
                expected[name],
                rtol=1e-5 if low == torch.float32 else 1e-2,
                atol=1e-5,
            )
        assert not torch.equal(seen["norm.weight"], plain.evaluated[step // 2 - 1]["norm.weight"])


class CrashError(Exception):
    """Stands for a crash."""


def test_a_checkpoint_has_the_average_and_a_resumed_run_the_true_weights(
    book, tmp_path, monkeypatch
):
    monkeypatch.setattr(machine, "matmul_flops", lambda device, dtype: 1e11)
    common = {**SMALL, "train.save_every": 2, "train.precision": "float32", "train.trackers": ()}
    options = {**common, "train.average": 0.9}
    cloche.train(book, out=tmp_path / "plain", options=common)
    cloche.train(book, out=tmp_path / "whole", options=options)

    def crash(event):
        if isinstance(event, StepDone) and event.step == 5:
            raise CrashError

    with pytest.raises(CrashError):
        cloche.train(book, out=tmp_path / "run", options=options, listeners=[crash])
    cloche.train(out=tmp_path / "run", resume=True)
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "run")
    one, other = (
        (tmp_path / name / "latest" / "trainer" / "state.safetensors").read_bytes()
        for name in ("whole", "run")
    )
    assert one == other
    model, _ = load_network(tmp_path / "plain" / "latest")
    trainer = load_trainer(tmp_path / "run" / "latest")
    average, _ = load_network(tmp_path / "run" / "latest")
    for name, value in model.named_parameters():
        assert torch.equal(trainer.tensors[f"masters/{name}"], value)  # as if nothing were averaged
    changed = [
        not torch.equal(value, average.get_parameter(name))
        for name, value in model.named_parameters()
    ]
    assert all(changed)
