"""Saves that go on while the training does: in order, one at a time, and of their own moment."""

import shutil
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch
from small_runs import SMALL
from tiny_training import TinyTraining, assert_equal_weights, disk_full

import cloche
from cloche.errors import CheckpointError, ClocheError
from cloche.training import machine, saving, snapshots
from cloche.training.distributed import World
from cloche.training.events import CheckpointSaved, Notice, RunEnded, StepDone
from cloche.training.launch import FirstProcessError
from cloche.training.schedule import Plan
from cloche.training.state import LoopState

PATIENCE = 30.0  # seconds that no test ever waits, unless it fails


class Gate:
    """A disk that writes nothing until it is let: `before_write` of one save."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, step: int) -> None:
        if step == self.step:
            self.reached.set()
            assert self.open.wait(PATIENCE)


def at_step(number, act):
    """A listener that acts once a step is done."""

    def listen(event):
        if isinstance(event, StepDone) and event.step == number:
            act()

    return listen


def outline(tiny):
    """Steps, saves and warnings in the order they were told."""
    told = []
    for event in tiny.events:
        match event:
            case StepDone():
                told.append(event.step)
            case CheckpointSaved():
                told.append(f"saved {event.step}{' best' if event.best else ''}")
            case Notice(warning=True):
                told.append("failed")
            case _:
                pass
    return told


def test_a_slow_save_does_not_hold_the_steps_up():
    tiny = TinyTraining(save_every=2)
    tiny.before_write = gate = Gate(2)
    tiny.run(4, listeners=[at_step(4, gate.open.set)])  # would wait for ever if it did
    assert outline(tiny)[:4] == [1, 2, 3, 4]
    assert outline(tiny)[4:] == ["saved 2", "saved 4 best"]
    assert isinstance(tiny.events[-1], RunEnded)


def test_what_is_saved_is_the_state_at_its_moment():
    tiny, whole = TinyTraining(save_every=2), TinyTraining()
    tiny.before_write = gate = Gate(2)
    tiny.run(4, listeners=[at_step(4, gate.open.set)])
    whole.run(4, stop_requested=lambda: whole.state.step == 2)
    assert_equal_weights(tiny.saved[2], whole.weights())


def test_two_saves_are_never_written_at_once():
    tiny = TinyTraining(save_every=1)
    writing: list[int] = []
    most = []

    def slow(step):
        writing.append(step)
        threading.Event().wait(0.02)
        most.append(len(writing))
        writing.remove(step)

    tiny.before_write = slow
    tiny.run(6)
    assert most == [1] * 6
    assert list(tiny.saved) == [1, 2, 3, 4, 5, 6]
    # each is told before the next is begun
    assert [event.step for event in tiny.told(CheckpointSaved)] == [1, 2, 3, 4, 5, 6]


def test_a_save_that_fails_is_told_and_the_next_is_tried():
    tiny = TinyTraining(save_every=2)
    tiny.before_write = disk_full(2, 4)
    tiny.run(6)
    assert list(tiny.saved) == [6]
    warnings = [event.text for event in tiny.told(Notice) if event.warning]
    assert [text.split(":")[0] for text in warnings] == ["step 2", "step 4"]
    assert "the next save is tried as planned" in warnings[0]
    assert outline(tiny)[-1] == "saved 6 best"


def test_what_came_of_a_save_is_told_before_the_last_one_fails():
    tiny = TinyTraining(save_every=2)
    gate = Gate(2)

    def write(step):
        gate(step)
        disk_full(4)(step)

    tiny.before_write = write
    with pytest.raises(CheckpointError, match="step 4: the disk is full"):
        tiny.run(4, listeners=[at_step(4, gate.open.set)])
    assert outline(tiny) == [1, 2, 3, 4, "saved 2"]


def test_a_save_that_failed_late_is_no_best_for_the_next_evaluation():
    tiny = TinyTraining(eval_every=2)
    tiny.losses = iter([3.0, 1.0, 2.0, 2.5])
    gate = Gate(4)

    def write(step):
        gate(step)
        disk_full(4)(step)

    tiny.before_write = write
    tiny.run(8, listeners=[at_step(6, gate.open.set)])  # it fails after step 6, before its loss
    assert (tiny.state.best_loss, tiny.state.best_step) == (2.0, 6)
    assert [(e.step, e.best) for e in tiny.told(CheckpointSaved)] == [
        (2, True),
        (6, True),
        (8, False),
    ]


def test_an_error_in_the_training_leaves_the_pending_save_whole_and_tells_of_it():
    tiny = TinyTraining(save_every=2)
    tiny.before_write = gate = Gate(2)
    tiny.break_output("norm", {3})
    opening = threading.Timer(0.2, gate.open.set)
    opening.start()
    with pytest.raises(ClocheError, match="loss became nan at step 3"):
        tiny.run(6)
    opening.join()
    assert list(tiny.saved) == [2]
    assert outline(tiny) == [1, 2, "saved 2"]


def test_an_error_of_any_kind_waits_for_the_pending_save():
    tiny = TinyTraining(save_every=2)
    tiny.before_write = gate = Gate(2)

    def crash():
        threading.Timer(0.2, gate.open.set).start()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tiny.run(6, listeners=[at_step(3, crash)])
    assert list(tiny.saved) == [2]


def test_a_mistake_of_ours_in_a_save_is_not_taken_for_a_full_disk():
    tiny = TinyTraining(save_every=2)

    def mistake(step):
        raise ZeroDivisionError

    tiny.before_write = mistake
    with pytest.raises(ZeroDivisionError):
        tiny.run(6)


def test_processes_that_share_a_training_write_while_it_waits():
    state, threads = LoopState(Plan(8)), []

    def save(taken):
        def write():
            threads.append(threading.current_thread())
            return Path(f"step-{taken.step}")

        return write

    checkpoints = saving.Checkpoints(save, state, alone=False)
    state.step = 4
    assert checkpoints.begin() == [CheckpointSaved(4, Path("step-4"), best=False)]
    assert threads == [threading.main_thread()]
    assert not checkpoints.behind
    checkpoints.close()


class SecondOfTwo(World):
    """A process that hears of the first one's failure."""

    rank, size = 1, 2

    def first_text(self, work):
        raise FirstProcessError("the disk is full")


