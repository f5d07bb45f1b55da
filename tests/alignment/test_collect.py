"""Collecting choices: kept through a kill, blinded, undone, exported, refused where foreign."""

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cloche.alignment.collect import (
    Answerer,
    Collection,
    Screen,
    Shown,
    prompt_key,
    read_prompt_file,
)
from cloche.alignment.collect_export import export_choices
from cloche.alignment.collect_store import VERSION, ChoiceStore
from cloche.cli.align_collect import main, safe
from cloche.data.preferences import read_preferences
from cloche.errors import RunError, SettingError, TextError
from cloche.generation.request import GenerationRequest
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import load
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import save_checkpoint

PROMPTS = ["abc", "cab", "bca"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    tokenizer = CharacterTokenizer(set("abcdefgh"))
    config = complete(
        ModelOptions(), vocab_size=tokenizer.vocab_size, layers=1, width=16, context=32
    )
    torch.manual_seed(0)
    save_checkpoint(folder, model=build_model(config), config=config, tokenizer=tokenizer, card="")
    return folder


@pytest.fixture(scope="module")
def answerer(model) -> Answerer:
    asked = GenerationRequest((0,), max_tokens=8, min_tokens=4, overflow="stop")
    return Answerer(load(model, precision="float32"), asked, answers=3, seed=1)


@pytest.fixture
def prompts(tmp_path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS) + "\n\n")
    return path


@pytest.fixture
def sit(tmp_path, prompts, answerer):
    """Has a sitting with these keys; what was shown and said in it, and its collection."""

    def sitting(keys: str, *, again: bool = False, out: str = "choices.db"):
        shown: list[Shown] = []
        said: list[str] = []
        stream = iter(keys)
        screen = Screen(shown.append, said.append, lambda: next(stream, ""))
        with ChoiceStore(tmp_path / out) as store:
            collection = Collection(
                store,
                answerer,
                read_prompt_file(prompts),
                screen=screen,
                chooser="Ada",
                again=again,
            )
            collection.run()
            return shown, said, collection, store.choices()

    return sitting


def test_a_key_chooses_the_answer_that_is_shown_at_its_place(sit):
    shown, _, collection, choices = sit("2t0")
    assert [choice.verdict for choice in choices] == ["best", "tie", "all_bad"]
    best = choices[0]
    assert best.best is not None
    assert best.round.answers[best.best].text == shown[0].answers[1]
    assert best.chooser == "Ada"
    assert len({answer.seed for answer in best.round.answers}) == 3
    assert best.round.sampling["max_tokens"] == 8
    assert len(best.round.model_hash) == 64
    assert collection.left == 0


def test_the_order_is_drawn_by_the_stored_seed(sit):
    orders = {choice.round.shown for choice in sit("111")[3]}
    assert len(orders) > 1
    assert [choice.round.shown for choice in sit("111", out="other.db")[3]] == [
        choice.round.shown for choice in sit("222", out="third.db")[3]
    ]


def test_a_sitting_goes_on_where_the_last_one_stopped(sit):
    first = sit("1q")[0]
    shown, _, collection, choices = sit("s1")
    assert collection.judged_before == 1
    assert [each.prompt[0].content for each in shown] == ["cab", "bca"]
    assert shown[0].answers == first[1].answers  # the round that was left open
    assert [choice.verdict for choice in choices] == ["best", "skip", "best"]
    assert [each.prompt[0].content for each in sit("")[0]] == ["cab"]  # skipped is not judged


def test_judged_prompts_are_asked_again_only_if_wanted(sit):
    first = sit("111")[0]
    assert sit("1")[0] == []
    again = sit("1", again=True)[0]
    assert again[0].prompt == first[0].prompt
    assert again[0].answers != first[0].answers


def test_a_choice_can_be_taken_back(sit, tmp_path):
    shown, said, _, choices = sit("u1u2q")
    assert "no choice of this sitting" in said[0]
    assert shown[2] == shown[0]  # the first one once more
    assert len(choices) == 1
    best = choices[0].best
    assert choices[0].round.answers[best].text == shown[0].answers[1]
    with sqlite3.connect(tmp_path / "choices.db") as connection:
        kept = connection.execute("SELECT taken_back_at IS NULL FROM choices").fetchall()
    connection.close()
    assert kept == [(0,), (1,)]


def test_keys_that_mean_nothing_are_passed_over(sit):
    assert len(sit("x94?1q")[3]) == 1  # there is no fourth answer


def test_a_choice_is_there_after_the_process_was_killed(tmp_path):
    path = tmp_path / "choices.db"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from cloche.alignment.collect_store import ChoiceStore, Round, StoredAnswer\n"
        "store = ChoiceStore(Path(sys.argv[1]))\n"
        "answers = tuple(StoredAnswer(text, (1,), 1, 'stop') for text in 'ab')\n"
        "made = Round(0, 'k', {'prompt': 'p'}, 'here', 'm', 'h', {}, 1, (1, 0), answers)\n"
        "store.choose(store.add_round(made), 'best', best=1, chooser='Ada')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert died.returncode == -signal.SIGKILL
    with ChoiceStore(path) as store:
        (choice,) = store.choices()
    assert (choice.best, choice.round.answers[1].text) == (1, "b")


