"""`cloche eval RUN --writing`: the tables, the JSON, and what cannot be asked together."""

import json
from dataclasses import dataclass, replace

import pytest

import cloche
from cloche.cli.eval_writing import WritingOptions, measure_writing, require_writing
from cloche.cli.main import main
from cloche.errors import SettingError
from cloche.evaluation.stories_truth import FalseStatement, StoriesTruth
from cloche.evaluation.trials import share_of

TEXT = "".join(
    f"The {size} {animal} saw {number} stones near the river.\n"
    for size in ("small", "old", "quick", "green", "tired", "brave")
    for animal in ("fox", "hen", "dog", "owl", "cat", "hare")
    for number in ("two", "ten", "five", "six")
)


@dataclass(frozen=True)
class Command(WritingOptions):
    run: str
    texts: tuple[str, ...] = ()
    stride: int | None = None
    checkpoint: str = "best"
    precision: str = "auto"
    json: bool = False


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> Command:
    folder = tmp_path_factory.mktemp("judged")
    book = folder / "book.txt"
    book.write_text(TEXT, encoding="utf-8")
    options = {"model.family": "ngram", "text.tokenizer": "characters", "train.sample_tokens": 4}
    run = cloche.train(book, out=folder / "run", options=options)
    return Command(
        run=str(run.folder),
        writing=True,
        writing_prompts=10,
        writing_samples=4,
        writing_tokens=40,
    )


def test_the_json_is_one_object_with_every_figure(command, capsys):
    assert measure_writing(replace(command, json=True)) == 0
    printed = capsys.readouterr()
    values = json.loads(printed.out)
    assert printed.out.count("\n") == 1
    assert "Looking for them" in printed.err
    assert values["run"] == command.run
    assert values["sizes"]["prefix"] + values["sizes"]["continuation"] <= 128
    exact = values["training_recitation"]["exact"]
    assert exact.keys() == {"value", "stderr", "low", "high", "count"}
    assert exact["count"] == 10
    assert values["membership"]["exposure_by_chance"] > 0
    assert values["free"]["samples"] == 4
    assert values["free"]["tokens"]["distinct_2"]["difference"]["count"] == 4
    assert values["stories"] is None


def test_the_tables_name_both_parts_and_tell_the_errors(command, capsys):
    assert measure_writing(command) == 0
    printed = capsys.readouterr().out
    for words in (
        "training part",
        "validation part",
        "recited exactly",
        "50% by chance",
        "longest span, characters",
        "in held-out text",
        "repeated 4-grams, characters",
        "compression, characters",
        "±",
    ):
        assert words in printed
    assert "1-grams, tokens" not in printed  # as the tokens are characters
    assert "stories" not in printed


def test_stories_are_told_with_examples_of_what_is_false(command, capsys, monkeypatch):
    found = StoriesTruth(
        language="en",
        stories=4,
        left_out=2,
        statements=share_of(2, 4),
        true=share_of(1, 2),
        prefers_truth=share_of(3, 4),
        false_statements=(FalseStatement(7, "Now the kite was with Tom", "Anna had the kite"),),
    )
    monkeypatch.setattr("cloche.evaluation.writing.measure_truth", lambda *_, **__: found)
    assert measure_writing(replace(command, writing_stories="en")) == 0
    printed = capsys.readouterr().out
    assert "4 ended by the model; 2 too long" in printed
    assert "false: Now the kite was with Tom (in truth: Anna had the kite)" in printed


def test_the_verb_judges_writing_where_it_is_asked_to(command, capsys):
    few = ["--writing-prompts", "2", "--writing-samples", "2", "--writing-tokens", "16"]
    assert main(["eval", command.run, "--writing", "--json", *few]) == 0
    assert json.loads(capsys.readouterr().out)["free"]["samples"] == 2
    assert main(["eval", command.run, "--writing", "--writing-prompts", "1"]) == 2
    assert "from 2 to 100,000" in capsys.readouterr().err
    assert main(["eval", command.run, "--writing-tokens", "16"]) == 2
    assert "--writing-tokens is for judging writing" in capsys.readouterr().err


def test_a_run_that_translates_is_refused_by_name(command, monkeypatch):
    monkeypatch.setattr("cloche.evaluation.translation.is_translator", lambda *_, **__: True)
    with pytest.raises(SettingError, match="translates pairs"):
        measure_writing(command)


def test_options_of_other_measurements_are_refused_by_name(command):
    with pytest.raises(SettingError, match="TEXT, --stride cannot be used with --writing"):
        measure_writing(replace(command, texts=("book.txt",), stride=3))


def test_options_of_writing_without_it_are_refused():
    with pytest.raises(SettingError, match="--writing-seed is for judging writing"):
        require_writing(Command(run="x", writing_seed=3))
    require_writing(Command(run="x"))
    require_writing(Command(run="x", writing=True, writing_seed=3))


def test_numbers_that_json_lacks_are_null(command, capsys, monkeypatch):
    monkeypatch.setattr(
        "cloche.evaluation.memorisation._nats_per_token",
        lambda _, excerpts: [float("inf")] * len(excerpts),
    )
    assert measure_writing(replace(command, json=True)) == 0
    values = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert values["membership"]["training_nats_per_token"]["value"] is None
    assert values["membership"]["separation"]["value"] == 0.5
