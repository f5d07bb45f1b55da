"""A file of prompts is answered in order, goes on where it was interrupted, and loses nothing."""

import gzip
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from cloche.cli.generate_out import Earlier, OutFile
from cloche.cli.main import main
from cloche.errors import RequestError, RunError
from cloche.generation.engine import Engine


@pytest.fixture
def batch(random_run, tmp_path, capsys):
    """Answers tmp_path/in.jsonl with the random run; returns status, output and messages."""

    def answer(*options: str, out: str = "out.jsonl", seed: str | None = "5"):
        given = ["--input", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / out)]
        seeded = [] if seed is None else ["--seed", seed]
        status = main(["generate", str(random_run), *given, *seeded, *options])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return answer


def write_rows(folder: Path, rows: list, *, name: str = "in.jsonl") -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def many_rows(tmp_path) -> list[dict]:
    rows = [{"prompt": "abc"[: 1 + i % 3], "id": i, "max_tokens": 2 + 5 * i % 7} for i in range(23)]
    write_rows(tmp_path, rows)
    return rows


def test_answers_stand_in_the_order_of_the_rows_with_all_that_made_them(batch, many_rows, tmp_path):
    status, printed, told = batch("--rows", "3")
    lines = lines_of(tmp_path / "out.jsonl")
    assert (status, printed) == (0, "")
    assert "23 rows in" in told
    assert [line["id"] for line in lines] == list(range(23))
    assert [line["line"] for line in lines] == list(range(1, 24))
    assert [line["prompt"] for line in lines] == [row["prompt"] for row in many_rows]
    assert all(
        line["answers"][0]["tokens"] <= row["max_tokens"]
        for line, row in zip(lines, many_rows, strict=True)
    )
    assert {line["batch_seed"] for line in lines} == {5}
    assert len({line["seed"] for line in lines}) == 23
    assert not list(tmp_path.glob(".*"))  # no lock is left


def test_an_answer_is_that_of_the_same_prompt_and_seed_alone(
    batch, many_rows, random_run, tmp_path, capsys
):
    batch()
    line = lines_of(tmp_path / "out.jsonl")[11]
    options = ["--seed", str(line["seed"]), "--max-new-tokens", str(many_rows[11]["max_tokens"])]
    assert main(["generate", str(random_run), line["prompt"], *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"] == line["answers"]


def test_json_is_one_object_that_sums_up(batch, many_rows):
    status, printed, _ = batch("--json")
    values = json.loads(printed)
    assert status == 0
    assert (values["rows"], values["errors"], values["seed"]) == (23, 0, 5)
    assert values["tokens"] > 0


def test_rows_may_come_from_standard_input(batch, many_rows, random_run, tmp_path, monkeypatch):
    batch(out="a.jsonl")
    data = (tmp_path / "in.jsonl").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    out = tmp_path / "b.jsonl"
    assert (
        main(["generate", str(random_run), "--input", "-", "--out", str(out), "--seed", "5"]) == 0
    )
    assert out.read_bytes() == (tmp_path / "a.jsonl").read_bytes()


def test_fields_of_rows_fill_the_template_behind_system_text_and_examples(batch, tmp_path):
    write_rows(tmp_path, [{"x": "a", "n": 2, "max_tokens": 1}, {"x": "b", "y": "c"}])
    shots = tmp_path / "shots.json"
    shots.write_text('[{"x": "d", "output": "e"}]', encoding="utf-8")
    status, _, _ = batch(
        *("--template", "{{ x }}{{ y }}\n", "--set", "y=o", "--system", "h"),
        *("--few-shot", str(shots), "--window"),
    )
    lines = lines_of(tmp_path / "out.jsonl")
    assert status == 0
    assert [line["prompt"] for line in lines] == ["h\n\ndo e\n\nao", "h\n\ndo e\n\nbc"]
    assert [len(line["answers"]) for line in lines] == [2, 1]


# --- going on


@pytest.mark.parametrize("kept_bytes", [0, 1, 900, 2500, -1])
def test_a_batch_that_was_interrupted_anywhere_ends_as_one_that_was_not(
    batch, many_rows, tmp_path, kept_bytes
):
    batch(out="whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    (tmp_path / "out.jsonl").write_bytes(whole[:kept_bytes])
    status, _, told = batch("--resume", "--rows", "2")
    assert status == 0
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert ("never finished is cut off" in told) == (kept_bytes != 0)


def test_a_seed_that_was_drawn_is_taken_up_again(batch, many_rows, tmp_path):
    batch(seed=None)
    whole = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").write_bytes(whole[:1000])
    assert batch("--resume", seed=None)[0] == 0
    assert (tmp_path / "out.jsonl").read_bytes() == whole


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(batch, many_rows, tmp_path, monkeypatch):
    step, steps = Engine.step, []

    def interrupted(self):
        steps.append(1)
        if len(steps) == 20:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Engine, "step", interrupted)
    status, printed, told = batch("--rows", "2")
    done = len(lines_of(tmp_path / "out.jsonl"))
    assert (status, printed) == (130, "")
    assert 0 < done < 23
    assert f"interrupted: {done} of 23 rows" in told
    assert "--resume goes on" in told
    monkeypatch.undo()
    assert batch("--resume")[0] == 0
    batch(out="whole.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_resuming_what_has_not_begun_begins_and_what_is_done_stays(batch, many_rows, tmp_path):
    assert batch("--resume")[0] == 0
    whole = (tmp_path / "out.jsonl").read_bytes()
    status, _, told = batch("--resume")
    assert status == 0
    assert "23 rows already; 0 are left" in told
    assert (tmp_path / "out.jsonl").read_bytes() == whole


def test_an_output_that_exists_is_refused_with_the_two_ways_on(batch, many_rows, tmp_path):
    (tmp_path / "out.jsonl").write_text("mine\n", encoding="utf-8")
    status, _, told = batch()
    assert status == 2
    assert "--resume" in told
    assert "another file with --out" in told
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == "mine\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--temperature", "0.3"), "line 1 does not belong to line 1 of the input"),
        (("--template", "{{ prompt }}b"), "does not belong"),
        (("--seed", "6"), "was begun with the seed 5"),
    ],
)
def test_other_settings_do_not_go_on_with_it(batch, many_rows, tmp_path, options, said):
    batch()
    whole = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").write_bytes(whole[:1000])
    status, _, told = batch("--resume", *options, seed=None)
    assert status == 2
    assert said in told
    assert (tmp_path / "out.jsonl").read_bytes() == whole[:1000]


