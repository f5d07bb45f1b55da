"""Each tracker's real library, in its own process, with nothing but this machine.

Those that are not installed are skipped: each is an extra of its own.
"""

import os
import sqlite3
import time
from importlib import import_module
from importlib.util import find_spec

import pytest

from cloche.training.events import Evaluated, RunEnded, Sampled, StepDone
from cloche.training.options import RunOptions
from cloche.training.tracking.open import open_trackers
from cloche.training.tracking.tracker import close_trackers

TEXT = " upon a <time>\n床前明月光"


@pytest.fixture
def track(tmp_path, monkeypatch):
    """Trains for some steps, as far as a tracker sees; skips where its library is absent."""
    monkeypatch.setenv("HOME", str(tmp_path))  # no account of whoever runs this, and no traces
    for name in list(os.environ):
        if name.startswith(("WANDB", "MLFLOW", "SWANLAB", "TRACKIO", "AIM", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run = tmp_path / "runs" / "book"
    run.mkdir(parents=True)

    def sitting(name, *, from_step, to_step):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
        told = []
        trackers = open_trackers(
            (name,), run=run, options=RunOptions(), from_step=from_step, tell=told.append
        )
        for step in range(from_step + 1, to_step + 1):
            trackers[0](StepDone(step, 9, step / 9, 3.0 / step, 0.1, 0.5, 9.0, 1.0, {}))
        trackers[0](Evaluated(to_step, {"eval/loss": 2.5}, best=True))
        trackers[0](Sampled(to_step, "Once", TEXT))
        trackers[0](RunEnded(to_step, finished=True, seconds=1.0))
        close_trackers(trackers, seconds=60)
        assert told == [], (run / "trackers" / f"{name}.log").read_text()
        return run

    return sitting


def two_sittings(track, name):
    """Steps 1 to 4; then, from the checkpoint of step 3, steps 4 to 6."""
    track(name, from_step=0, to_step=4)
    return track(name, from_step=3, to_step=6)


def test_mlflow_holds_one_run_with_its_options_figures_and_samples(track):
    run = two_sittings(track, "mlflow")
    database = sqlite3.connect(run.parent / "mlflow.db")
    ((name, status),) = database.execute("select name, status from runs").fetchall()
    assert (name, status) == ("book", "FINISHED")
    rows = database.execute("select step, value from metrics where key = 'train/loss'").fetchall()
    assert len(rows) == 6  # steps 4 of both sittings are one
    losses = dict(rows)
    assert losses == pytest.approx({step: 3.0 / step for step in range(1, 7)})
    options = dict(database.execute("select key, value from params"))
    assert options["train.optimizer"] == "auto"
    database.close()
    (sample,) = (run.parent / "mlartifacts").rglob("step-000006.txt")
    assert sample.read_text(encoding="utf-8") == "Once" + TEXT


def test_trackio_holds_one_run_with_its_figures_and_samples(track):
    run = two_sittings(track, "trackio")
    database = sqlite3.connect(run.parent.parent / "trackio" / "cloche.db")
    rows = database.execute("select run_name, step, cast(metrics as text) from metrics").fetchall()
    database.close()
    assert len({name for name, _, _ in rows}) == 1
    assert rows[0][0].startswith("book-")
    steps = sorted(step for _, step, metrics in rows if "train/loss" in metrics)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert any("床前明月光" in metrics for _, _, metrics in rows)


def test_trackio_that_cannot_store_is_told(tmp_path, monkeypatch):
    if find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    (tmp_path / "book").mkdir()
    told = []
    (tracker,) = open_trackers(
        ("trackio",), run=tmp_path / "book", options=RunOptions(), from_step=0, tell=told.append
    )
    tracker(StepDone(1, 9, 0.1, 3.0, 0.1, 0.5, 9.0, 1.0, {}))
    end = time.monotonic() + 300
    while not (tmp_path / "trackio" / "cloche.db").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    (tmp_path / "trackio").rename(tmp_path / "moved")
    (tmp_path / "trackio").write_text("no folder any more")
    tracker(StepDone(2, 9, 0.2, 3.0, 0.1, 0.5, 9.0, 1.0, {}))
    close_trackers([tracker], seconds=60)
    (notice,) = told
    assert "The tracker trackio stops" in notice.text
    assert "could not be persisted" in notice.text


def test_wandb_stays_offline_without_an_account_and_keeps_one_identity(track):
    run = two_sittings(track, "wandb")
    known = (run / "trackers" / "wandb.id").read_text().strip()
    folders = sorted((run.parent / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert all(folder.name.endswith(known) for folder in folders)
    for folder in folders:
        stored = (folder / f"run-{known}.wandb").read_bytes()
        assert b"train/loss" in stored
        assert b"train.optimizer" in stored


def test_swanlab_stays_offline_without_an_account(track):
    run = two_sittings(track, "swanlab")
    folders = list((run.parent / "swanlog").glob("run-*"))
    assert len(folders) == 2  # offline it knows no runs that go on
    texts = [path.read_text(encoding="utf-8") for path in run.parent.rglob("media/text/*")]
    assert texts == ["Once" + TEXT] * 2
    assert all(b"train/loss" in next(folder.glob("*.swanlab")).read_bytes() for folder in folders)


@pytest.mark.filterwarnings("ignore")  # Aim's own
def test_aim_holds_one_run_in_which_later_rows_replace_earlier_ones(track):
    run = two_sittings(track, "aim")
    aim = import_module("aim")
    known = (run / "trackers" / "aim.id").read_text().strip()
    opened = aim.Run(
        known,
        repo=str(run.parent),
        force_resume=True,
        system_tracking_interval=None,
        capture_terminal_logs=False,
    )
    assert opened.name == "book"
    assert opened["options"]["train.optimizer"] == "auto"
    losses = {metric.name: metric.values.sparse_list()[1] for metric in opened.metrics()}
    assert sorted(losses["train/loss"]) == pytest.approx([3.0 / n for n in range(6, 0, -1)])
    opened.close()
