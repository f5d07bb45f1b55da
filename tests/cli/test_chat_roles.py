"""`cloche chat` with a chat template: a conversation in roles that can be steered and kept."""

import builtins
import json

import pytest

from cloche.cli.chat_roles import ORDERS
from cloche.cli.main import main
from cloche.generation.engine import Engine

# The table tells the story on from the last character; an answer ends in the end-of-text token.
TEMPLATE = """\
{% for m in messages %}{% if m.role == 'system' and m.content == 'no' %}\
{{ raise_exception('not this one') }}{% endif %}\
{{ m.content + (eos_token if m.role == 'assistant' else '') }}{% endfor %}"""


@pytest.fixture
def tuned_run(writing_run):
    """A run that answers `on` with `ce up.`; its context holds 20 tokens."""
    folder = (writing_run / "best").resolve()
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return writing_run


@pytest.fixture
def chat(tuned_run, capsys, monkeypatch):
    """Types lines into a chat with the tuned run; returns the status, output and messages."""

    def type_lines(*lines: str, options=("--greedy",), run=tuned_run):
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
def requests(monkeypatch) -> list:
    """What reaches the engine."""
    seen = []
    stream = Engine.stream

    def recording(self, request):
        seen.append(request)
        return stream(self, request)

    monkeypatch.setattr(Engine, "stream", recording)
    return seen


def test_the_model_answers_and_remembers_the_conversation(chat, requests):
    status, out, err = chat("on", "on")
    assert (status, err) == (0, "")
    assert out.endswith("> ce up.\n> ce up.\n> \n")
    first, second = (request.prompt for request in requests)
    eos = requests[0].stop_ids[0]
    assert len(second) == len("once up.!on")
    assert second[:2] == second[-2:] == first
    assert second.count(eos) == 1


def test_a_blank_line_is_no_message(chat, requests):
    chat("", "  ", "on")
    assert len(requests) == 1


def test_new_forgets_the_conversation_and_undo_the_last_turn(chat, requests):
    _, out, _ = chat("on", "/undo", "on", "/new", "on", "/undo", "/undo")
    assert len({request.prompt for request in requests}) == 1
    assert "Taken back: on" in out
    assert "A new conversation begins." in out
    assert "there is nothing to take back" in out


def test_a_system_text_stands_before_everything_until_another_takes_its_place(chat, requests):
    chat("on", "/system up", "on", "/system", "on", options=("--greedy", "--system", "p."))
    lengths = [len(request.prompt) for request in requests]
    assert lengths == [2 + 2, 2 + 9 + 2, 11]  # the last two with a turn; then its oldest goes


def test_a_system_text_that_the_template_refuses_is_told_and_the_old_one_stays(chat, requests):
    _, out, _ = chat("/system no", "on", options=("--greedy", "--system", "p."))
    assert "not this one" in out
    assert len(requests[0].prompt) == len("s.on")


@pytest.mark.parametrize(
    ("system", "said"), [("no", "not this one"), ("on" * 10, "leaves no room for a message")]
)
def test_a_system_text_that_cannot_be_is_told_before_the_chat_begins(chat, system, said):
    status, _, err = chat("on", options=("--system", system))
    assert status == 2
    assert said in err


def test_the_oldest_turns_are_forgotten_whole_when_the_context_is_full_and_told_once(
    chat, requests
):
    status, _, err = chat("on", "on", "on", "on", options=("--greedy", "--system", "p."))
    assert status == 0
    assert [len(request.prompt) for request in requests] == [4, 13, 13, 13]
    assert err.count("forgets the oldest messages") == 1


def test_a_message_that_is_too_long_is_told_and_forgotten(chat, requests):
    status, out, err = chat("on", "on" * 11, "on")
    assert status == 0
    assert "the message takes 22 tokens" in err
    assert "looks at 20 at most: say it in fewer words" in err
    assert out.endswith("ce up.\n> \n")
    assert len(requests[1].prompt) == len("once up.!on")


def test_an_answer_that_is_cut_off_says_so(chat):
    _, out, err = chat("on", options=("--greedy", "--max-new-tokens", "3"))
    assert "> ce \n" in out
    assert "cut off: --max-new-tokens allows 3" in err


def test_a_message_without_an_answer_is_forgotten_and_told(chat, requests):
    _, _, err = chat(".", "on")
    assert "there was no answer: the message is forgotten" in err
    assert len(requests[1].prompt) == 2


def test_ctrl_c_while_it_writes_keeps_what_was_written(chat, monkeypatch, requests):
    steps = 0
    step = Engine.step

    def interrupted_once(self):
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Engine, "step", interrupted_once)
    status, out, _ = chat("on", "on")
    assert status == 0
    assert "> ce [stopped]\n" in out
    assert len(requests[1].prompt) == len("once!on")


def test_conversations_are_saved_line_by_line(chat, tmp_path):
    file = tmp_path / "kept.jsonl"
    order = f"/save {file}"
    _, out, _ = chat(order, "on", order, "on", order, options=("--greedy", "--system", "p."))
    assert "there is nothing to save yet" in out
    turn = [{"role": "user", "content": "on"}, {"role": "assistant", "content": "ce up."}]
    saved = [json.loads(line)["messages"] for line in file.read_text().splitlines()]
    system = [{"role": "system", "content": "p."}]
    assert saved == [system + turn, system + turn + turn]


def test_a_file_that_holds_something_else_is_not_saved_to(chat, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("dear diary")
    _, out, _ = chat("on", f"/save {file}", f"/save {tmp_path}", "/save")
    assert "not saved" in out
    assert "notes.txt holds something else than messages" in out
    assert out.count("not saved") == 2
    assert "say where: /save FILE" in out
    assert file.read_text() == "dear diary"


def test_orders_are_told(chat):
    _, out, _ = chat("/help", "/no")
    assert "/undo          take the last message" in out
    assert f"there is no /no; there are {ORDERS}" in out


def test_text_can_be_continued_all_the_same(chat):
    _, out, _ = chat("on", options=("--greedy", "--continue-text"))
    assert "continues text here, as --continue-text asks" in out


def test_a_system_text_needs_a_chat_template(chat, run_without_newline):
    status, _, err = chat(options=("--system", "Be brief."), run=run_without_newline)
    assert status == 2
    assert "it has no chat template; leave --system out" in err
    status, _, err = chat(options=("--system", "Be brief.", "--continue-text"))
    assert status == 2
    assert "--continue-text was given" in err


def test_a_damaged_chat_template_is_told(chat, tuned_run):
    ((tuned_run / "best").resolve() / "chat_template.jinja").write_text("{{ x ")
    status, _, err = chat("on")
    assert status == 2
    assert "line 1" in err


def test_of_answers_that_are_cut_off_only_the_first_says_so(chat):
    _, _, err = chat("on", "on", options=("--greedy", "--max-new-tokens", "3"))
    assert err.count("cut off") == 1
