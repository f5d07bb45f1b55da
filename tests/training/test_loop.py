from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import CONTEXT, VOCAB, random_batch

from cloche.data.batches import IGNORED, Batch
from cloche.errors import CheckpointError, ClocheError
from cloche.evaluation.cross_entropy import Scoring
from cloche.model.build import build_model
from cloche.model.config import Family, ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.training.events import CheckpointSaved, Evaluated, Notice, RunEnded, StepDone
from cloche.training.loop import Training, run_loop
from cloche.training.muon import Muon
from cloche.training.objectives import NextToken, scoring_of
from cloche.training.optim import build_optimizers
from cloche.training.options import TrainOptions
from cloche.training.precision import ComputeModel
from cloche.training.schedule import CURVE_SECONDS, Clock, Plan
from cloche.training.state import LoopState


class Bench:
    """A tiny training whose events and saves can be looked at."""

    def __init__(
        self,
        *,
        dtype=torch.float32,
        dropout=0.0,
        family: Family = "qwen3",
        batch=None,
        learning_rate=0.02,
        **options,
    ):
        settings = {"batch": 8, "eval_every": 4, "save_every": 4, **options}
        self.options = TrainOptions(learning_rate=learning_rate, **settings)
        config = complete(
            ModelOptions(family=family, dropout=None if family == "bigram" else dropout),
            vocab_size=VOCAB,
            layers=2,
            width=32,
            context=CONTEXT,
        )
        self.model = build_model(config)
        initialise(self.model, seed=0)
        self.compute = ComputeModel(self.model, dtype=dtype)
        self.optimizers = build_optimizers(self.model, self.options, learning_rate=learning_rate)
        muon = self.optimizers.parts.get("muon")
        if isinstance(muon, Muon):
            muon.newton_schulz_dtype = torch.float32  # bfloat16 would hide small differences
        self.batch = batch or random_batch
        self.losses = iter([1.0] * 1000)
        self.events = []
        self.saved = []
        self.stored: dict[str, Any] = {}
        self.save_error: CheckpointError | None = None

    def save(self, state):
        taken = replace(state)

        def write():
            if self.save_error:
                raise self.save_error
            self.saved.append((taken.step, taken.best_step == taken.step))
            self.stored = taken.to_values()
            return Path(f"step-{taken.step}")

        return write

    def run(self, state, *, more=(), **settings):
        training = Training(
            compute=self.compute,
            objective=NextToken(scoring_of(self.options)),
            batches=lambda step, part: self.batch(step, part, self.options),
            optimizers=self.optimizers,
            options=self.options,
            evaluate=lambda model: {"eval/loss": next(self.losses)},
            write_sample=None,
            save=self.save,
            device=torch.device("cpu"),
        )
        return run_loop(training, state, listeners=[self.events.append, *more], **settings)

    def told(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def test_one_batch_is_learned_by_heart():
    def same(step, part, options):
        tokens = torch.arange(8 * 7).reshape(8, 7) * 5 % VOCAB
        return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())

    bench = Bench(batch=same, schedule="constant")
    bench.run(LoopState(Plan(steps=60)))
    losses = [event.loss for event in bench.told(StepDone)]
    assert losses[0] > 2.0
    assert losses[-1] < 0.05


