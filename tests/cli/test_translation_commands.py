"""generate, eval and chat with a model that translates, and what they refuse."""

import io
import json
import sys

import pytest

import cloche
from cloche.cli.main import main

OPTIONS = {
    "model.family": "seq2seq",
    "model.layers": 1,
    "model.width": 16,
    "text.tokenizer": "characters",
    "train.steps": 2,
    "train.batch": 8,
    "train.sample_tokens": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translations")
    table = folder / "pairs.tsv"
    lines = [f"{a}{b}\t{b}{a}\n" for a in "abcdef" for b in "abcdef"]
    table.write_text("".join(lines), encoding="utf-8")
    cloche.train(table, out=folder / "run", options=OPTIONS, listeners=[])
    return str(folder / "run")


def outcome(capsys, *arguments):
    status = main(list(arguments))
    return status, *capsys.readouterr()


def test_generate_prints_the_translation(run, capsys):
    status, printed, _ = outcome(capsys, "generate", run, "ab")
    assert status == 0
    status, as_json, _ = outcome(capsys, "generate", run, "ab", "--json", "--greedy")
    values = json.loads(as_json)
    assert printed == values["answers"][0]["text"] + "\n"
    assert (values["beams"], values["prompt"]) == (1, "ab")
    status, as_json, _ = outcome(capsys, "generate", run, "ab", "--json", "--beams", "3")
    answer = json.loads(as_json)["answers"][0]
    assert status == 0
    assert answer["score"] >= values["answers"][0]["score"] - 1e-6
    assert answer["finish_reason"] in ("stop", "length")


def test_standard_input_is_translated_line_by_line(run, capsys, monkeypatch):
    given = io.TextIOWrapper(io.BytesIO(b"ab\n\ncd\n"))
    monkeypatch.setattr(sys, "stdin", given)
    status, printed, _ = outcome(capsys, "generate", run, "-", "--json")
    assert status == 0
    assert [answer["prompt"] for answer in json.loads(printed)["answers"]] == ["ab", "cd"]


def test_eval_measures_the_held_out_pairs_and_files_of_pairs(run, capsys, tmp_path):
    status, printed, _ = outcome(capsys, "eval", run, "--json")
    values = json.loads(printed)
    assert status == 0
    assert values["pairs"] == 4
    assert values["exact"] == values["exact_pairs"] / 4
    assert values["nats_per_token"] > 0
    path = tmp_path / "more.csv"
    path.write_text("en,de\nab,ba\nabcdefabcdef,abc\n", encoding="utf-8")
    named = ("--pair-columns", "en", "de")
    status, printed, _ = outcome(capsys, "eval", run, str(path), *named)
    assert status == 0
    assert "1 pairs" in printed
    assert "left out: 1 pairs longer" in printed


def test_eval_reads_the_columns_that_the_run_was_trained_on(capsys, tmp_path):
    path = tmp_path / "pairs.csv"
    lines = [f"{n},{a}{b},{b}{a}\n" for n, a in enumerate("abcdef") for b in "abcdef"]
    path.write_text("id,en,de\n" + "".join(lines), encoding="utf-8")
    options = {**OPTIONS, "data.pair_columns": ("en", "de")}
    cloche.train(path, out=tmp_path / "run", options=options, listeners=[])
    status, printed, _ = outcome(capsys, "eval", str(tmp_path / "run"), str(path), "--json")
    assert status == 0
    assert json.loads(printed)["pairs"] == 36


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("generate", "RUN", "ab", "--top-k", "3", "--n", "2"), "--top-k has no meaning"),
        (("generate", "RUN", "ab", "--greedy", "--beams", "2"), "contradict"),
        (("generate", "RUN", "ab", "--beams", "0"), "at least 1"),
        (("generate", "RUN", "ab", "--beams", "2", "--beam-groups", "2"), "--beam-groups is for"),
        (("generate", "RUN", "ab", "--penalty-alpha", "0.5"), "--penalty-alpha is for"),
        (("generate", "RUN"), "give it a text"),
        (("generate", "RUN", "aZ"), "'Z'"),
        (("generate", "RUN", "ab" * 20), "the model reads 1 to 5"),
        (("eval", "RUN", "--stride", "4"), "--stride"),
        (("eval", "RUN", "--pair-columns", "a"), "two names"),
        (("chat", "RUN"), "none to chat with"),
    ],
)
def test_what_has_no_meaning_for_a_translator_is_refused(run, capsys, arguments, problem):
    arguments = [run if argument == "RUN" else argument for argument in arguments]
    status, printed, told = outcome(capsys, *arguments)
    assert (status, printed) == (2, "")
    assert problem in told


def test_columns_of_pairs_are_refused_where_text_is_continued(writing_run, capsys):
    status, _, told = outcome(capsys, "eval", str(writing_run), "--pair-columns", "a", "b")
    assert status == 2
    assert "for models that translate" in told


def test_sentences_of_the_stories_are_shown_as_pairs(capsys):
    status, printed, told = outcome(
        capsys, "data", "show", "stories", "--format", "sentences", "--bytes", "5KB"
    )
    rows = [json.loads(line) for line in printed.splitlines()]
    assert status == 0
    assert all(row["source"].isascii() and not row["target"].isascii() for row in rows)
    assert "left out" in told
