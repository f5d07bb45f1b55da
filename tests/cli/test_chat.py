"""`cloche chat` continues what is typed, remembers it, and survives what goes wrong in a turn."""

import builtins
import io
import sys

import pytest

from cloche.cli.main import main
from cloche.generation.engine import Engine


@pytest.fixture
def chat(writing_run, capsys, monkeypatch):
    """Types lines into a chat with the writing run; returns the status, output and messages."""

    def type_lines(*lines: str, run=writing_run, options=("--greedy",)):
        coming = iter(lines)

        def typed(prompt: str) -> str:
            print(prompt, end="")
            try:
                return next(coming)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr(builtins, "input", typed)
        status = main(["chat", str(run), *options])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return type_lines


@pytest.fixture
def prompts(monkeypatch) -> list[tuple[int, ...]]:
    """The prompts that reach the engine."""
    seen = []
    stream = Engine.stream

    def recording(self, request):
        seen.append(request.prompt)
        return stream(self, request)

    monkeypatch.setattr(Engine, "stream", recording)
    return seen


def test_it_says_what_it_is_continues_a_line_and_ends_with_0(chat):
    status, out, err = chat("on")
    assert status == 0
    assert "This model was trained to continue text; it has not been tuned to answer." in out
    assert out.endswith("> ce up.\n> \n")
    assert err == ""


def test_the_text_so_far_is_the_context_of_the_next_line(chat, prompts):
    chat("on", "?", "")
    first, second, third = prompts
    assert second[: len(first)] == first
    assert len(second) == len("once up.\n?")
    assert len(third) == len("once up.\n?once up.")


def test_new_forgets_the_text(chat, prompts):
    chat("on", "/new", "on")
    assert prompts[0] == prompts[1]


def test_a_text_that_outgrows_the_context_goes_on_with_its_newest_part_and_says_so_once(
    chat, prompts
):
    status, _, err = chat("on", "on", "on", "on")
    assert status == 0
    assert [len(prompt) for prompt in prompts] == [2, 11, 20, 15]
    assert err.count("20 tokens at most") == 1


def test_an_unknown_character_is_told_and_the_session_goes_on(chat):
    status, out, err = chat("one day", "on")
    assert status == 0
    assert "'d'" in err
    assert "number 5" in err
    assert out.endswith("> > ce up.\n> \n")


def test_bytes_that_are_no_text_are_told_and_the_session_goes_on(writing_run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\non\n"), "utf-8"))
    assert main(["chat", str(writing_run), "--greedy"]) == 0
    shown = capsys.readouterr()
    assert "not valid Unicode at character 1" in shown.err
    assert "ce up." in shown.out


def test_ctrl_c_while_it_writes_ends_only_that_answer(chat, monkeypatch, prompts):
    steps = 0
    step = Engine.step

    def interrupted_once(self):
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Engine, "step", interrupted_once)
    status, out, _ = chat("on", "?")
    assert status == 0
    assert "> ce [stopped]\n> once up.\n" in out
    assert len(prompts[1]) == len("once\n?")  # what was written stays part of the text


def test_ctrl_c_at_the_prompt_ends_with_130(writing_run, monkeypatch, capsys):
    def interrupted(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(builtins, "input", interrupted)
    assert main(["chat", str(writing_run)]) == 130
    capsys.readouterr()


def test_orders_are_obeyed_and_unknown_ones_told(chat, prompts):
    _, out, _ = chat("/help", "/no", "/quit", "on")
    assert "/new           forget the text so far" in out
    assert "there is no /no; there are /new, /adapter, /quit and /help" in out
    assert prompts == []


def test_a_model_that_knows_no_newline_gets_its_lines_joined_by_what_it_knows(
    chat, prompts, run_without_newline
):
    chat("on", "?", run=run_without_newline)
    assert len(prompts[1]) == len("once up. ?")


def test_with_a_seed_the_whole_chat_is_the_same(chat, random_run):
    lines = ("abc", "def", "")
    options = ("--seed", "4", "--max-new-tokens", "20")
    first = chat(*lines, run=random_run, options=options)
    assert chat(*lines, run=random_run, options=options) == first
    other = ("--seed", "5", "--max-new-tokens", "20")
    assert chat(*lines, run=random_run, options=other) != first