def test_another_model_does_not_go_on_with_it(batch, many_rows, random_run, tmp_path):
    batch()
    manifest = random_run / "checkpoints" / "step-000001" / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8") + " ", encoding="utf-8")
    status, _, told = batch("--resume")
    assert status == 2
    assert "begun by another model" in told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [*rows[:2], {**rows[2], "prompt": "p"}, *rows[3:]], "line 3 does not belong"),
        (lambda rows: rows[:9], "more lines than the input has rows"),
        (lambda rows: ["", *rows], "line 1 does not belong to line 2"),
    ],
)
def test_another_input_does_not_go_on_with_it(batch, many_rows, tmp_path, change, said):
    batch()
    write_rows(tmp_path, change(many_rows))
    status, _, told = batch("--resume")
    assert status == 2
    assert said in told


@pytest.mark.parametrize(
    ("text", "said"),
    [("mine\n", "line 1 is no JSON"), ("[1]\n", "no answer"), ('{"a": 1}\n', "was not written by")],
)
def test_a_file_that_is_something_else_stays_as_it_is(batch, many_rows, tmp_path, text, said):
    (tmp_path / "out.jsonl").write_text(text, encoding="utf-8")
    status, _, told = batch("--resume")
    assert status == 2
    assert said in told
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == text


def test_two_commands_do_not_write_to_one_file(batch, many_rows, tmp_path):
    with FileLock(tmp_path / ".out.jsonl.lock"):
        status, _, told = batch()
    assert status == 2
    assert "another command is writing to" in told


# --- bad rows


BAD = [{"prompt": "ab"}, '{"prompt": ', {"prompt": "a" * 17}, {"prompt": "Z"}, {"prompt": "ba"}]


def test_bad_rows_are_all_told_before_anything_is_written(batch, tmp_path):
    write_rows(tmp_path, BAD)
    status, _, told = batch()
    assert status == 2
    assert "1 of 5 rows" in told
    assert "line 2: it is no JSON" in told
    write_rows(tmp_path, [row for row in BAD if row != BAD[1]])
    status, _, told = batch()  # these two only the model can tell
    assert status == 2
    assert "2 of 4 rows" in told
    assert "line 2: the prompt has 17 tokens, but the context holds 16" in told
    assert "line 3: the character 'Z'" in told
    assert not (tmp_path / "out.jsonl").exists()


