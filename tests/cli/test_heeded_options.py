"""An option that would change nothing is refused, and so is what would not fit into memory."""

import json

import pytest

from cloche.cli import generate_running
from cloche.cli.main import main


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--greedy", "--top-k", "5"], "--top-k 5 has no meaning without chance"),
        (["--temperature", "0", "--top-p", "0.5"], "--top-p 0.5 has no meaning without chance"),
        (["--greedy", "--min-p", "0.3"], "--min-p 0.3 has no meaning without chance"),
        (["--logprobs", "2"], "add --json"),
    ],
)
def test_options_without_meaning_are_refused(random_run, capsys, options, said):
    assert main(["generate", str(random_run), "ab", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["regex", "json_schema", "beams", "system", "min-new-tokens"])
def test_a_row_cannot_set_what_is_an_option_for_all(random_run, tmp_path, capsys, name):
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "ab", name: "b"}) + "\n")
    given = ["--input", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    assert main(["generate", str(random_run), *given]) == 2
    assert f"{name} cannot be set by a row: give it as an option" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_that_memory_does_not_hold_are_refused_with_what_it_does(
    random_run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(generate_running, "available_memory", lambda: 100_000)
    (tmp_path / "in.jsonl").write_text('{"prompt": "ab"}\n')
    given = ["--input", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    assert main(["generate", str(random_run), *given, "--rows", "10000000"]) == 2
    told = capsys.readouterr().err
    assert "--rows 10000000" in told
    assert "at most" in told
    assert not (tmp_path / "out.jsonl").exists()


def test_a_search_that_ends_with_the_context_says_so(random_run, capsys):
    assert main(["generate", str(random_run), "ab", "--beams", "2", "--max-new-tokens", "40"]) == 0
    assert "a search ends where the context is full: it holds 16" in capsys.readouterr().err
    assert main(["generate", str(random_run), "ab", "--beams", "2", "--max-new-tokens", "4"]) == 0
    assert "context is full" not in capsys.readouterr().err


def test_a_schema_is_named_by_its_file(random_run, tmp_path, capsys):
    (tmp_path / "s.json").write_text('{"type": ')
    given = ["--json-schema", str(tmp_path / "s.json")]
    assert main(["generate", str(random_run), "ab", *given]) == 2
    assert f"--json-schema {tmp_path / 's.json'}: the JSON schema" in capsys.readouterr().err
