"""Runs that were killed, damaged, refused or taken up again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from small_runs import SMALL, TEXT, notices, weights_of

import cloche
from cloche.errors import RunError
from cloche.run import read_metrics
from cloche.training import snapshots
from cloche.training.events import StepDone
from cloche.training.folder import claimed


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
    real = snapshots.point

    def killed_before_the_link(folder, name, checkpoint):
        if name == link and checkpoint.name == "step-000008":
            raise CrashError
        real(folder, name, checkpoint)

    monkeypatch.setattr(snapshots, "point", killed_before_the_link)
    with pytest.raises(CrashError):
        cloche.train(book, out=run, options=SMALL)
    assert os.readlink(run / link) == "checkpoints/step-000004"
    monkeypatch.undo()
    cloche.train(out=run, resume=True)
    assert os.readlink(run / link) == "checkpoints/step-000008"


def test_resuming_keeps_the_tokens_as_they_are(book, tmp_path):
    run = tmp_path / "run"
    cloche.train(book, out=run, options=SMALL)
    made = (run / "tokens" / "prepared.json").stat().st_mtime_ns
    cloche.train(out=run, resume=True)
    assert (run / "tokens" / "prepared.json").stat().st_mtime_ns == made


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
    assert (run / "latest").exists()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume" in errors
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert cloche.load(run, checkpoint="latest").folder.name == f"step-{status['step']:06}"


def test_another_text_is_refused_even_where_the_tokens_were_deleted(book, tmp_path):
    run = tmp_path / "run"
    cloche.train(book, out=run, options=SMALL)
    shutil.rmtree(run / "tokens")
    book.write_text(TEXT[::-1], encoding="utf-8")  # the same alphabet: the same tokenizer
    with pytest.raises(RunError, match="the text is not the one"):
        cloche.train(out=run, resume=True)
    shutil.rmtree(run / "tokens")
    book.write_text(TEXT, encoding="utf-8")
    assert cloche.train(out=run, resume=True).finished


@pytest.mark.parametrize("width", [66, 300])
def test_a_width_that_is_no_multiple_of_a_usual_head_resumes(book, tmp_path, width):
    options = {**SMALL, "model.width": width, "train.steps": 2}
    cloche.train(book, out=tmp_path / "run", options=options)
    assert cloche.train(out=tmp_path / "run", resume=True).finished


def test_who_watches_may_change_when_a_run_goes_on(book, tmp_path):
    run = tmp_path / "run"
    cloche.train(book, out=run, options={**SMALL, "train.trackers": ("none",)})
    assert not (run / "events").exists()
    changed = {
        "train.trackers": ("tensorboard",),
        "train.statistics_every": 2,
        "train.skip_nonfinite": 3,
    }
    assert cloche.train(out=run, resume=True, options=changed).finished
    assert (run / "events").exists()
    with pytest.raises(RunError, match=r"train\.batch: 4 -> 8"):
        cloche.train(out=run, resume=True, options={"train.batch": 8})
