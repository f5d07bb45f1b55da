"""Trainings on pairs: from a table to a model that translates, stopped and taken up again."""

import json

import numpy as np
import pytest
import torch
from small_runs import notices, weights_of

import cloche
from cloche.config import with_values
from cloche.data.pair_batches import PairOrder, PairTokens
from cloche.errors import CheckpointError, DataError, RunError, SettingError
from cloche.evaluation.cross_entropy import Scoring
from cloche.evaluation.translation import is_translator, load_translator, measure_held_out
from cloche.model.build import build_network
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import read_metrics
from cloche.training.events import Sampled, StepDone
from cloche.training.optim import build_optimizers
from cloche.training.options import RunOptions, TrainOptions
from cloche.training.pair_objective import TargetTokens

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
THINGS = {"cat": "chat", "dog": "chien", "bird": "oiseau", "fish": "poisson", "hen": "poule"}
FRENCH = ("un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf")
PAIRS = [
    (f"{one} {thing} and {two}", f"{un} {chose} et {deux}")
    for one, un in zip(NUMBERS, FRENCH, strict=True)
    for two, deux in zip(NUMBERS, FRENCH, strict=True)
    for thing, chose in THINGS.items()
]
SMALL = {
    "model.family": "seq2seq",
    "model.layers": 1,
    "model.width": 32,
    "text.tokenizer": "characters",
    "train.precision": "float32",  # auto measures, and may choose otherwise on a busy machine
    "train.steps": 8,
    "train.eval_every": 4,
    "train.batch": 8,
    "train.sample_tokens": 8,
}


class CrashError(Exception):
    """Stands for a crash."""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "numbers.tsv"
    path.write_text("".join(f"{s}\t{t}\n" for s, t in PAIRS), encoding="utf-8")
    return path


def test_a_crashed_run_resumes_to_the_same_bytes(table, tmp_path):
    options = {**SMALL, "model.dropout": 0.2, "train.save_every": 2, "train.accumulate": 2}
    cloche.train(table, out=tmp_path / "whole", options=options)

    def crash(event):
        if isinstance(event, StepDone) and event.step == 5:
            raise CrashError

    with pytest.raises(CrashError):
        cloche.train(table, out=tmp_path / "run", options=options, listeners=[crash])
    assert cloche.train(out=tmp_path / "run", resume=True).finished
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "run")
    rows = [read_metrics(folder) for folder in (tmp_path / "whole", tmp_path / "run")]
    losses, again = [[r["eval/loss"] for r in found if "eval/loss" in r] for found in rows]
    assert losses == again
    assert cloche.train(out=tmp_path / "run", resume=True).step == 8


def test_a_run_evaluates_samples_and_writes_what_can_be_opened(table, tmp_path):
    events = []
    run = cloche.train(table, out=tmp_path / "run", options=SMALL, listeners=[events.append])
    assert run.finished
    evaluation = next(row for row in read_metrics(run.folder) if "eval/exact" in row)
    assert {"eval/loss", "eval/train_loss", "eval/bits_per_byte"} <= evaluation.keys()
    assert 0.0 <= evaluation["eval/exact"] <= 1.0
    sample = next(event for event in events if isinstance(event, Sampled))
    expected = dict(PAIRS)[sample.prompt]
    assert sample.text.endswith(f"\nexpected: {expected}")
    assert "364 to train on and 41 to validate on" in notices(events)
    config = (run.folder / "config.toml").read_text(encoding="utf-8")
    assert 'norm_order = "pre"' in config
    assert "encoder_layers = 1" in config
    card = (run.folder / "best" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: translation" in card
    assert is_translator(run.folder)
    translator = load_translator(run.folder)
    greedy, beams = (translator.translate("two cats"[:7], beams=n) for n in (1, 3))
    assert isinstance(greedy, str)
    assert isinstance(beams, str)
    found = measure_held_out(translator, run.folder)
    assert found.pairs == 41
    assert found.nats_per_token == pytest.approx(evaluation_at_end(run)["eval/loss"], rel=0.1)
    with pytest.raises(CheckpointError, match="continues no text"):
        cloche.load(run.folder / "best")


def evaluation_at_end(run):
    return [row for row in read_metrics(run.folder) if "eval/loss" in row][-1]


def test_a_resumed_run_refuses_other_pairs(table, tmp_path):
    cloche.train(table, out=tmp_path / "run", options=SMALL)
    table.write_text("a\tb\nc\td\n", encoding="utf-8")
    with pytest.raises(RunError, match="not those"):
        cloche.train(out=tmp_path / "run", resume=True)
    table.unlink()
    events = []
    assert cloche.train(out=tmp_path / "run", resume=True, listeners=[events.append]).finished
    assert "Going on with the tokens made earlier" in notices(events)


def test_minutes_are_kept_and_everything_open_is_chosen(table, tmp_path):
    options = {"model.family": "seq2seq", "train.sample_tokens": 0}
    run = cloche.train(table, out=tmp_path / "run", minutes=0.2, options=options)
    assert run.finished
    assert json.loads((run.folder / "status.json").read_text())["state"] == "finished"


def test_long_pairs_are_told_before_anything_is_trained(table, tmp_path):
    options = {**SMALL, "model.context": 17}
    with pytest.raises(DataError, match="pairs of the train part do not fit a context of 17"):
        cloche.train(table, out=tmp_path / "run", options=options)
    events = []
    skipping = {**options, "data.long_pairs": "skip"}
    cloche.train(table, out=tmp_path / "other", options=skipping, listeners=[events.append])
    assert "Left out: " in notices(events)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"data.stride": 3}, "data.stride has no meaning with model.family seq2seq"),
        ({"data.windows": "random"}, "data.windows has no meaning"),
        ({"data.clean": "nfc"}, "data.clean has no meaning"),
        ({"text.column": "x"}, "text.column has no meaning"),
        ({"model.family": "qwen3", "data.long_pairs": "skip"}, "data.long-pairs has no meaning"),
    ],
)
def test_options_without_a_meaning_are_refused(options, problem):
    values = {"model": {"family": "seq2seq"}}
    for name, value in options.items():
        section, key = name.split(".")
        values.setdefault(section, {})[key] = value
    found = with_values(RunOptions(), values, source="test").problems()
    assert any(problem in sentence for sentence in found)


