"""Steps whose numbers break, and steps in several parts."""

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from tiny_training import CONTEXT, TinyTraining, assert_equal_weights, random_batch

from cloche.data.batches import IGNORED
from cloche.errors import ClocheError
from cloche.training.events import StepDone, StepSkipped
from cloche.training.journal import Journal
from cloche.training.terminal import Terminal


def test_a_loss_that_is_nan_stops_the_run_and_names_step_and_place():
    tiny, whole = TinyTraining(save_every=1), TinyTraining()
    tiny.break_output("layers.1.mlp.down_proj", {3})
    with pytest.raises(ClocheError, match=r"loss became nan at step 3, first in layers\.1\.mlp\."):
        tiny.run(6)
    whole.run(6, stop_requested=lambda: whole.state.step == 2)
    assert_equal_weights(tiny.weights(), whole.weights())
    assert list(tiny.saved) == [1, 2]
    assert_equal_weights(tiny.saved[2], whole.weights())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_no_number_stops_the_run_and_names_the_layer(value, clip):
    tiny, whole = TinyTraining(save_every=2, clip=clip), TinyTraining(clip=clip)
    tiny.break_gradient("layers.0.self_attn.q_proj.weight", {3}, value=value)
    with pytest.raises(ClocheError, match=rf"norm became {value} at step 3, first in layers\.0:"):
        tiny.run(6)
    whole.run(6, stop_requested=lambda: whole.state.step == 2)
    assert_equal_weights(tiny.weights(), whole.weights())
    assert list(tiny.saved) == [2]


@pytest.mark.parametrize("broken", [{1}, {3, 4}, {3, 4, 6, 7}, {7, 8}])
def test_as_many_broken_steps_in_a_row_are_left_out_as_allowed(broken):
    tiny = TinyTraining(skip_nonfinite=2)
    tiny.break_output("norm", broken)
    assert tiny.run(8).finished
    assert {event.step for event in tiny.told(StepSkipped)} == broken
    assert {event.step for event in tiny.told(StepDone)} == set(range(1, 9)) - broken
    assert all(
        event.warning and "first in norm" in event.reason for event in tiny.told(StepSkipped)
    )


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_one_more_in_a_row_ends_the_run(allowed):
    tiny = TinyTraining(skip_nonfinite=allowed)
    tiny.break_gradient("lm_head.weight", range(2, 9), value=float("inf"))
    with pytest.raises(ClocheError, match=f"at step {2 + allowed}, first in lm_head"):
        tiny.run(8)
    assert len(tiny.told(StepSkipped)) == allowed


def test_a_step_left_out_changes_neither_weights_nor_optimizer():
    tiny = TinyTraining(skip_nonfinite=1, average=0.9)
    tiny.break_gradient("layers.1.mlp.up_proj.weight", {3}, value=float("nan"))
    found = []

    def look(event):
        if isinstance(event, StepDone | StepSkipped):
            assert tiny.average is not None
            state = {n: t.clone() for n, t in tiny.optimizers.state_tensors().items()}
            average = {n: t.clone() for n, t in tiny.average.tensors.items()}
            found.append((tiny.weights(), state, average))

    tiny.run(4, listeners=[look])
    for before, after in zip(found[1], found[2], strict=True):
        assert_equal_weights(before, after)
    assert not torch.equal(found[2][0]["norm.weight"], found[3][0]["norm.weight"])


def test_how_many_were_left_out_survives_a_resume():
    tiny = TinyTraining(skip_nonfinite=2)
    tiny.break_output("norm", {3, 4})
    tiny.run(8, stop_requested=lambda: tiny.state.step == 4)
    again = tiny.resumed()
    again.break_output("norm", {5})
    with pytest.raises(ClocheError, match="loss became nan at step 5"):
        again.run(again.state)
    without = tiny.resumed()
    without.break_output("norm", {6, 7})
    assert without.run(without.state).finished


def test_weights_that_a_step_threw_out_of_the_numbers_are_not_saved():
    tiny = TinyTraining(save_every=2)

    def throw(event):
        if isinstance(event, StepDone) and event.step == 4:
            with torch.no_grad():
                tiny.model.get_parameter("layers.1.mlp.up_proj.weight")[3, 2] = float("inf")

    with pytest.raises(ClocheError, match=r"weights became .* at step 4, first in layers\.1"):
        tiny.run(8, listeners=[throw])
    assert list(tiny.saved) == [2]


def test_a_step_left_out_is_in_the_metrics_and_on_the_terminal(tmp_path):
    event = StepSkipped(3, 8, "the loss became nan, first in layers.1[x]", warning=True)
    journal = Journal(tmp_path, from_step=0, warn=lambda text: None)
    journal(event)
    journal.close()
    (row,) = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert (row["step"], row["train/skipped"]) == (3, 1.0)
    screen = io.StringIO()
    terminal = Terminal(Console(file=screen, width=200))
    terminal(event)
    terminal.close()
    assert "step 3: the loss became nan, first in layers.1[x]" in screen.getvalue()


def uneven(step, part, options):
    """Rows with 1 to 5 targets, where a mean of means would go wrong."""
    batch = random_batch(step, part, options)
    first = step * options.batch + part * len(batch.inputs)
    kept = (torch.arange(first, first + len(batch.inputs)) % 5 + 1)[:, None]
    batch.targets[torch.arange(CONTEXT) >= kept] = IGNORED
    return batch


def packed(step, part, options):
    """Two documents in each row, and no target across their border in some rows."""
    batch = uneven(step, part, options)
    places = torch.arange(CONTEXT).expand_as(batch.inputs)
    first = 2 + (batch.inputs[:, :1] % 3)
    return replace(
        batch,
        positions=torch.where(places < first, places, places - first),
        documents=(places >= first).long(),
    )


@pytest.mark.parametrize("batches", [random_batch, uneven, packed])
@pytest.mark.parametrize(
    "scoring",
    [
        {},
        {"z_loss": 0.1},
        {"label_smoothing": 0.2},
        {"label_smoothing": 0.2, "label_smoothing_over": "others", "z_loss": 0.01},
    ],
    ids=["plain", "z-loss", "smoothing", "others"],
)
def test_eight_parts_of_one_give_the_gradient_of_one_part_of_eight(batches, scoring):
    found = []
    for parts in (1, 8):
        tiny = TinyTraining(batches=batches, accumulate=parts, clip=0.0, **scoring)
        # the output layers start at zero, where most gradients are zero too
        torch.manual_seed(1)
        for parameter in tiny.model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        tiny.run(1)
        found.append((tiny.told(StepDone)[0].loss, [p.grad for p in tiny.model.parameters()]))
    (loss, gradients), (loss_of_parts, gradients_of_parts) = found
    assert loss_of_parts == pytest.approx(loss, rel=1e-5)
    for gradient, of_parts in zip(gradients, gradients_of_parts, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(of_parts, gradient, rtol=1e-4, atol=1e-6)
