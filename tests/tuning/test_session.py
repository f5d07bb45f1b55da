"""A sitting of a tuning: what lies in the folder, and what goes wrong around it."""

import io
import json
import os
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_base import QUICK, make_base, write_records

import cloche
import cloche.tuning.start as tuning_start
import cloche.tuning.trainee as trainee
from cloche.errors import CheckpointError, ClocheError, SettingError
from cloche.plots.charts import loss_curve
from cloche.run import read_metrics
from cloche.training import journal
from cloche.training.events import Evaluated, Notice, RunStarted
from cloche.training.machine import measure_machine
from cloche.training.terminal import Terminal
from cloche.training.verdict import Evaluation, Wording, judge

OPTIONS = QUICK | {"train.save_every": 2, "tune.template": "alpaca"}


@pytest.fixture(autouse=True, scope="module")
def _machine_is_measured_once():
    machine = measure_machine("cpu", "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning_start, "measure_machine", lambda *_: machine)
        patch.setattr(journal, "loss_curve", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny base and records."""
    folder = tmp_path_factory.mktemp("place")
    make_base(folder / "base")
    write_records(folder / "records.json")
    return folder


def tune(place, run, *, listeners=(), resume: Any = False, **options):
    given = (place / "base", place / "records.json")
    asked = OPTIONS | options
    return cloche.tune(*given, out=run, options=asked, listeners=list(listeners), resume=resume)


def notices(events, *, warning=False):
    found = [e.text for e in events if isinstance(e, Notice) and e.warning >= warning]
    return "\n".join(found)


def test_a_run_folder_holds_all_of_a_tuning(place, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "loss_curve", loss_curve)
    run = tune(place, tmp_path / "run").folder
    assert (run / "loss.png").stat().st_size > 1000
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"], status["steps"]) == ("finished", 6, 6)
    rows = read_metrics(run)
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4, 5, 6]
    losses = {row["step"]: row["eval/loss"] for row in rows if "eval/loss" in row}
    assert list(losses) == [2, 4, 6]
    best = min(losses, key=lambda step: losses[step])
    assert os.readlink(run / "best") == f"checkpoints/step-{best:06}"
    assert os.readlink(run / "latest") == "checkpoints/step-000006"
    assert len(list((run / "checkpoints").iterdir())) == 2
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [2, 4, 6]
    card = (run / "latest" / "README.md").read_text()
    assert "nats a learned token" in card


def test_the_best_checkpoint_is_the_one_of_the_lowest_loss_not_the_newest(place, tmp_path):
    options = {"train.learning_rate": 0.5, "train.schedule": "constant", "train.steps": 4}
    run = tune(place, tmp_path / "run", **options).folder
    losses = {r["step"]: r["eval/loss"] for r in read_metrics(run) if "eval/loss" in r}
    best = min(losses, key=lambda step: losses[step])
    assert best != 4, "the rate is meant to spoil the model"
    assert os.readlink(run / "best").endswith(f"{best:06}")
    assert cloche.load(run).folder.name == f"step-{best:06}"


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "model.safetensors"), ({"method.method": "lora"}, "adapter_model.safetensors")],
    ids=["full", "lora"],
)
def test_a_damaged_checkpoint_falls_back_and_the_run_ends_as_if_it_had_not_been(
    place, tmp_path, options, name
):
    run = tune(place, tmp_path / "run", **options).folder
    path = run / "checkpoints" / "step-000006" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])
    (run / "best").unlink()
    warned = []
    assert cloche.load(run, warn=warned.append).folder.name == "step-000004"
    assert f"{name} is damaged" in warned[0]
    events = []
    tune(place, run, resume=True, listeners=[events.append], **options)
    assert f"{name} is damaged" in notices(events, warning=True)
    assert "holds what was damaged" in notices(events, warning=True)
    assert hash(path.read_bytes()) == hash(whole)


def test_a_full_disk_is_told_and_the_training_goes_on(place, tmp_path, monkeypatch):
    real = trainee.save_checkpoint

    def full_at_the_second(folder, **parts):
        if folder.name == "step-000004":
            raise CheckpointError(f"{folder} cannot be written: no space left on device")
        real(folder, **parts)

    monkeypatch.setattr(trainee, "save_checkpoint", full_at_the_second)
    events = []
    run = tune(place, tmp_path / "run", listeners=[events.append])
    assert (run.step, run.finished) == (6, True)
    assert "no space left" in notices(events, warning=True)
    assert sorted(p.name for p in (run.folder / "checkpoints").iterdir()) == [
        "step-000002",
        "step-000006",
    ]


def test_a_disk_that_is_full_at_the_end_fails_and_keeps_what_was_saved(
    place, tmp_path, monkeypatch
):
    real = trainee.save_checkpoint

    def full_at_the_end(folder, **parts):
        if folder.name == "step-000006":
            raise CheckpointError(f"{folder} cannot be written: no space left on device")
        real(folder, **parts)

    monkeypatch.setattr(trainee, "save_checkpoint", full_at_the_end)
    run = tmp_path / "run"
    with pytest.raises(CheckpointError, match="no space left"):
        tune(place, run)
    assert cloche.load(run, checkpoint="latest").folder.name == "step-000004"
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    monkeypatch.undo()
    assert tune(place, run, resume=True).finished


def test_a_tuning_that_runs_away_ends_with_an_error_and_what_was_saved_stays(place, tmp_path):
    run = tmp_path / "run"
    options: dict[str, Any] = {
        "train.steps": 60,
        "train.learning_rate": 9.0,
        "train.weight_decay": 0.5,
        "train.schedule": "constant",
    }
    with pytest.raises(ClocheError, match=r"became .* at step \d+.*a smaller --train") as caught:
        tune(place, run, **options)
    assert "what was saved before stays" in str(caught.value)
    saved = list((run / "checkpoints").glob("step-*"))
    assert saved
    for folder in saved:
        weights = cloche.load(folder).model.state_dict()
        assert all(weight.isfinite().all() for weight in weights.values())


def test_one_process_only(place, tmp_path, monkeypatch):
    launched = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    for name, value in {**launched, "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match="start it without torchrun"):
        tune(place, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_tuning_resumes_to_itself(place, tmp_path):
    run = tune(place, tmp_path / "run").folder
    before = (run / "metrics.jsonl").read_bytes()
    events = []
    again = tune(place, run, resume=True, listeners=[events.append])
    assert (again.step, again.finished) == (6, True)
    assert "already finished, at step 6" in notices(events)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_context_beyond_the_models_is_told_and_options_are_refused_all_at_once(place, tmp_path):
    events = []
    longer: dict[str, Any] = {"tune.context": 999}
    run = tune(place, tmp_path / "run", listeners=[events.append], **longer).folder
    said = "tune.context is 999, and the model looks at 256 tokens at most: 256 it is"
    assert said in notices(events, warning=True)
    assert "context = 256" in (run / "config.toml").read_text()
    wrong: dict[str, Any] = {"method.method": "lora", "lora.rank": 0, "train.average": 0.9}
    with pytest.raises(SettingError, match=r"(?s)2 settings.*lora\.rank.*train\.average"):
        tune(place, tmp_path / "no", **wrong)


def shown(unit, metrics):
    out = io.StringIO()
    terminal = Terminal(Console(file=out, width=200))
    terminal(RunStarted(0, 9, 10, "cpu", "float32", loss_unit=unit))
    terminal(Evaluated(3, metrics, best=True))
    terminal.close()
    return out.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("unit", "line"),
    [
        ("nats a group", "validation 0.5000, training 0.4000 nats a group; margin 2  best so far"),
        ("", "validation 0.5000, training 0.4000; margin 2  best so far"),
        (None, "margin 2  best so far"),
    ],
)
def test_the_screen_says_what_a_loss_is_counted_in(unit, line):
    metrics = {"eval/loss": 0.5, "eval/train_loss": 0.4, "eval/margin": 2.0}
    assert shown(unit, metrics) == f"step 3: {line}"


def test_a_verdict_speaks_of_the_unit_and_of_what_can_be_changed():
    curve = [Evaluation(step, loss, 0.1) for step, loss in ((50, 0.5), (100, 0.4), (150, 0.6))]
    said = judge(curve, Wording("nats a group", data="data", remedy="a lower rate"))
    assert said is not None
    assert "0.600 nats a group" in said
    assert "More data, a lower rate or a shorter run help" in said
    assert "token" not in said


def test_a_tuning_is_judged_in_its_own_words(place, tmp_path):
    events = []
    tune(place, tmp_path / "run", listeners=[events.append])
    started = next(event for event in events if isinstance(event, RunStarted))
    assert started.loss_unit == "nats a learned token"
    assert "nats a learned token on the validation part" in notices(events)
    assert torch.get_num_threads() == 1