@pytest.mark.parametrize("family", ["qwen3", "gpt", "bigram"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_accumulated_parts_equal_one_large_batch(family, optimizer):
    weights = []
    for parts in (1, 4):
        # targets differ in number from part to part, where a mean of means would go wrong
        def uneven(step, part, options):
            batch = random_batch(step, part, options)
            first = step * options.batch + part * batch.inputs.size(0)
            keep = (torch.arange(first, first + batch.inputs.size(0)) % 5 + 1)[:, None]
            batch.targets[torch.arange(CONTEXT) >= keep] = IGNORED
            return batch

        bench = Bench(accumulate=parts, batch=uneven, family=family, optimizer=optimizer)
        bench.run(LoopState(Plan(steps=3)))
        weights.append(bench.model.state_dict())
        assert len(bench.told(StepDone)) == 3
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_training_ends_byte_for_byte_like_an_uninterrupted_one(dtype):
    whole = Bench(dtype=dtype, dropout=0.3)
    whole.run(LoopState(Plan(steps=8)))

    first = Bench(dtype=dtype, dropout=0.3)
    state = LoopState(Plan(steps=8))
    first.run(state, stop_requested=lambda: state.step == 3)
    assert state.step == 3

    second = Bench(dtype=dtype, dropout=0.3)
    second.model.load_state_dict(first.model.state_dict())
    second.compute.refresh()
    second.optimizers.load_state_tensors(first.optimizers.state_tensors())
    second.run(LoopState.from_values(state.to_values()))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_dropout_differs_from_step_to_step_and_from_seed_to_seed():
    def same(step, part, options):
        return random_batch(0, 0, options)

    def losses(seed):
        bench = Bench(dropout=0.5, batch=same, learning_rate=1e-9, seed=seed, weight_decay=0.0)
        # the output layers start at zero, where dropout changes nothing
        torch.manual_seed(1)
        for parameter in bench.model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        bench.run(LoopState(Plan(steps=3)))
        return [event.loss for event in bench.told(StepDone)]

    assert len(set(losses(0))) == 3
    assert losses(0) == losses(0)
    assert losses(0) != losses(1)


def test_masters_stay_float32_under_bfloat16():
    bench = Bench(dtype=torch.bfloat16)
    bench.run(LoopState(Plan(steps=2)))
    assert {p.dtype for p in bench.model.parameters()} == {torch.float32}
    assert {p.dtype for p in bench.compute.model.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in bench.optimizers.state_tensors().values()} == {torch.float32}


def test_label_smoothing_is_torchs_form():
    objective = NextToken(Scoring(label_smoothing=0.1))
    logits = torch.randn(2, 3, VOCAB)
    batch = Batch(torch.zeros(2, 3, dtype=torch.long), torch.randint(VOCAB, (2, 3)))

    class Fixed(torch.nn.Module):
        def hidden(self, ids, *, positions, documents):
            return logits

        def head(self, hidden):
            return hidden

    term = objective(Fixed(), batch).terms["loss"]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), label_smoothing=0.1
    )
    torch.testing.assert_close(term.sum / term.count, expected)
    assert objective.counts(batch) == {"loss": 6}


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_loss():
    bench = Bench()
    bench.losses = iter([3.0, 2.0, 2.5])
    state = LoopState(Plan(steps=12))
    bench.run(state)
    assert bench.saved == [(4, True), (8, True), (12, False)]
    assert (state.best_loss, state.best_step) == (2.0, 8)
    assert [event.best for event in bench.told(Evaluated)] == [True, True, False]


def test_a_run_is_evaluated_and_saved_at_its_end_once():
    bench = Bench()
    bench.run(LoopState(Plan(steps=6)))
    assert [step for step, _ in bench.saved] == [4, 6]
    assert [event.step for event in bench.told(Evaluated)] == [4, 6]
    assert bench.told(RunEnded)[0].finished


def test_an_untrained_model_is_evaluated_on_request_and_is_never_the_best():
    bench = Bench(eval_first=True)
    bench.losses = iter([1.0, 3.0, 2.0])
    state = LoopState(Plan(steps=8))
    bench.run(state)
    assert [(e.step, e.best) for e in bench.told(Evaluated)] == [(0, False), (4, True), (8, True)]
    assert [step for step, _ in bench.saved] == [4, 8]
    assert state.best_loss == 2.0


def test_a_stop_request_saves_and_ends_between_steps():
    bench = Bench()
    state = LoopState(Plan(steps=100))
    ended = bench.run(state, stop_requested=lambda: state.step == 2)
    assert not ended.finished
    assert bench.saved == [(2, False)]


def test_a_full_disk_is_told_and_the_training_goes_on():
    bench = Bench()
    bench.save_error = CheckpointError("the disk is full")
    state = LoopState(Plan(steps=6))
    with pytest.raises(CheckpointError, match="the disk is full"):
        bench.run(state)  # the last save is the one that cannot be missed
    assert state.step == 6
    warnings = [event.text for event in bench.told(Notice) if event.warning]
    assert len(warnings) == 1
    assert "the disk is full" in warnings[0]
    assert bench.told(CheckpointSaved) == []


def test_a_best_that_could_not_be_saved_is_not_the_best():
    bench = Bench(eval_every=1, save_every=1)
    bench.losses = iter([3.0, 1.0, 2.0, 2.5])
    state = LoopState(Plan(steps=4))
    full = CheckpointError("the disk is full")

    def disk_full_at_step_two(event):
        bench.save_error = full if isinstance(event, StepDone) and event.step == 2 else None

    bench.events = ListeningList(disk_full_at_step_two)
    bench.run(state)
    assert bench.saved == [(1, True), (3, True), (4, False)]
    assert (state.best_loss, state.best_step) == (2.0, 3)


