"""Whole runs, on a small text of our own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

import cloche
from cloche.errors import CheckpointError, DataError, RunError, SettingError, TextError
from cloche.run import read_metrics
from cloche.training import assemble
from cloche.training.events import Notice, StepDone
from cloche.training.folder import claimed
from cloche.training.options import RunOptions
from cloche.training.start import default_folder

TEXT = "".join(
    f"The {size} {animal} saw {number} {thing}s near the river.\n"
    for size in ("small", "old", "quick", "green")
    for animal in ("fox", "hen", "dog", "owl", "cat")
    for number in ("two", "ten", "five")
    for thing in ("stone", "leaf", "boat", "lamp")
)
SMALL = {
    "train.steps": 8,
    "train.eval_every": 4,
    "train.batch": 4,
    "train.sample_tokens": 8,
    "model.layers": 1,
    "model.width": 32,
    "model.context": 16,
}


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def weights_of(run):
    return (run / "latest" / "model.safetensors").read_bytes()


def notices(events):
    return "\n".join(event.text for event in events if isinstance(event, Notice))


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


class CrashError(Exception):
    """Stands for a crash."""


@pytest.mark.parametrize("family", ["qwen3", "gpt", "bigram"])
def test_a_crashed_run_resumes_to_the_same_bytes(book, tmp_path, family):
    options = {**SMALL, "model.family": family, "train.save_every": 2}
    if family == "bigram":
        options = {k: v for k, v in options.items() if k not in ("model.layers", "model.width")}
    else:
        options["model.dropout"] = 0.2
    cloche.train(book, out=tmp_path / "whole", options=options)

    def crash(event):
        if isinstance(event, StepDone) and event.step == 5:
            raise CrashError

    with pytest.raises(CrashError):
        cloche.train(book, out=tmp_path / "run", options=options, listeners=[crash])
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"
    again = cloche.train(out=tmp_path / "run", resume=True)
    assert again.finished
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "run")
    steps = [row["step"] for row in read_metrics(tmp_path / "run") if "train/loss" in row]
    assert steps == list(range(1, 9))  # the row of step 5, beyond the checkpoint, was cut
    losses = [
        [(row["step"], row["eval/loss"]) for row in read_metrics(folder) if "eval/loss" in row]
        for folder in (tmp_path / "whole", tmp_path / "run")
    ]
    assert losses[0] == losses[1]


def test_resuming_a_run_without_a_checkpoint_begins_it(book, tmp_path):
    run = cloche.train(book, out=tmp_path / "run", resume=True, options=SMALL)
    assert run.finished


def test_a_finished_run_resumes_to_itself(book, tmp_path):
    cloche.train(book, out=tmp_path / "run", options=SMALL)
    before = weights_of(tmp_path / "run")
    assert cloche.train(out=tmp_path / "run", resume=True).finished
    assert weights_of(tmp_path / "run") == before


def test_a_folder_with_a_checkpoint_is_refused_with_the_two_ways_on(book, tmp_path):
    cloche.train(book, out=tmp_path / "run", options=SMALL)
    with pytest.raises(RunError, match=r"--resume.*--out"):
        cloche.train(book, out=tmp_path / "run", options=SMALL)


def test_other_options_are_refused_by_name(book, tmp_path):
    cloche.train(book, out=tmp_path / "run", options=SMALL)
    with pytest.raises(RunError, match=r"train\.steps: 8 -> 9"):
        cloche.train(out=tmp_path / "run", resume=True, options={"train.steps": 9})


def test_another_text_is_refused_on_resume(book, tmp_path):
    cloche.train(book, out=tmp_path / "run", options=SMALL)
    book.write_text(TEXT + "More.", encoding="utf-8")
    with pytest.raises(RunError, match="the text is not the one"):
        cloche.train(out=tmp_path / "run", resume=True)


def test_a_run_goes_on_with_its_tokens_when_its_text_is_gone(book, tmp_path):
    cloche.train(book, out=tmp_path / "run", options=SMALL)
    book.unlink()
    events = []
    cloche.train(out=tmp_path / "run", resume=True, listeners=[events.append])
    assert "Going on with the tokens made earlier" in notices(events)


def test_a_run_in_use_is_refused_and_a_stale_lock_is_not(book, tmp_path):
    run = tmp_path / "run"
    code = (
        "import sys, time; from pathlib import Path; from cloche.training.folder import claimed\n"
        "with claimed(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="in use by another training"):
            cloche.train(book, out=run, options=SMALL)
    finally:
        holder.send_signal(signal.SIGKILL)  # leaves its lock file behind
        holder.wait()
        holder.stdout.close()
    assert (run / ".lock").exists()
    assert cloche.train(book, out=run, options=SMALL).finished


def test_the_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path):
        raise ZeroDivisionError
    with claimed(tmp_path):
        pass


def test_a_damaged_checkpoint_falls_back_loudly_to_the_one_before(book, tmp_path):
    run = tmp_path / "run"
    cloche.train(book, out=run, options=SMALL)
    whole = weights_of(run)
    path = run / "checkpoints" / "step-000008" / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    warned = []
    lm = cloche.load(run, warn=warned.append)
    assert lm.folder.name == "step-000004"
    assert "model.safetensors is damaged" in warned[0]
    events = []
    cloche.train(out=run, resume=True, listeners=[events.append])
    assert "model.safetensors is damaged" in notices(events)
    assert weights_of(run) == whole


@pytest.mark.parametrize("link", ["best", "latest"])
def test_a_kill_between_a_checkpoint_and_its_links_is_mended(book, tmp_path, monkeypatch, link):
    run = tmp_path / "run"
    real = assemble.point

    def killed_before_the_link(folder, name, checkpoint):
        if name == link and checkpoint.name == "step-000008":
            raise CrashError
        real(folder, name, checkpoint)

    monkeypatch.setattr(assemble, "point", killed_before_the_link)
    with pytest.raises(CrashError):
        cloche.train(book, out=run, options=SMALL)
    assert os.readlink(run / link) == "checkpoints/step-000004"
    monkeypatch.undo()
    cloche.train(out=run, resume=True)
    assert os.readlink(run / link) == "checkpoints/step-000008"


def test_the_parts_of_a_batch_change_nothing_in_what_is_reported(book, tmp_path):
    losses = []
    for parts in (1, 2):
        options = {**SMALL, "train.accumulate": parts, "train.precision": "float32"}
        cloche.train(book, out=tmp_path / str(parts), options=options)
        rows = read_metrics(tmp_path / str(parts))
        losses.append([row["eval/loss"] for row in rows if "eval/loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


def test_resuming_keeps_the_tokens_as_they_are(book, tmp_path):
    run = tmp_path / "run"
    cloche.train(book, out=run, options=SMALL)
    made = (run / "tokens" / "recipe.json").stat().st_mtime_ns
    cloche.train(out=run, resume=True)
    assert (run / "tokens" / "recipe.json").stat().st_mtime_ns == made


def test_a_run_without_its_options_is_not_begun_anew(book, tmp_path):
    run = tmp_path / "run"
    cloche.train(book, out=run, options=SMALL)
    (run / "config.toml").unlink()
    with pytest.raises(RunError, match=r"no config\.toml"):
        cloche.train(book, out=run, resume=True, options=SMALL)
    (run / "config.toml").write_text("")
    with pytest.raises(RunError, match="is empty"):
        cloche.train(book, out=run, resume=True, options=SMALL)


def test_a_row_that_a_power_cut_left_is_dropped_with_a_warning(book, tmp_path):
    run = tmp_path / "run"
    cloche.train(book, out=run, options=SMALL)
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b"\0\0\0\n")
    events = []
    cloche.train(out=run, resume=True, listeners=[events.append])
    assert "cannot be read and is dropped" in notices(events)
    assert read_metrics(run)[-1]["step"] == 8


def test_a_mistake_leaves_no_folder_behind_and_a_file_is_no_run(book, tmp_path):
    with pytest.raises(TextError):
        cloche.train(tmp_path / "none.txt", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
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
    real, calls = assemble.save_checkpoint, []

    def full_from_the_second_on(folder, **state):
        calls.append(folder)
        if len(calls) >= 2:
            raise CheckpointError(f"{folder} cannot be written: no space left on device")
        real(folder, **state)

    monkeypatch.setattr(assemble, "save_checkpoint", full_from_the_second_on)
    with pytest.raises(CheckpointError, match="no space left"):
        cloche.train(book, out=run, options=SMALL)
    assert cloche.load(run).folder.name == "step-000004"


def test_sigterm_saves_and_tells(book, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "cloche", "train", str(book), "--out", str(run)]
    for key, value in {**SMALL, "train.steps": 100_000}.items():
        command += [f"--{key.replace('_', '-')}", str(value)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    deadline = time.monotonic() + 60
    while not (run / "latest").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume" in errors
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert cloche.load(run, checkpoint="latest").folder.name == f"step-{status['step']:06}"


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
