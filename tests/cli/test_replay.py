import json
from pathlib import Path

import pytest

from cloche.cli.main import main
from cloche.replays.published import load_published

DOCUMENT = Path(__file__).parents[2] / "docs" / "replays.md"


@pytest.fixture(autouse=True)
def _no_texts(tmp_path, monkeypatch):
    """Nothing is looked for on the machine, and nothing downloaded."""
    (tmp_path / "the-verdict.txt").write_text("another text", encoding="utf-8")
    monkeypatch.setenv("CLOCHE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_list_names_every_result_and_computes_none(capsys):
    assert main(["replay", "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [one.name for one in load_published()]


def test_the_list_as_json_has_the_published_values(capsys):
    assert main(["replay", "--list", "--json", "chinchilla"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["name"], row["published"]) == ("Chinchilla", "about 20 tokens a parameter")


def test_json_holds_published_and_measured_in_full(capsys):
    assert main(["replay", "softmax", "Embedding(6", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["name"] for row in rows] == ["Embedding(6, 3), seed 123", "softmax"]
    assert all(row["met"] is True for row in rows)
    assert rows[1]["published"][0] == 0.1925
    assert rows[1]["measured"][0] == pytest.approx(0.1924978, abs=1e-7)
    assert rows[1]["measured"][0] != 0.1925


def test_the_table_shows_both_values_and_the_notes(capsys):
    assert main(["replay", "softmax", "softmax of", "smoothing"]) == 0
    printed = capsys.readouterr().out
    assert "[0.1925, 0.1426" in printed
    assert "[0.1924978196" in printed
    assert "The true class has 1 - e" in printed
    assert "4 replayed: 4 met" in printed


def test_one_result_is_shown_in_full(capsys):
    assert main(["replay", "masked self-attention, seed 1337"]) == 0
    printed = capsys.readouterr().out
    assert "0.2391422539949" in printed
    assert "root of the head width" in printed


def test_a_result_that_cannot_be_computed_is_told_and_the_status_is_1(capsys):
    assert main(["replay", "the-verdict characters", "softmax"]) == 1
    printed = capsys.readouterr().out
    assert "not run: " in printed
    assert "is not the verdict expected" in printed
    assert "2 replayed: 1 not run, 1 met" in printed


def test_json_tells_a_missing_text_too(capsys):
    assert main(["replay", "the-verdict characters", "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["met"], row["measured"], row["status"]) == (False, None, "not run")
    assert row["cause"]


def test_an_unknown_name_suggests_the_nearest(capsys):
    assert main(["replay", "sofmax"]) == 2
    assert "Did you mean 'softmax'?" in capsys.readouterr().err


def test_markdown_beside_another_form_is_refused(capsys):
    assert main(["replay", "--markdown", "--json"]) == 2
    assert "--markdown" in capsys.readouterr().err


def test_the_document_holds_the_outcome_of_every_result():
    text = DOCUMENT.read_text(encoding="utf-8").partition("## All results")[2]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    for line, published in zip(lines, load_published(), strict=True):
        assert line.startswith(f"| {published.name} |")
        outcome = "wrong as published" if published.wrong else "met"
        assert line.endswith(f"| {outcome} | {published.source.kind} |")
