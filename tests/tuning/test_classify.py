"""A classifier: learned, told, saved, opened by transformers, and gone on with exactly."""

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import cloche.tuning.classify as classifying
from cloche.cli.tune_classify import main
from cloche.errors import CheckpointError, ClocheError, DataError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.bpe import train_bpe
from cloche.training.events import Event, Notice, StepDone
from cloche.training.machine import measure_machine
from cloche.tuning.classify import classify, held_out_classes, tune_classify
from cloche.tuning.classify_report import describe_classes, make_report
from cloche.weights.checkpoint import save_checkpoint

WORDS = {"fruit": ("apple", "pear", "plum"), "metal": ("iron", "zinc", "gold")}
OPTIONS = {
    "train.steps": 24,
    "train.batch": 8,
    "train.eval_every": 12,
    "train.learning_rate": 0.02,
    "train.precision": "float32",
    "train.device": "cpu",
    "train.trackers": [],
    "classify.learn": "last",
}


@pytest.fixture(autouse=True, scope="module")
def _machine_is_measured_once():
    machine = measure_machine("cpu", "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifying, "measure_machine", lambda *_: machine)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    text = "we have some apple pear plum iron zinc gold here now " * 5
    tokenizer = train_bpe([text], vocab_size=290, rule="gpt-2")
    config = complete(
        ModelOptions(), vocab_size=tokenizer.vocab_size, layers=2, width=32, context=16
    )
    torch.manual_seed(0)
    save_checkpoint(folder, model=build_model(config), config=config, tokenizer=tokenizer, card="")
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("table") / "things.csv"
    chance = random.Random(0)
    lines = ["text,label"]
    for _ in range(100):
        label = chance.choice(sorted(WORDS))
        lines.append(
            f"we have some {chance.choice(WORDS[label])} here {chance.random():.2f},{label}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base, table) -> tuple[Path, list[Event]]:
    told: list[Event] = []
    out = tmp_path_factory.mktemp("runs") / "things"
    tune_classify(base, table, out=out, options=OPTIONS, listeners=[told.append])
    return out, told


def test_a_classifier_learns_and_is_told_beside_the_commonest_class(trained):
    out, told = trained
    report = held_out_classes(out)
    assert report.part == "test"
    assert report.texts == 20
    assert report.accuracy >= 0.9 > report.baseline
    assert json.loads((out / "classes.json").read_text())["accuracy"] == report.accuracy
    assert (out / "confusion.png").stat().st_size > 1000
    said = " ".join(event.text for event in told if isinstance(event, Notice))
    assert "Classes: " in said
    assert "Always saying" in said


def test_a_classifier_names_the_class_of_new_texts(trained):
    found = classify(trained[0], ["we have some zinc here 0.5", "we have some plum here 0.1"])
    assert [each.label for each in found] == ["metal", "fruit"]
    assert sum(found[0].probabilities.values()) == pytest.approx(1.0)
    with pytest.raises(DataError, match="text 2 of 2 is empty"):
        classify(trained[0], ["a", " "])


def test_transformers_names_the_same_classes(trained):
    text = "we have some zinc here 0.5"
    theirs = AutoModelForSequenceClassification.from_pretrained(trained[0] / "best")
    tokenizer = AutoTokenizer.from_pretrained(trained[0] / "best")
    with torch.no_grad():
        shares = theirs(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
    mine = classify(trained[0], [text])[0]
    assert shares.tolist() == pytest.approx(list(mine.probabilities.values()), rel=1e-4, abs=1e-5)


def test_only_what_was_asked_for_learns(trained, base):
    weights = classifying.open_scorer(trained[0], warn=print).opened.scorer.state_dict()
    before = classifying.load(base, precision="float32").model.state_dict()
    before.pop("lm_head.weight", None)
    moved = {name for name, own in before.items() if not own.equal(weights[f"decoder.{name}"])}
    assert moved
    assert all(name.startswith(("layers.1.", "norm.")) for name in moved)


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path, base, table, trained):
    def stop_at(step: int):
        def listen(event: Event) -> None:
            if isinstance(event, StepDone) and event.step == step:
                raise KeyboardInterrupt

        return listen

    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        tune_classify(base, table, out=out, options=OPTIONS, listeners=[stop_at(15)])
    tune_classify("", out=out, resume=True, listeners=[])
    for name in ("model.safetensors", "trainer/state.safetensors"):
        whole = (trained[0] / "checkpoints" / "step-000024" / name).read_bytes()
        assert (out / "checkpoints" / "step-000024" / name).read_bytes() == whole


def test_a_model_that_writes_tells_no_classes(base):
    with pytest.raises(CheckpointError, match="scores none"):
        classify(base, ["a"])


def test_the_command_prints_one_object(tmp_path, base, table, capsys):
    settings = {"steps": "2", "device": "cpu", "precision": "float32", "trackers": "none"}
    options = [part for name, value in settings.items() for part in (f"--train.{name}", value)]
    arguments = [str(base), str(table), "--out", str(tmp_path / "r"), "--task", "classify"]
    assert main([*arguments, *options, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["held_out"]["classes"] == ["fruit", "metal"]
    assert "taken for" in printed.err


def test_contradictions_are_told_at_once(tmp_path, base, table):
    options = {"classify.epochs": 2, "classify.label_column": "2", **OPTIONS}
    with pytest.raises(ClocheError, match=r"(?s)classify\.epochs.*both be names"):
        tune_classify(base, table, out=tmp_path / "x", options=options, listeners=[])


def test_uneven_classes_are_told():
    lines = describe_classes(["a"] * 9 + ["b"], ["a", "b"])
    assert "Always saying 'a' would be right for 90.0%" in lines[1]
    assert "uneven: 9 times" in lines[2]


def test_a_report_counts_each_confusion():
    report = make_report([0, 0, 1, 1], [0, 1, 1, 1], ("a", "b"), part="test", commonest=1)
    assert report.confusion == ((1, 1), (0, 2))
    assert report.accuracy == 0.75
    assert report.baseline == 0.5
    assert report.recall(0) == 0.5
    assert report.precision(1) == pytest.approx(2 / 3)
