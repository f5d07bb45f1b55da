"""Training in float16, whose loss is scaled to keep gradients within range."""

import pytest
import torch
from tiny_training import VOCAB, TinyTraining, assert_equal_weights

import cloche
from cloche.data.batches import Batch
from cloche.errors import ClocheError
from cloche.training import loss_scale, machine
from cloche.training.events import StepDone, StepSkipped
from cloche.training.loss_scale import LossScale
from cloche.training.state import LoopState


def by_heart(step, part, options):
    tokens = torch.arange(8 * 7).reshape(8, 7) * 5 % VOCAB
    return Batch(tokens[:, :-1].clone(), tokens[:, 1:].clone())


def test_the_scale_moves_as_that_of_torchs_own(monkeypatch):
    scaler = torch.amp.GradScaler(device="cpu")
    assert (LossScale().factor, loss_scale.GROWTH_STEPS) == (
        scaler.get_scale(),
        scaler.get_growth_interval(),
    )
    monkeypatch.setattr(loss_scale, "GROWTH_STEPS", 3)
    scaler.set_growth_interval(3)
    ours = LossScale()
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for good in [1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1]:
        scaler.scale(torch.zeros(()))  # begins its state
        weight.grad = torch.full((1,), 1.0 if good else float("inf"))
        scaler.step(optimizer)
        scaler.update()
        if good:
            ours.hold()
        else:
            assert ours.shrink()
        assert ours.factor == scaler.get_scale()


def test_the_scale_stays_a_float32_and_gives_up_when_it_is_tiny(monkeypatch):
    monkeypatch.setattr(loss_scale, "GROWTH_STEPS", 1)
    scale = LossScale()
    for _ in range(200):
        scale.hold()
    assert torch.tensor(scale.factor).isfinite()
    scale = LossScale()
    shrunk = [scale.shrink() for _ in range(31)]
    assert shrunk == [True] * 30 + [False]


def test_float16_learns_a_batch_by_heart():
    tiny = TinyTraining(batches=by_heart, precision="float16", schedule="constant")
    tiny.run(60)
    losses = [event.loss for event in tiny.told(StepDone)]
    assert losses[0] > 2.0
    assert losses[-1] < 0.05
    assert {p.dtype for p in tiny.compute.model.parameters()} == {torch.float16}
    assert {p.dtype for p in tiny.model.parameters()} == {torch.float32}


def test_what_is_told_and_learned_is_not_scaled():
    exact, half = (TinyTraining(precision=name) for name in ("float32", "float16"))
    exact.run(3)
    half.run(3)
    for one, other in zip(exact.told(StepDone), half.told(StepDone), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=0.01)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=0.05)
        assert other.metrics["train/loss_scale"] == 2.0**16


def test_an_overflow_halves_the_scale_and_leaves_the_weights_alone():
    tiny = TinyTraining(precision="float16")
    tiny.break_gradient("layers.0.mlp.up_proj.weight", {2, 3}, value=float("inf"))
    weights = []
    tiny.run(4, listeners=[lambda event: weights.append(tiny.weights())])
    skipped = tiny.told(StepSkipped)
    assert [(event.step, event.warning) for event in skipped] == [(2, False), (3, False)]
    assert "scaled by 16384" in skipped[-1].reason
    assert_equal_weights(weights[1], weights[3])
    assert tiny.told(StepDone)[-1].metrics["train/loss_scale"] == 2.0**14
    assert tiny.state.loss_scale == LossScale(2.0**14, good_steps=1)
    assert tiny.state.skipped == 0


def test_a_gradient_that_no_scale_helps_ends_the_run_and_names_the_layer():
    tiny = TinyTraining(precision="float16")
    tiny.break_gradient("layers.0.mlp.up_proj.weight", range(100), value=float("nan"))
    message = r"whatever the loss was scaled by at step 31, first in layers\.0.*bfloat16 or float32"
    with pytest.raises(ClocheError, match=message):
        tiny.run(60)


def test_a_loss_that_is_nan_is_no_matter_of_the_scale():
    tiny = TinyTraining(precision="float16")
    tiny.break_output("norm", {2})
    with pytest.raises(ClocheError, match="loss became nan at step 2, first in norm"):
        tiny.run(4)


def test_the_scale_is_taken_up_again():
    tiny = TinyTraining(precision="float16")
    tiny.break_gradient("norm.weight", {2}, value=float("inf"))
    tiny.run(6, stop_requested=lambda: tiny.state.step == 4)
    again = LoopState.from_values(tiny.state.to_values())
    assert again.loss_scale == LossScale(2.0**15, good_steps=2)


def test_a_run_in_float16_scales_its_loss_and_others_do_not(book, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "matmul_flops", lambda device, dtype: 1e11)
    options = {
        "train.steps": 2,
        "train.batch": 2,
        "train.sample_tokens": 0,
        "train.trackers": (),
        "model.layers": 1,
        "model.width": 32,
        "model.context": 16,
    }
    for precision, scaled in (("float16", True), ("bfloat16", False)):
        events = []
        run = cloche.train(
            book,
            out=tmp_path / precision,
            options={**options, "train.precision": precision},
            listeners=[events.append],
        )
        assert run.finished
        (last,) = [e for e in events if isinstance(e, StepDone) and e.step == 2]
        assert ("train/loss_scale" in last.metrics) == scaled