class ListeningList(list):
    """A list of events that also calls a function at each step."""

    def __init__(self, react):
        super().__init__()
        self.react = react

    def append(self, event):
        super().append(event)
        if isinstance(event, StepDone):
            self.react(event)


def test_a_gradient_that_is_no_number_leaves_the_weights_untouched():
    bench = Bench()
    before = {name: value.clone() for name, value in bench.model.state_dict().items()}
    next(iter(bench.model.parameters())).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(ClocheError, match="gradient's norm became"):
        bench.run(LoopState(Plan(steps=5)))
    for name, value in bench.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_validation_loss_that_is_no_number_ends_the_run():
    bench = Bench()
    bench.losses = iter([float("nan")])
    with pytest.raises(ClocheError, match="validation loss became nan"):
        bench.run(LoopState(Plan(steps=8)))
    assert bench.saved == []


def test_a_listener_whose_disk_is_full_is_left_out_and_told_of_once():
    bench = Bench()

    def full(event):
        raise OSError(28, "No space left on device")

    training_events = []
    bench.run(LoopState(Plan(steps=3)), more=[full, training_events.append])
    warnings = [e.text for e in training_events if isinstance(e, Notice)]
    assert len(warnings) == 1
    assert "No space left" in warnings[0]
    assert len(bench.told(StepDone)) == 3


def test_a_loss_that_is_no_number_ends_the_run_without_a_checkpoint():
    bench = Bench(schedule="constant")
    with torch.no_grad():
        next(iter(bench.model.parameters())).fill_(float("nan"))
    bench.compute.refresh()
    with pytest.raises(ClocheError, match="loss became nan at step 1"):
        bench.run(LoopState(Plan(steps=5)))
    assert bench.saved == []


class Ticking:
    """A clock that only the batches move, so that no other work on the machine is counted."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def batches(self, seconds):
        """Batches that take `seconds(step)` to come."""

        def batch(step, part, options):
            self.now += seconds(step)
            return random_batch(step, part, options)

        return batch

    def clock(self, seconds):
        return Clock(self.now + seconds, step_seconds=0.01, pause_seconds=0.01, pause_every=4)


@pytest.fixture
def ticking(monkeypatch):
    ticking = Ticking()
    monkeypatch.setattr("cloche.training.loop.time", ticking)
    return ticking


def test_a_slow_first_step_does_not_burn_the_schedule(ticking):
    bench = Bench(batch=ticking.batches(lambda step: 0.5 if step == 0 else 0.01))
    state = LoopState(Plan(steps=100))
    bench.run(state, clock=ticking.clock(2.5))
    assert state.step > 50
    assert bench.told(StepDone)[4].progress < 0.3


def test_a_run_without_time_left_ends_at_once(ticking):
    bench = Bench()
    state = LoopState(Plan(steps=100), step=3, evaluated_step=3)
    assert bench.run(state, clock=ticking.clock(-1.0)).finished
    assert state.step == 3
    assert bench.told(StepDone) == []


def test_the_last_plan_is_in_the_last_checkpoint(ticking):
    bench = Bench(batch=ticking.batches(lambda step: 0.05), save_every=1)
    state = LoopState(Plan(steps=1_000_000))
    bench.run(state, clock=ticking.clock(1.5))
    assert bench.stored == state.to_values()
    assert bench.saved[-1][0] == state.step == state.plan.steps


def test_a_run_in_minutes_plans_anew_and_ends_with_the_schedule_finished(ticking):
    # slower and slower: a plan made at the start would not be met
    bench = Bench(batch=ticking.batches(lambda step: 0.01 + 0.0001 * step))
    state = LoopState(Plan(steps=1_000_000))
    ended = bench.run(state, clock=ticking.clock(2.0))
    assert ended.finished
    assert 0.9 < ticking.now - 100.0 < 2.0 - CURVE_SECONDS + 0.05
    steps = bench.told(StepDone)
    assert steps[-1].progress == pytest.approx(1.0, abs=0.05)
    assert steps[-1].learning_rate < 0.1 * max(event.learning_rate for event in steps)


def test_clipping_bounds_the_gradient_and_zero_turns_it_off():
    for clip, bounded in ((0.001, True), (0.0, False)):
        bench = Bench(clip=clip)
        bench.run(LoopState(Plan(steps=1)))
        gradients = [p.grad for p in bench.model.parameters() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
        assert (norm <= 0.0011) == bounded
