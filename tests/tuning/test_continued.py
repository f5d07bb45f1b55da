"""Going on with plain text: the share of old text, what is forgotten, kill and resume."""

import hashlib
from typing import Any

import pytest
import torch
from tiny_base import make_base

import cloche.tuning.continued as continued
from cloche.data.batches import Batch
from cloche.errors import DataError, RunError, SettingError
from cloche.run import load, read_metrics
from cloche.training import journal
from cloche.training.events import Event, Notice, RunStarted, StepDone
from cloche.training.machine import measure_machine
from cloche.tuning.continued import joined, tune_on_text

NEW = "the fox saw two stones near the river, and the hen saw ten leaves.\n" * 40
OLD = "THE OWL HAS A LAMP. THE DOG HAS A BOAT.\n" * 60
QUICK = {
    "train.precision": "float32",
    "train.steps": 6,
    "train.batch": 8,
    "train.eval_every": 3,
    "train.trackers": ("none",),
    "tune.context": 16,
}
REPLAY = {"replay.share": 0.25}
WHOLE = ("model.safetensors", "trainer/state.safetensors")
ADAPTER = ("adapter_model.safetensors", "trainer/state.safetensors")


class KilledError(Exception):
    pass


@pytest.fixture(autouse=True, scope="module")
def _machine_is_measured_once():
    machine = measure_machine("cpu", "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(continued, "measure_machine", lambda *_: machine)
        patch.setattr(journal, "loss_curve", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    make_base(folder / "base")
    (folder / "new.txt").write_text(NEW)
    (folder / "old.txt").write_text(OLD)
    return folder


def go_on(place, run, *, listeners=(), resume=False, replayed: Any = True, **options):
    replay = REPLAY | {"replay.sources": (str(place / "old.txt"),)} if replayed else {}
    return tune_on_text(
        place / "base",
        place / "new.txt",
        out=run,
        options=QUICK | replay | options,
        listeners=list(listeners),
        resume=resume,
    )


def told(events):
    return "\n".join(event.text for event in events if isinstance(event, Notice))


@pytest.fixture
def batches(monkeypatch) -> list[tuple[int, int, Batch]]:
    """Every (step, part, batch) that a training asks for."""
    seen = []
    real = continued.replayed_batches

    def noting(*given, **named):
        found = real(*given, **named)

        def noted(step: int, part: int) -> Batch:
            batch = found(step, part)
            seen.append((step, part, batch))
            return batch

        return noted

    monkeypatch.setattr(continued, "replayed_batches", noting)
    return seen


def windows(place, batches) -> list[str]:
    tokenizer = load(place / "base").tokenizer
    return [tokenizer.decode(row.tolist()) for *_, batch in batches for row in batch.inputs]


@pytest.mark.parametrize("share", [0.25, 0.1])
def test_the_share_of_old_windows_is_exact_and_even(place, tmp_path, batches, share):
    go_on(place, tmp_path / "run", **{"replay.share": share})
    old = [text.upper() == text for text in windows(place, batches)]
    assert len(old) == 48
    for count in range(1, 7):
        assert sum(old[: 8 * count]) == int(8 * count * share + 1e-9)


def test_batches_are_a_function_of_the_seed_and_not_of_the_parts(place, tmp_path, batches):
    found = {}
    variants = {"one": {}, "again": {}, "parts": {"train.accumulate": 2}, "seed": {"train.seed": 3}}
    for name, options in variants.items():
        batches.clear()
        go_on(place, tmp_path / name, **options)
        per_step: dict[int, list[str]] = {}
        for step, _, batch in batches:
            per_step.setdefault(step, []).extend(str(row.tolist()) for row in batch.inputs)
        found[name] = {step: sorted(rows) for step, rows in per_step.items()}
    assert found["one"] == found["again"] == found["parts"]
    assert found["one"] != found["seed"]


@pytest.mark.parametrize(
    ("names", "options"),
    [(WHOLE, {}), (ADAPTER, {"method.method": "lora", "lora.rank": 2})],
    ids=["full", "lora"],
)
def test_a_killed_run_goes_on_byte_for_byte(place, tmp_path, names, options):
    def killed(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 5:
            raise KilledError

    straight = go_on(place, tmp_path / "straight", **options).folder
    run = tmp_path / "killed"
    with pytest.raises(KilledError):
        go_on(place, run, listeners=[killed], **options)
    assert go_on(place, run, resume=True, **options).finished
    for name in names:
        one, other = (
            hashlib.sha256((folder / "latest" / name).read_bytes()).hexdigest()
            for folder in (straight, run)
        )
        assert one == other, name
    losses = [
        [row["eval/replay_loss"] for row in read_metrics(folder) if "eval/replay_loss" in row]
        for folder in (straight, run)
    ]
    assert losses[0] == losses[1]


def test_what_is_forgotten_is_reported_and_replay_keeps_it(place, tmp_path):
    base = tune_on_text(
        place / "base",
        place / "old.txt",
        out=tmp_path / "knows-old",
        options=QUICK | {"train.steps": 40, "train.learning_rate": 0.01, "train.eval_every": 40},
        listeners=[],
    ).folder
    lost = {}
    for share in (0.02, 0.5):
        events = []
        run = tune_on_text(
            base,
            place / "new.txt",
            out=tmp_path / str(share),
            options=QUICK
            | {"train.steps": 20, "train.learning_rate": 0.01, "train.eval_every": 20}
            | {"replay.share": share, "replay.sources": (str(place / "old.txt"),)},
            listeners=[events.append],
        ).folder
        lost[share] = read_metrics(run)[-1]["eval/replay_loss"]
        assert f"{share:.0%} of them of old text" in told(events)
    assert lost[0.5] < 0.8 * lost[0.02]


def test_without_old_text_it_is_said_that_some_may_be_forgotten(place, tmp_path):
    events = []
    run = go_on(place, tmp_path / "run", listeners=[events.append], replayed=False).folder
    assert "may be forgotten: --replay.sources" in told(events)
    assert "eval/replay_loss" not in read_metrics(run)[-1]
    started = next(event for event in events if isinstance(event, RunStarted))
    assert started.loss_unit == "nats a token"
    card = (run / "latest" / "README.md").read_text()
    assert "none" in card


def test_another_old_text_is_refused_on_resume(place, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(OLD)
    run = tmp_path / "run"
    options: dict[str, Any] = {"replay.sources": (str(other),)}
    go_on(place, run, **options)
    assert go_on(place, run, resume=True, **options).finished
    with pytest.raises(RunError, match=r"replay\.share"):
        go_on(place, run, resume=True, **options, **{"replay.share": 0.5})


def test_texts_too_short_for_a_window_are_all_named(place, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("the owl has a lamp " * 3)
    with pytest.raises(DataError, match=r"(?s)replayed text's training.*replayed .*--tune.context"):
        go_on(place, tmp_path / "run", **{"replay.sources": (str(short),), "tune.context": 200})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"replay.share": 1.0}, "replay.share must be between 0 and 1"),
        ({"tune.context": 1}, "tune.context must be at least 2"),
        ({"tune.epochs": 1.0}, "tune.epochs and train.steps both"),
        ({"text.vocab_size": 300}, "the model keeps its tokenizer"),
        ({"lora.rank": 2}, "give --lora"),
    ],
)
def test_options_that_cannot_be_used_are_told(place, tmp_path, options, said):
    with pytest.raises(SettingError, match=said):
        go_on(place, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_rows_that_are_joined_keep_positions_and_documents():
    ids = torch.arange(8).reshape(2, 4)
    plain = Batch(ids, ids)
    packed = Batch(ids, ids, torch.tensor([[0, 1, 0, 1]] * 2), torch.tensor([[0, 0, 1, 1]] * 2))
    both = joined([plain, packed])
    assert both.positions is not None
    assert both.documents is not None
    assert both.positions.tolist() == [[0, 1, 2, 3]] * 2 + [[0, 1, 0, 1]] * 2
    assert both.documents.tolist() == [[0, 0, 0, 0]] * 2 + [[0, 0, 1, 1]] * 2
    assert joined([plain, plain]).documents is None
    assert joined([plain]) is plain
