"""Runs of the counted family: what they leave, how they stop, what they refuse."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from small_runs import TEXT, notices, weights_of

import cloche
from cloche.cli.main import main
from cloche.errors import DataError, RunError, SettingError
from cloche.evaluation.measure import measure_validation
from cloche.model.ngram import NGram
from cloche.run import read_metrics
from cloche.training import counted_run
from cloche.training.events import CheckpointSaved, Evaluated, Notice, RunEnded, Sampled
from cloche.training.folder import read_options

CHARACTERS = {
    "model.family": "ngram",
    "text.tokenizer": "characters",
    "train.sample_tokens": 8,
}


def test_a_counted_run_leaves_everything_in_its_folder_and_writes(book, tmp_path):
    events = []
    run = cloche.train(book, out=tmp_path / "run", options=CHARACTERS, listeners=[events.append])
    assert (run.finished, run.step) == (True, 1)
    kinds = [type(event) for event in events if not isinstance(event, Notice)]
    assert kinds == [Evaluated, Sampled, CheckpointSaved, RunEnded]
    names = {path.name for path in run.folder.iterdir()}
    assert {"config.toml", "metrics.jsonl", "samples.jsonl", "loss.png", "tokens"} <= names
    assert {"best", "latest", "checkpoints"} <= names
    assert not any("counting" in name for name in names)
    status = json.loads((run.folder / "status.json").read_text())
    assert (status["state"], status["step"], status["steps"]) == ("finished", 1, 1)
    (row,) = read_metrics(run.folder)
    assert row["eval/loss"] == run.best_loss
    assert {"eval/train_loss", "eval/bits_per_byte"} <= row.keys()
    assert "Order 5: " in notices(events)
    card = (run.folder / "best" / "README.md").read_text()
    assert "counted over" in card
    assert f"{run.best_loss:.4f}" in card


def test_a_counted_model_is_loaded_and_measured_like_any_other(book, tmp_path, monkeypatch):
    monkeypatch.setattr("cloche.training.counted_model.SPAN_TOKENS", 50)  # and a rest
    run = cloche.train(book, out=tmp_path / "run", options=CHARACTERS)
    lm = cloche.load(run.folder)
    assert isinstance(lm.model, NGram)
    assert lm.generate("The ", max_new_tokens=300, seed=1) == lm.generate(
        "The ", max_new_tokens=300, seed=1
    )  # further than the context of 128 holds
    assert run.best_loss is not None
    measured = measure_validation(lm, run.folder)
    # the first token is counted there, too, after a newline
    first = -lm.logits(lm.tokenizer.encode("\n"))[-1, first_token(lm)].item()
    assert measured.nats - first == pytest.approx(run.best_loss * (measured.tokens - 1), rel=1e-5)


def first_token(lm):
    """The first one of the validation part."""
    return lm.tokenizer.encode(TEXT[int(0.9 * len(TEXT))])[0]


def test_bfloat16_rounds_no_table(book, tmp_path):
    run = cloche.train(book, out=tmp_path / "run", options=CHARACTERS)
    exact, half = (cloche.load(run.folder, precision=name) for name in ("float32", "bfloat16"))
    ids = exact.tokenizer.encode("The old hen")
    assert torch.equal(exact.logits(ids), half.logits(ids))
    stored = load_file(run.folder / "best" / "model.safetensors")
    assert stored["model.orders.3.keys"].dtype == torch.int64


def test_writing_past_the_context_looks_at_all_tokens_it_should(book, tmp_path):
    options = {**CHARACTERS, "model.order": 8, "model.context": 16}
    run = cloche.train(book, out=tmp_path / "run", options=options)
    lm = cloche.load(run.folder)
    text = "The old hen saw"
    greedy = lm.generate(text, max_new_tokens=60, greedy=True)
    for letter in greedy:
        logits = lm.logits(lm.tokenizer.encode(text)[-15:])[-1]
        assert lm.tokenizer.decode([int(logits.argmax())]) == letter
        text += letter


def test_the_same_text_gives_the_same_bytes_and_another_cap_fewer_ngrams(book, tmp_path):
    events = []
    for name, most in (("one", 300), ("two", 300), ("all", 100_000)):
        options = {**CHARACTERS, "model.max_ngrams": most}
        cloche.train(book, out=tmp_path / name, options=options, listeners=[events.append])
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "two")
    pruned, whole = (cloche.load(tmp_path / name).config.ngrams for name in ("one", "all"))
    assert sum(pruned[1:]) <= 300 < sum(whole[1:])
    assert "rarer ones went, to stay within model.max-ngrams" in notices(events)


def test_documents_are_ended_by_the_model_and_not_seen_by_one_another(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.txt").write_text("abc" * 5, encoding="utf-8")
    run = cloche.train(folder, out=tmp_path / "run", options={**CHARACTERS, "model.order": 4})
    lm = cloche.load(run.folder)
    eos = lm.bos
    assert eos is not None
    first = lm.logits([eos])[-1].exp()
    assert lm.tokenizer.decode([int(first.argmax())]) == "a"
    assert first.max() > 0.6  # a document always begins with a, elsewhere a is one in three
    ended = lm.logits([*lm.tokenizer.encode("ab"), eos])[-1]
    assert torch.equal(lm.logits([eos])[-1].argmax(), ended.argmax())


def test_a_finished_count_says_so_and_stays(book, tmp_path):
    run = cloche.train(book, out=tmp_path / "run", options=CHARACTERS)
    before, events = weights_of(run.folder), []
    again = cloche.train(out=run.folder, resume=True, listeners=[events.append])
    assert "already finished, at step 1" in notices(events)
    assert (again.finished, again.best_loss) == (True, run.best_loss)
    assert weights_of(run.folder) == before
    assert len(read_metrics(run.folder)) == 1
    assert json.loads((run.folder / "status.json").read_text())["state"] == "finished"
    with pytest.raises(RunError, match=r"model\.order: 5 -> 3"):
        cloche.train(out=run.folder, resume=True, options={"model.order": 3})


def test_a_stopped_count_leaves_a_clean_folder_and_begins_anew(book, tmp_path):
    def stop(event):
        if isinstance(event, Notice) and event.text.startswith("Order 3"):
            os.kill(os.getpid(), signal.SIGINT)

    stopped = cloche.train(book, out=tmp_path / "run", options=CHARACTERS, listeners=[stop])
    assert (stopped.finished, stopped.step, stopped.signal) == (False, 0, signal.SIGINT)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"
    assert not any("counting" in path.name for path in (tmp_path / "run").iterdir())
    (tmp_path / "run" / ".counting.4194305.tmp").mkdir()  # as a killed process leaves it
    assert cloche.train(out=tmp_path / "run", resume=True).finished
    assert not any("counting" in path.name for path in (tmp_path / "run").iterdir())
    whole = cloche.train(book, out=tmp_path / "whole", options=CHARACTERS)
    assert weights_of(tmp_path / "run") == weights_of(whole.folder)


def test_a_damaged_count_is_counted_again(book, tmp_path):
    run = cloche.train(book, out=tmp_path / "run", options=CHARACTERS)
    before = weights_of(run.folder)
    (run.folder / "latest" / "model.safetensors").write_bytes(b"damaged")
    events = []
    assert cloche.train(out=run.folder, resume=True, listeners=[events.append]).finished
    assert "is damaged" in notices(events)
    assert weights_of(run.folder) == before


def test_a_full_disk_is_told_with_what_counting_needs(book, tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(counted_run, "count_model", full)
    with pytest.raises(RunError, match="16 bytes a token"):
        cloche.train(book, out=tmp_path / "run", options=CHARACTERS)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.steps", 5),
        ("train.learning_rate", 0.1),
        ("train.device", "cpu"),
        ("data.stride", 4),
        ("data.windows", "random"),
        ("model.layers", 2),
        ("minutes", 1.0),
    ],
)
def test_what_means_nothing_for_counting_is_refused_before_anything_starts(
    book, tmp_path, name, value
):
    with pytest.raises(SettingError, match=name.replace("_", "-") + " has no meaning with"):
        cloche.train(book, out=tmp_path / "run", options={**CHARACTERS, name: value})
    assert not (tmp_path / "run").exists()


def test_a_validation_part_of_one_token_is_too_short(tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("abcabcabca", encoding="utf-8")
    with pytest.raises(DataError, match="validation part has 1 tokens"):
        cloche.train(short, out=tmp_path / "run", options=CHARACTERS)


def test_a_counted_model_serves_every_command(book, tmp_path, capsys):
    run = str(tmp_path / "run")
    order = ["--model.family", "ngram", "--model.order", "3", "--model.smoothing", "additive"]
    assert main(["train", str(book), *order, "--out", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished"] is True
    options = read_options(tmp_path / "run")
    assert options is not None
    assert (options.model.order, options.model.smoothing) == (3, "additive")
    assert main(["eval", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nats_per_token"] > 0
    assert main(["generate", run, "The ", "--max-new-tokens", "20", "--seed", "1"]) == 0
    assert len(capsys.readouterr().out) >= 20
