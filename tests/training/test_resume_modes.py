"""Killed between two steps and taken up again: the same bytes, whatever is trained and how."""

import pytest
from small_runs import SMALL, weights_of
from test_pair_run import PAIRS

import cloche
from cloche.run import read_metrics
from cloche.training import machine
from cloche.training.events import StepDone

COMMON = {
    **SMALL,
    "train.eval_batches": 1,
    "train.save_every": 2,
    "train.precision": "float32",  # auto measures, and may choose otherwise on a busy machine
    "train.compile": "off",
    "train.trackers": (),
    "text.tokenizer": "characters",
}
PAIRED = {"model.family": "seq2seq", "model.context": None, "train.batch": 6}
MODES = {
    "muon, cosine, end to end": {"train.optimizer": "muon", "train.schedule": "cosine"},
    "adamw, linear, strided": {"train.optimizer": "adamw", "data.stride": 5},
    "constant, random places, dropout": {
        "train.schedule": "constant",
        "data.windows": "random",
        "model.dropout": 0.2,
    },
    "documents apart, in parts, dropout": {
        "documents": True,
        "data.split_by": "document",
        "train.accumulate": 4,
        "model.dropout": 0.2,
    },
    "average, z-loss": {"train.average": 0.9, "train.z_loss": 0.01},
    "average, adamw, bfloat16, in parts": {
        "train.average": 0.99,
        "train.optimizer": "adamw",
        "train.precision": "bfloat16",
        "train.accumulate": 2,
        "model.dropout": 0.1,
    },
    "smoothing over others, bfloat16, recomputed": {
        "train.label_smoothing": 0.1,
        "train.label_smoothing_over": "others",
        "train.precision": "bfloat16",
        "train.checkpointing": "on",
        "model.dropout": 0.1,
    },
    "float16, in parts": {"train.precision": "float16", "train.accumulate": 2},
    "bigram, random places": {
        "model.family": "bigram",
        "model.layers": None,
        "model.width": None,
        "data.windows": "random",
    },
    "experts": {
        "model.family": "moe",
        "model.experts": 4,
        "model.experts_used": 2,
        "train.accumulate": 2,
    },
    "pairs, muon, dropout, in parts": {**PAIRED, "model.dropout": 0.2, "train.accumulate": 2},
    "pairs, adamw, average, float16": {
        **PAIRED,
        "train.optimizer": "adamw",
        "train.average": 0.9,
        "train.precision": "float16",
        "train.label_smoothing": 0.1,
    },
}


class CrashError(Exception):
    """Stands for a crash."""


@pytest.fixture(autouse=True)
def _unmeasured(monkeypatch):
    """The machine's speed changes nothing in a run of so many steps, and takes long to measure."""
    monkeypatch.setattr(machine, "matmul_flops", lambda device, dtype: 1e11)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    # 27 to train on: the sixth step begins a new epoch
    lines = "".join(f"{source}\t{target}\n" for source, target in PAIRS[:30])
    path.write_text(f"source\ttarget\n{lines}", encoding="utf-8")
    return path


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(30):
        text = f"Number {number} follows {number - 1}.\n" * (1 + number % 4)
        (folder / f"{number:02}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_run_goes_on_to_the_same_bytes(mode, book, pairs, documents, tmp_path):
    given = {**COMMON, **MODES[mode]}
    source = documents if given.pop("documents", False) else book
    if given.get("model.family") == "seq2seq":
        source = pairs
    options = {name: value for name, value in given.items() if value is not None}
    whole, run = tmp_path / "whole", tmp_path / "run"
    cloche.train(source, out=whole, options=options)

    def crash(event):
        if isinstance(event, StepDone) and event.step == 5:
            raise CrashError

    with pytest.raises(CrashError):
        cloche.train(source, out=run, options=options, listeners=[crash])
    began = []
    cloche.train(out=run, resume=True, listeners=[began.append])
    assert next(event.step for event in began if isinstance(event, StepDone)) == 5
    assert weights_of(whole) == weights_of(run)
    one, other = (
        (folder / "latest" / "trainer" / "state.safetensors").read_bytes()
        for folder in (whole, run)
    )
    assert one == other
    assert losses(whole) == losses(run)


def losses(run):
    """Every loss of the run, by step and name."""
    return [
        (row["step"], name, row[name])
        for row in read_metrics(run)
        for name in ("train/loss", "eval/loss", "eval/train_loss")
        if name in row
    ]