def test_tokens_of_running_text_are_refused(table, tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("Some text. " * 200, encoding="utf-8")
    options = {k: v for k, v in SMALL.items() if k != "model.family"}
    run = cloche.train(book, out=tmp_path / "run", options={**options, "model.context": 8})
    with pytest.raises(SettingError, match="tokens of running text"):
        cloche.train(run.folder / "tokens", out=tmp_path / "other", options=SMALL)


def test_tokens_of_another_folder_are_never_removed_through_a_link(table, tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("Some text. " * 200, encoding="utf-8")
    options = {k: v for k, v in SMALL.items() if k != "model.family"}
    cloche.train(book, out=tmp_path / "other", options={**options, "model.context": 8})
    before = sorted((tmp_path / "other" / "tokens").rglob("*"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tokens").symlink_to(tmp_path / "other" / "tokens")
    assert cloche.train(table, out=tmp_path / "run", options=SMALL).finished
    assert sorted((tmp_path / "other" / "tokens").rglob("*")) == before


def small_training(*, label_smoothing=0.0):
    config = complete(
        ModelOptions(family="seq2seq", heads=2), vocab_size=12, layers=1, width=16, context=9
    )
    torch.manual_seed(0)
    return build_network(config), TargetTokens(Scoring(label_smoothing))


class DigitPairs:
    """Pairs of a few digits, each closed by 11."""

    separated = True

    def __init__(self):
        documents = [[1, 2, 3, 11], [3, 2, 1, 11], [4, 11], [4, 11], [5, 6, 11], [6, 5, 11]]
        self.tokens = np.concatenate([np.array(document) for document in documents])
        self.ends = np.cumsum([len(document) for document in documents])


def test_the_loss_is_the_sum_over_real_targets_whatever_the_batch():
    model, objective = small_training()
    pairs = PairTokens(DigitPairs(), context=9, bos=11)
    together = objective(model, pairs.batch([0, 1, 2])).terms["loss"]
    alone = [objective(model, pairs.batch([n])).terms["loss"] for n in range(3)]
    assert together.count == sum(term.count for term in alone) == 4 + 2 + 3
    total = torch.stack([term.sum for term in alone]).sum()
    torch.testing.assert_close(together.sum, total, rtol=1e-4, atol=1e-4)


def test_smoothed_targets_cost_more_and_are_those_of_pytorch():
    model, smoothed = small_training(label_smoothing=0.1)
    batch = PairTokens(DigitPairs(), context=9, bos=11).batch([0, 2])
    logits = model(batch.inputs, sources=batch.sources, source_lengths=batch.source_lengths)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum", ignore_index=-100)(
        logits.flatten(0, 1), batch.targets.flatten()
    )
    torch.testing.assert_close(smoothed(model, batch).terms["loss"].sum, expected)


def test_one_batch_of_pairs_is_learned_by_heart():
    model, objective = small_training()
    batch = PairOrder(PairTokens(DigitPairs(), context=9, bos=11), batch=3, seed=0).batch(0, size=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss = torch.tensor(9.0)
    for _ in range(80):
        optimizer.zero_grad()
        term = objective(model, batch).terms["loss"]
        loss = term.sum / term.count
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05


def test_the_matrices_of_both_sides_are_moved_by_muon_and_nothing_is_left_out():
    model, _ = small_training()
    optimizers = build_optimizers(model, TrainOptions(optimizer="muon"), learning_rate=0.02)
    moved = {
        part: {optimizers.names[p] for group in optimizer.param_groups for p in group["params"]}
        for part, optimizer in optimizers.parts.items()
    }
    assert {name.split(".")[0] for name in moved["muon"]} == {"encoder", "decoder"}
    assert "decoder.layers.0.cross_attn.k_proj.weight" in moved["muon"]
    assert "embed_tokens.weight" in moved["adamw"]
    assert moved["muon"] | moved["adamw"] == {name for name, _ in model.named_parameters()}
