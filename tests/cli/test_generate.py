"""`cloche generate` shows what the model writes, and says plainly what it cannot do."""

import io
import json
import signal
import subprocess
import sys

import pytest

from cloche.cli import generate
from cloche.cli.main import main
from cloche.generation.request import TokenEvent

STORY = "once up."


def json_of(capsys, *arguments: str) -> dict:
    assert main(["generate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_text_follows_the_prompt_and_the_rest_goes_to_stderr(writing_run, capsys):
    assert main(["generate", str(writing_run), "on", "--greedy", "--seed", "5"]) == 0
    shown = capsys.readouterr()
    assert shown.out == STORY + "\n"
    assert "7 tokens" in shown.err  # six characters and the end-of-text token
    assert "seed 5, step-000001" in shown.err


def test_without_a_prompt_the_text_starts_from_its_beginning(writing_run, capsys):
    assert main(["generate", str(writing_run), "--greedy"]) == 0
    assert capsys.readouterr().out == STORY + "\n"


def test_json_is_one_object_and_nothing_else(writing_run, capsys):
    values = json_of(capsys, str(writing_run), "once", "--greedy", "--seed", "3")
    assert values.pop("tokens_per_second") > 0
    assert values == {
        "run": str(writing_run),
        "checkpoint": str(writing_run / "checkpoints" / "step-000001"),
        "prompt": "once",
        "seed": 3,
        "answers": [{"text": " up.", "tokens": 5, "finish_reason": "stop"}],
    }


def test_the_text_appears_as_it_is_written(writing_run, monkeypatch):
    shown = []

    class Screen(io.StringIO):
        def flush(self):
            shown.append(self.getvalue())

    monkeypatch.setattr(sys, "stdout", Screen())
    assert main(["generate", str(writing_run), "once", "--greedy"]) == 0
    assert shown == ["once ", "once u", "once up", "once up.", "once up.\n"]


def test_the_same_seed_gives_the_same_text_and_the_drawn_one_is_told(random_run, capsys):
    arguments = [str(random_run), "abc", "--max-new-tokens", "30"]
    drawn = json_of(capsys, *arguments)
    again = json_of(capsys, *arguments, "--seed", str(drawn["seed"]))
    other = json_of(capsys, *arguments)
    assert again["answers"] == drawn["answers"]
    assert other["seed"] != drawn["seed"]


def test_several_answers_are_shown_one_after_the_other(random_run, capsys):
    arguments = [str(random_run), "ab", "--n", "3", "--seed", "1", "--max-new-tokens", "12"]
    answers = json_of(capsys, *arguments)["answers"]
    assert main(["generate", *arguments]) == 0
    expected = "".join(
        f"--- {number} of 3 ---\nab{answer['text']}\n".replace("\n\n", "\n")
        for number, answer in enumerate(answers, start=1)
    )
    assert capsys.readouterr().out.replace("\n\n", "\n") == expected


def test_events_of_answers_written_at_once_come_in_the_order_of_the_answers():
    def event(choice: int, text: str, *, last: bool = False) -> TokenEvent:
        return TokenEvent(0, choice, 1, text, finish_reason="stop" if last else None)

    mixed = [
        event(0, "a"),
        event(1, "x"),
        event(1, "y", last=True),
        event(0, "b", last=True),
        event(2, "m"),
        event(2, "n", last=True),
    ]
    ordered = list(generate.in_order(iter(mixed), count=3))
    assert "".join(e.text for e in ordered) == "abxymn"
    assert next(generate.in_order(iter(mixed), count=3)).text == "a"


def test_a_stop_text_ends_the_answer_and_is_not_shown(writing_run, capsys):
    values = json_of(capsys, str(writing_run), "on", "--greedy", "--stop", "zz", "--stop", " up")
    assert values["answers"] == [{"text": "ce", "tokens": 5, "finish_reason": "stop"}]


def test_the_prompt_can_come_from_standard_input(writing_run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"?\non")))
    values = json_of(capsys, str(writing_run), "-", "--greedy")
    assert values["prompt"] == "?\non"
    assert values["answers"][0]["text"] == "ce up."


def test_the_prompt_is_dimmed_on_a_terminal_only_where_colours_are_welcome(
    writing_run, capsys, monkeypatch
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main(["generate", str(writing_run), "on", "--greedy"])
    assert capsys.readouterr().out == "\x1b[2mon\x1b[0mce up.\n"
    monkeypatch.setenv("NO_COLOR", "1")
    main(["generate", str(writing_run), "on", "--greedy"])
    assert capsys.readouterr().out == "once up.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["on", "--greedy", "--temperature", "0.5"], "--greedy takes no chances"),
        (["on", "--greedy", "--n", "2"], "leave out --n"),
        (["on", "--temperature", "0", "--n", "2"], "leave out --n"),
        (["on", "--top-k", "0"], "top_k must be at least 1, got 0"),
        (["on", "--top-p", "2", "--min-p", "-1"], "2 settings cannot be used"),
        (["one day"], "'d'"),
        (["o" * 21], "21 tokens, but the context holds 20"),
        (["on", "--checkpoint", "7"], "no checkpoint 7"),
        (["\udcff"], "the prompt is not valid Unicode at character 1"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(writing_run, capsys, arguments, said):
    assert main(["generate", str(writing_run), *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("cloche:") == 1


def test_settings_are_refused_before_any_model_is_opened(tmp_path, capsys):
    assert main(["generate", str(tmp_path / "none"), "--top-k", "0"]) == 2
    assert "top_k" in capsys.readouterr().err


def test_a_prompt_that_is_no_text_is_refused(writing_run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"on\xff")))
    assert main(["generate", str(writing_run), "-"]) == 2
    assert "not UTF-8: byte 2 is 0xff" in capsys.readouterr().err


def test_a_reader_that_leaves_ends_it_quietly(random_run):
    command = [sys.executable, "-m", "cloche", "generate", str(random_run), "a"]
    with subprocess.Popen(
        [*command, "--n", "5000"],  # more than any pipe holds
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE
        assert process.stderr.read() == ""