def test_a_failure_of_the_process_that_writes_is_a_failure_in_all():
    with pytest.raises(CheckpointError, match="the disk is full"):
        snapshots.in_the_first(SecondOfTwo(), lambda: None)


class Immediately:
    """An executor that does the work before it returns."""

    def __init__(self, *_arguments, **_names) -> None: ...

    def submit(self, work):
        done = Future()
        done.set_result(work())
        return done

    def shutdown(self, *, wait):
        pass


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_checkpoints_are_byte_for_byte_those_of_a_training_that_waits(
    book, tmp_path, monkeypatch, precision, average
):
    monkeypatch.setattr(machine, "matmul_flops", lambda device, dtype: 1e11)
    options = {
        **SMALL,
        "train.save_every": 1,
        "train.steps": 4,
        "train.precision": precision,
        "train.average": average,
        "train.trackers": (),
        "model.dropout": 0.1,
    }
    stepped = threading.Event()
    real = snapshots.save_checkpoint
    folders = []

    def keep(folder, **parts):
        if background:
            stepped.wait(PATIENCE if parts["trainer"].values["loop"]["step"] < 4 else 0.0)
            stepped.clear()
        real(folder, **parts)
        kept = tmp_path / f"{name}-{folder.name}"
        shutil.copytree(folder, kept)
        folders.append(kept)

    def another_step(event):
        if isinstance(event, StepDone) and event.step > 1:
            stepped.set()

    monkeypatch.setattr(snapshots, "save_checkpoint", keep)
    for name, background in (("beside", True), ("waiting", False)):
        if not background:
            monkeypatch.setattr(saving, "ThreadPoolExecutor", Immediately)
        cloche.train(book, out=tmp_path / name, options=options, listeners=[another_step])
    assert len(folders) >= 8
    for step in (1, 2, 3, 4):
        for file in ("model.safetensors", "trainer/state.safetensors"):
            one, other = (
                (tmp_path / f"{name}-step-{step:06}" / file).read_bytes()
                for name in ("beside", "waiting")
            )
            assert one == other, (step, file)


def test_a_copy_shares_no_memory_and_keeps_what_is_tied():
    tiny = TinyTraining()
    tied = tiny.model.get_parameter("embed_tokens.weight")
    tiny.model.get_submodule("lm_head").weight = tied
    copied = snapshots.frozen(tiny.model)
    assert copied.get_parameter("lm_head.weight") is copied.get_parameter("embed_tokens.weight")
    before = {name: value.clone() for name, value in copied.state_dict().items()}
    with torch.no_grad():
        for tensor in [*tiny.model.parameters(), *tiny.model.buffers()]:
            tensor.add_(1.0)
    for name, value in copied.state_dict().items():
        assert torch.equal(value, before[name])
    for one, other in zip(tiny.model.buffers(), copied.buffers(), strict=True):
        assert one.data_ptr() != other.data_ptr()


def test_without_room_for_a_copy_the_training_waits(book, tmp_path, monkeypatch):
    def no_copy(_model):
        raise AssertionError("copied")

    monkeypatch.setattr(snapshots, "available_memory", lambda: 0)
    monkeypatch.setattr(snapshots, "frozen", no_copy)
    threads = []
    real = snapshots.save_checkpoint

    def noted(folder, **parts):
        threads.append(threading.current_thread())
        real(folder, **parts)

    monkeypatch.setattr(snapshots, "save_checkpoint", noted)
    cloche.train(book, out=tmp_path / "run", options={**SMALL, "train.trackers": ()}, listeners=[])
    assert len(threads) > 1
    assert set(threads) == {threading.main_thread()}