def test_a_second_process_is_told(tmp_path):
    with (
        ChoiceStore(tmp_path / "a.db"),
        pytest.raises(RunError, match="in use by another cloche align collect"),
    ):
        ChoiceStore(tmp_path / "a.db")
    ChoiceStore(tmp_path / "a.db").close()


def test_a_file_of_another_kind_or_version_is_refused(tmp_path):
    ChoiceStore(tmp_path / "new.db").close()
    connection = sqlite3.connect(tmp_path / "new.db")
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(RunError, match=f"version {VERSION + 1} of the format"):
        ChoiceStore(tmp_path / "new.db")
    connection = sqlite3.connect(tmp_path / "foreign.db")
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    with pytest.raises(RunError, match="another program's database"):
        ChoiceStore(tmp_path / "foreign.db")
    (tmp_path / "text.db").write_text("no database at all, and long enough to be one" * 30)
    with pytest.raises(RunError, match="damaged or is no file of choices"):
        ChoiceStore(tmp_path / "text.db")


def test_choices_are_exported_as_preferences_that_are_read_back(sit, tmp_path):
    choices = sit("3bt")[3]
    made = export_choices(choices, tmp_path / "out.jsonl")
    assert (made.pairs, made.votes, made.ties, made.blank) == (2, 4, 1, 0)
    found = read_preferences(tmp_path / "out.jsonl")
    best = choices[0].round.answers[choices[0].best].text
    assert [pair.chosen[0].content for pair in found.pairs] == [best, best]
    assert {pair.rejected[0].content for pair in found.pairs}.isdisjoint({best})
    votes = read_preferences(tmp_path / "out.votes.jsonl").votes
    assert [vote.good for vote in votes] == [True, False, False, False]


def test_a_prompt_that_leaves_no_room_is_told(tmp_path, prompts, sit):
    prompts.write_text("a" * 40 + "\n")
    with pytest.raises(TextError, match=r"line 1 has 40 tokens.*within the model's 32"):
        sit("1")


def test_a_conversation_needs_a_chat_template(prompts, sit, answerer, tmp_path):
    path = tmp_path / "prompts.json"
    messages = [("user", "a"), ("assistant", "b"), ("user", "c")]
    path.write_text(json.dumps([{"prompt": [{"role": r, "content": c} for r, c in messages]}]))
    with pytest.raises(TextError, match="has no chat template"):
        answerer.write(read_prompt_file(path)[0], attempt=0)


def test_answers_are_two_to_four_and_left_to_chance(model):
    lm = load(model, precision="float32")
    with pytest.raises(SettingError, match="from 2 to 4, got 5"):
        Answerer(lm, GenerationRequest((0,)), answers=5, seed=0)
    with pytest.raises(SettingError, match="temperature above 0"):
        Answerer(lm, GenerationRequest((0,), temperature=0.0), answers=2, seed=0)


def test_equal_prompts_have_equal_keys(prompts):
    records = read_prompt_file(prompts)
    assert len({prompt_key(record.conversation) for record in records}) == 3
    assert prompt_key(records[0].conversation) == prompt_key(records[0].conversation)


def test_the_command_takes_keys_from_a_pipe(tmp_path, model, prompts, monkeypatch, capsys):
    keys = tmp_path / "keys"
    keys.write_text("1\nt\nq\n")
    out, export = tmp_path / "c.db", tmp_path / "c.jsonl"
    with keys.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        arguments = [str(model), "--prompts", str(prompts), "--out", str(out), "--json"]
        assert (
            main([*arguments, "--export", str(export), "--max-new-tokens", "8", "--seed", "3"]) == 0
        )
    told = json.loads(capsys.readouterr().out)
    assert told["choices"] == 2
    assert (told["best"], told["tie"], told["left"]) == (1, 1, 1)
    assert (told["pairs"], told["ties"]) == (1, 1)
    assert len(export.read_text().splitlines()) == 1


BAD = {
    "nothing to do": ([], "--prompts FILE"),
    "no model": (["--prompts", "p.txt"], "name the model that answers"),
    "no prompts": (["model", "--export", "x"], "a model answers prompts"),
    "no choices": (["--export", "x", "--out", "none.db"], "no file of choices none.db"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_what_a_command_lacks_is_told(arguments, message):
    with pytest.raises(SettingError, match=message):
        main(arguments)


def test_an_answer_cannot_steer_the_terminal():
    assert safe("a\x1b[2Jb\n中\u202e") == "a\ufffd[2Jb\n中\ufffd"