def test_bad_rows_are_told_before_a_model_is_opened(tmp_path, capsys):
    write_rows(tmp_path, BAD)
    arguments = ["--input", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    assert main(["generate", str(tmp_path / "none"), *arguments]) == 2
    assert "no JSON" in capsys.readouterr().err


def test_keeping_going_answers_the_others_and_ends_with_1(batch, tmp_path):
    write_rows(tmp_path, BAD)
    status, _, told = batch("--keep-going")
    lines = lines_of(tmp_path / "out.jsonl")
    assert status == 1
    assert "3 rows have an error for an answer" in told
    assert ["error" in line for line in lines] == [False, True, True, True, False]
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
    assert "answers" in lines[4]
    (tmp_path / "out.jsonl").write_text(
        "".join(f"{json.dumps(line)}\n" for line in lines[:3]), encoding="utf-8"
    )
    assert batch("--keep-going", "--resume")[0] == 1
    assert lines_of(tmp_path / "out.jsonl") == lines


def test_an_answer_that_fails_does_not_fail_the_others(batch, many_rows, tmp_path, monkeypatch):
    step = Engine.step

    def failing(self):
        events = step(self)
        return [
            replace(event, error=RequestError("no number"), finish_reason=None)
            if event.request_id == 4 and event.finish_reason is not None
            else event
            for event in events
        ]

    monkeypatch.setattr(Engine, "step", failing)
    status, _, _ = batch()
    lines = lines_of(tmp_path / "out.jsonl")
    assert status == 1
    assert [line["line"] for line in lines if "error" in line] == [5]
    assert lines[4]["answers"][0]["error"] == "no number"
    assert len(lines) == 23


def test_a_disk_that_is_full_leaves_whole_lines(tmp_path, monkeypatch):
    path = tmp_path / "out.jsonl"
    out = OutFile(path, earlier=Earlier())
    out.write({"line": 1})
    file = out._file

    class Full:
        """A file that takes half of what it is given."""

        def write(self, data: bytes) -> int:
            return file.write(data[: len(data) // 2])

        def truncate(self, size: int) -> None:
            file.truncate(size)

    monkeypatch.setattr(out, "_file", Full())
    with pytest.raises(RunError, match=r"No space left.*go on with --resume"):
        out.write({"line": 2})
    monkeypatch.undo()
    out.write({"line": 3})
    out.close()
    assert lines_of(path) == [{"line": 1}, {"line": 3}]


def test_an_id_of_any_characters_comes_back(batch, tmp_path):
    write_rows(tmp_path, [{"prompt": "a", "id": "\ud800\u2028\n龙"}])
    assert batch("--max-new-tokens", "1")[0] == 0
    assert lines_of(tmp_path / "out.jsonl")[0]["id"] == "\ud800\u2028\n龙"


def test_a_packed_input_is_unpacked(batch, tmp_path):
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a"}\n' * 3))
    (tmp_path / "in.jsonl").write_bytes(b"")
    status, _, _ = batch("--max-new-tokens", "1", "--input", str(tmp_path / "in.jsonl.gz"))
    assert status == 0
    assert len(lines_of(tmp_path / "out.jsonl")) == 3


def test_an_empty_input_is_refused(batch, tmp_path):
    write_rows(tmp_path, ["", "  "])
    status, _, told = batch()
    assert status == 2
    assert "holds no rows" in told


def test_input_and_output_are_two_files(batch, many_rows, tmp_path):
    status, _, told = batch("--resume", out="in.jsonl")
    assert status == 2
    assert "are both" in told


@pytest.mark.parametrize("out", ["none/out.jsonl", "folder"])
def test_an_output_that_can_be_no_file_is_refused_before_all_else(batch, many_rows, tmp_path, out):
    (tmp_path / "folder").mkdir()
    status, _, told = batch(out=out)
    assert status == 2
    assert ("there is no folder" if "/" in out else "is no file") in told


# --- memory and windows


def test_a_prompt_too_long_is_windowed_only_when_told_and_says_so(batch, tmp_path):
    write_rows(tmp_path, [{"prompt": "abcdefgh" * 3, "max_tokens": 2}])
    status, _, told = batch("--window")
    line = lines_of(tmp_path / "out.jsonl")[0]
    assert status == 0
    assert line["cut_tokens"] == 24 - 14
    assert line["prompt"] == "abcdefgh" * 3
    assert "1 prompts were longer than the context of 16 tokens" in told


def test_what_needs_the_tokenizer_holds_for_every_row_and_for_going_on(batch, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"const": 1}', encoding="utf-8")
    write_rows(tmp_path, [{"prompt": "ab"}, {"prompt": "b", "logprobs": 2}] * 2)
    status, _, _ = batch("--regex", "[ab]{3}", out="a.jsonl")
    answers = [line["answers"][0] for line in lines_of(tmp_path / "a.jsonl")]
    assert status == 0
    assert all(set(answer["text"]) <= {"a", "b"} for answer in answers)
    assert [len(answer["text"]) for answer in answers] == [3] * 4
    assert ["logprobs" in answer for answer in answers] == [False, True, False, True]
    assert len(answers[1]["top_logprobs"]) == len(answers[1]["token_ids"])
    assert all(value <= 0 for value in answers[1]["filtered_logprobs"])
    status, _, told = batch("--json-schema", str(schema))
    assert status == 2  # these characters hold no digit
    assert not (tmp_path / "out.jsonl").exists()
    schema.write_text('{"const": "ab"}', encoding="utf-8")
    status, _, told = batch("--regex", "[ab]{4}", "--resume", out="a.jsonl")
    assert status == 2
    assert "does not belong" in told
