"""Whole runs, on a small text of our own."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import load_file
from small_runs import SMALL, TEXT, weights_of

import cloche
from cloche.errors import CheckpointError, DataError, RunError, SettingError, TextError
from cloche.run import read_metrics
from cloche.training import snapshots
from cloche.training.events import StepDone
from cloche.training.options import RunOptions
from cloche.training.start import default_folder


def test_a_run_leaves_everything_in_its_folder_and_writes(book, tmp_path):
    run = cloche.train(book, out=tmp_path / "run", options=SMALL)
    assert run.finished
    assert run.step == 8
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.toml", "metrics.jsonl", "samples.jsonl", "status.json", "loss.png"} <= names
    assert {"best", "latest", "checkpoints", "tokens"} <= names
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, 9))
    assert [row["step"] for row in rows if "eval/loss" in row] == [4, 8]
    assert {"eval/train_loss", "eval/bits_per_byte"} <= rows[-1].keys()
    lm = cloche.load(run.folder)
    assert lm.generate("The ", max_new_tokens=5, seed=1) == lm.generate(
        "The ", max_new_tokens=5, seed=1
    )


def test_train_can_be_called_twice_in_one_process_with_equal_results(book, tmp_path):
    for name in ("one", "two"):
        cloche.train(book, out=tmp_path / name, options=SMALL)
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "two")


def test_another_seed_gives_another_model(book, tmp_path):
    cloche.train(book, out=tmp_path / "one", options=SMALL)
    cloche.train(book, out=tmp_path / "two", options={**SMALL, "train.seed": 1})
    assert weights_of(tmp_path / "one") != weights_of(tmp_path / "two")


def test_the_parts_of_a_batch_change_nothing_in_what_is_reported(book, tmp_path):
    losses = []
    for parts in (1, 2):
        options = {**SMALL, "train.accumulate": parts, "train.precision": "float32"}
        cloche.train(book, out=tmp_path / str(parts), options=options)
        rows = read_metrics(tmp_path / str(parts))
        losses.append([row["eval/loss"] for row in rows if "eval/loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


def test_a_mistake_leaves_no_folder_behind_and_a_file_is_no_run(book, tmp_path):
    with pytest.raises(TextError):
        cloche.train(tmp_path / "none.txt", out=tmp_path / "runs" / "none")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(RunError, match="cannot be a run folder"):
        cloche.train(book, out=book, options=SMALL)
    assert book.read_text(encoding="utf-8") == TEXT


def test_a_bigram_is_moved_by_adamw_and_says_so(book, tmp_path):
    options = {"model.family": "bigram", "model.context": 16, "train.steps": 1}
    cloche.train(book, out=tmp_path / "run", options=options)
    assert 'optimizer = "adamw"' in (tmp_path / "run" / "config.toml").read_text()
    with pytest.raises(SettingError, match="a bigram has none"):
        cloche.train(book, out=tmp_path / "b", options={**options, "train.optimizer": "muon"})


def test_a_full_disk_keeps_the_last_checkpoint_and_is_told(book, tmp_path, monkeypatch):
    run = tmp_path / "run"
    real, calls = snapshots.save_checkpoint, []

    def full_from_the_second_on(folder, **state):
        calls.append(folder)
        if len(calls) >= 2:
            raise CheckpointError(f"{folder} cannot be written: no space left on device")
        real(folder, **state)

    monkeypatch.setattr(snapshots, "save_checkpoint", full_from_the_second_on)
    with pytest.raises(CheckpointError, match="no space left"):
        cloche.train(book, out=run, options=SMALL)
    assert cloche.load(run).folder.name == "step-000004"


def test_training_works_outside_the_main_thread(book, tmp_path):
    done = []
    thread = threading.Thread(
        target=lambda: done.append(cloche.train(book, out=tmp_path / "run", options=SMALL))
    )
    thread.start()
    thread.join()
    assert done[0].finished


def test_a_run_in_minutes_ends_on_time_with_a_finished_schedule(book, tmp_path):
    events = []
    options = {key: value for key, value in SMALL.items() if key != "train.steps"}
    began = time.monotonic()
    run = cloche.train(
        book, out=tmp_path / "run", minutes=0.15, options=options, listeners=[events.append]
    )
    assert time.monotonic() - began < 9.0 + 6.0  # a loaded machine may be late, not by much
    steps = [event for event in events if isinstance(event, StepDone)]
    assert run.finished
    assert steps[-1].progress > 0.9
    assert steps[-1].learning_rate < 0.2 * max(event.learning_rate for event in steps)


def test_a_checkpoint_holds_float32_weights_only(book, tmp_path):
    cloche.train(book, out=tmp_path / "run", options={**SMALL, "train.precision": "bfloat16"})
    folder = tmp_path / "run" / "latest"
    for name in ("model.safetensors", "trainer/state.safetensors"):
        assert {value.dtype for value in load_file(folder / name).values()} == {torch.float32}


def test_a_text_too_short_for_the_context_says_the_minimum(tmp_path):
    short = tmp_path / "short.txt"
    short.write_text(TEXT[:400], encoding="utf-8")
    with pytest.raises(DataError, match=r"needs at least 65: use a smaller --model\.context"):
        cloche.train(short, out=tmp_path / "run", options={**SMALL, "model.context": 64})


def test_a_short_text_trains_without_options_given(tmp_path):
    short = tmp_path / "short.txt"
    short.write_text(TEXT[:400], encoding="utf-8")
    run = cloche.train(short, out=tmp_path / "run", options={"train.steps": 2})
    assert run.finished


@pytest.mark.parametrize("content", ["", "  \n\t \n"])
def test_an_empty_text_is_refused(tmp_path, content):
    path = tmp_path / "empty.txt"
    path.write_text(content)
    with pytest.raises(TextError, match="no text"):
        cloche.train(path, out=tmp_path / "run")


def test_all_bad_options_are_told_at_once_before_anything_starts(book, tmp_path):
    bad = {"train.learning_rate": -1.0, "train.batch": 0, "model.dropout": 1.5, "data.split": 2.0}
    with pytest.raises(SettingError) as caught:
        cloche.train(book, out=tmp_path / "run", options=bad)
    for name in ("train.learning-rate", "train.batch", "model.dropout", "data.split"):
        assert name in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_heads_that_do_not_divide_the_width_are_refused(book, tmp_path):
    with pytest.raises(SettingError, match=r"not divisible by model\.heads 3"):
        cloche.train(book, out=tmp_path / "run", options={**SMALL, "model.heads": 3})


def test_an_unknown_option_names_the_nearest(book, tmp_path):
    with pytest.raises(SettingError, match=r"train\.learning_rat: did you mean learning_rate"):
        cloche.train(book, out=tmp_path / "run", options={"train.learning_rat": 0.1})


def test_default_folders_are_named_after_the_text():
    assert default_folder(["a/My book.txt"]).as_posix() == "runs/My-book"
    assert default_folder(["红楼梦.txt"]).as_posix() == "runs/红楼梦"
    assert default_folder(["rows.jsonl.gz"]).as_posix() == "runs/rows"
    assert default_folder(["-"]).as_posix() == "runs/standard-input"
    with pytest.raises(RunError, match="name a text to train on"):
        default_folder([])


def test_the_options_of_a_run_are_complete_and_give_the_same_run(book, tmp_path):
    from cloche.training.folder import read_options

    cloche.train(book, out=tmp_path / "one", options=SMALL)
    stored = read_options(tmp_path / "one")
    assert isinstance(stored, RunOptions)
    assert stored.train.learning_rate is not None
    assert stored.train.precision in ("float32", "bfloat16")
    cloche.train(out=tmp_path / "two", options=stored)
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "two")


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_best_and_latest_lead_to_checkpoints(book, tmp_path):
    cloche.train(book, out=tmp_path / "run", options=SMALL)
    assert os.readlink(tmp_path / "run" / "latest") == "checkpoints/step-000008"
    assert os.readlink(tmp_path / "run" / "best").startswith("checkpoints/step-")


def test_a_training_that_compiles_nothing_loads_no_compiler(book, tmp_path):
    # it takes 1.7 seconds, and PyTorch's own optimizers load it
    command = (
        "import sys, cloche\n"
        f"cloche.train({str(book)!r}, out={str(tmp_path / 'run')!r}, listeners=[], options="
        "{'train.steps': 2, 'model.layers': 1, 'model.width': 16, 'train.compile': 'off'})\n"
        "sys.exit(sorted(name for name in sys.modules if name in ('torch._dynamo', 'sympy')))\n"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "[]\n")


def test_a_time_too_short_for_a_single_step_is_an_error(book, tmp_path):
    with pytest.raises(SettingError, match="no time for a single step"):
        cloche.train(book, out=tmp_path / "run", minutes=0.0001, options={"model.layers": 1})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"train.device": "mps"}, "train.device mps is not available here"),
        ({"train.trackers": ("wandb",)}, "train.trackers wandb needs a library"),
        ({"train.accumulate": 100}, "train.accumulate 100 is more parts than"),
    ],
    ids=str,
)
def test_what_is_not_here_or_cannot_be_is_told_before_a_folder_is_made(
    book, tmp_path, monkeypatch, options, problem
):
    monkeypatch.setattr("cloche.training.tracking.open._is_installed", lambda library: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(SettingError, match=problem):
        cloche.train(book, out=tmp_path / "run", options={"train.steps": 3, **options})
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_run_that_goes_on_keeps_its_kind_of_length(book, tmp_path):
    cloche.train(book, out=tmp_path / "run", options=SMALL)
    with pytest.raises(RunError, match=r"begun with --train\.steps \d+, and ends there"):
        cloche.train(out=tmp_path / "run", resume=True, minutes=1)
