"""The verb tune through the command's own entry."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_tunings import QUICK, TEXT, make_place, quick_tunings

import cloche
from cloche.cli.main import main
from cloche.errors import RunError
from cloche.run import read_metrics
from cloche.training import loop

ASKED = ("records.json", "--tune.template", "template.jinja", *QUICK)
ADAPTERS = ("--lora", "--lora.rank", "2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with quick_tunings():
        yield make_place(tmp_path_factory.mktemp("tune"))


@pytest.fixture(autouse=True)
def _here(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def tuned(place):
    """The run that is named after its base."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["tune", "base", *ASKED]) == 0
    return "runs/base-tuned"


def json_of(capsys):
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def weights(run, name="model.safetensors"):
    return hash(Path(run, "latest", name).read_bytes())


def test_tune_prints_one_object_with_what_was_gained(tuned, capsys):
    assert main(["tune", "base", *ASKED, "--out", "json-run", "--compare", "1", "--json"]) == 0
    told = json_of(capsys)
    assert (told["run"], told["step"], told["finished"]) == ("json-run", 4, True)
    assert told["held_out"]["part"] == "test"
    assert told["held_out"]["loss_after"] < told["held_out"]["loss_before"]
    assert told["answers"][0].keys() == {"question", "expected", "before", "after"}
    assert weights("json-run") == weights(tuned)


def test_what_is_compared_stands_on_one_line(tuned, capsys):
    assert main(["tune", "--resume", "--out", tuned, "--compare", "1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    held_out = next(line for line in lines if line.startswith("Held-out answers"))
    assert held_out.endswith("%).")
    assert any(line.startswith("  before:") for line in lines)
    assert any(line.startswith("  after:") for line in lines)
    assert lines[-1].startswith(f"Done: {tuned}. Try: cloche chat {tuned}")


def test_a_tuned_run_is_asked_by_its_template(tuned, capsys):
    asked = ["generate", tuned, "fox 3?", "--greedy", "--max-new-tokens", "6", "--json"]
    assert main([*asked, "--chat"]) == 0
    answer = json_of(capsys)["answers"][0]["text"]
    lm = cloche.load(tuned)
    assert answer == lm.chat("fox 3?", greedy=True, max_new_tokens=6)
    assert answer == lm.generate("u: fox 3?a: ", greedy=True, max_new_tokens=6)
    assert main(["generate", "base", "fox 3?", "--chat"]) == 2
    assert "no chat template" in capsys.readouterr().err


def test_examples_are_shown_token_by_token_and_nothing_is_trained(place, capsys):
    asked = ["tune", "base", *ASKED, "--out", "never", "--show", "2"]
    assert main([*asked, "--json"]) == 0
    first, second = json_of(capsys)["examples"]
    assert [first["record"], second["record"]] == [
        "records.json, record 1",
        "records.json, record 2",
    ]
    read = "".join(token["text"] for token in first["tokens"] if not token["learned"])
    learned = "".join(token["text"] for token in first["tokens"] if token["learned"])
    assert read == "u: fox 0?a: "
    assert learned.startswith("green.")
    assert first["tokens"][-1]["learned"], "the stop token is learned"
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "records.json, record 1" in shown
    assert "⟦learned⟧ (predicted, with loss)   read only" in shown
    marked = [part.partition("⟧")[0] for part in shown.split("⟦")[1:3]]
    assert [text.replace("▏", "") for text in marked] == ["green.<|endoftext|>"] * 2
    assert not (place / "never").exists()


def test_a_single_record_is_shown_though_it_could_not_be_split(capsys):
    asked = ["tune", "base", *ASKED, "--data.records", ":1", "--show", "1", "--json"]
    assert main(asked) == 0
    assert [each["record"] for each in json_of(capsys)["examples"]] == ["records.json, record 1"]


def test_what_is_not_there_is_told_before_torch_is_loaded(place):
    code = (
        "import sys; from cloche.cli.main import main; status = main(['tune', 'bas', 'x.json']); "
        "sys.exit(9 if 'torch' in sys.modules else status)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert "bas does not exist; did you mean base?" in ended.stderr


def test_a_run_to_go_on_with_that_is_not_there_is_told_as_such(place, capsys):
    assert main(["tune", "--resume", "--out", "nothere"]) == 2
    assert "nothere holds no run to go on with" in capsys.readouterr().err
    with pytest.raises(RunError, match="nothere holds no run"):
        cloche.tune("", out="nothere", resume=True)
    assert not (place / "nothere").exists()


@pytest.mark.parametrize("option", ["--compare", "--show"])
def test_fewer_than_no_examples_are_refused_before_anything_is_read(place, capsys, option):
    assert main(["tune", "base", *ASKED, option, "-1", "--out", "minus"]) == 2
    assert "must be at least 1" in capsys.readouterr().err
    assert not (place / "minus").exists()


@pytest.mark.parametrize(("option", "method"), [("--lora", "lora"), ("--qlora", "qlora")])
def test_adapters_alone_are_trained(place, capsys, option, method):
    out = f"run-{method}"
    before = (place / "base" / "model.safetensors").read_bytes()
    asked = ["tune", "base", *ASKED, option, "--lora.rank", "2", "--out", out, "--json"]
    assert main(asked) == 0
    assert json_of(capsys)["finished"]
    assert (place / "base" / "model.safetensors").read_bytes() == before
    assert (place / out / "latest" / "adapter_model.safetensors").exists()
    stored = (place / out / "config.toml").read_text()
    assert f'method = "{method}"' in stored
    assert "alpha = 4.0" in stored


def test_a_recipe_gives_defaults_and_the_command_line_wins(place, capsys):
    (place / "my.toml").write_text(
        '[tune]\nloss = "all"\n[train]\nsteps = 9\nseed = 5\n[data]\nsplit = [0.5, 0.5]\n'
    )
    asked = ["tune", "base", *ASKED, "--recipe", "my.toml", "--out", "recipe", "--json"]
    assert main(asked) == 0
    assert json_of(capsys)["step"] == 4
    stored = (place / "recipe" / "config.toml").read_text()
    assert 'loss = "all"' in stored
    assert "seed = 5" in stored
    (place / "bad.toml").write_text('[tune]\nlos = "all"\n')
    assert main(["tune", "base", *ASKED, "--recipe", "bad.toml"]) == 2
    assert "unknown key tune.los: did you mean loss?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "status", "options"),
    [(signal.SIGINT, 130, ()), (signal.SIGTERM, 143, ADAPTERS)],
    ids=["ctrl-c", "sigterm"],
)
def test_a_signal_saves_tells_how_to_go_on_and_nothing_is_lost(
    capsys, monkeypatch, kind, status, options
):
    step = loop.take_step

    def signalled(training, state):
        done = step(training, state)
        if state.step == 3:
            os.kill(os.getpid(), kind)
        return done

    name = "adapter_model.safetensors" if options else "model.safetensors"
    asked = ["tune", "base", *ASKED, *options]
    assert main([*asked, "--out", f"straight-{status}"]) == 0
    run = f"signalled-{status}"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", signalled)
        assert main([*asked, "--out", run]) == status
    assert f"Go on with: cloche tune --resume --out {run}" in capsys.readouterr().err
    assert json.loads(Path(run, "status.json").read_text())["state"] == "interrupted"
    assert main(["tune", "--resume", "--out", run, "--json"]) == 0
    assert json_of(capsys)["step"] == 4
    assert weights(run, name) == weights(f"straight-{status}", name)


def test_a_run_keeps_its_options_and_is_not_begun_twice(tuned, capsys):
    assert main(["tune", "base", *ASKED]) == 2
    assert "already holds a training" in capsys.readouterr().err
    assert main(["tune", "--resume", "--out", tuned, "--train.seed", "7"]) == 2
    assert "train.seed: 0 -> 7" in capsys.readouterr().err
    assert main(["tune", "--resume", "--out", tuned, "--recipe", "novel"]) == 2
    assert "leave --recipe out" in capsys.readouterr().err
    assert main(["train", "--resume", "--out", tuned]) == 2
    assert "begun by cloche tune" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name the model to tune"),
        (["base"], "name a file of conversations"),
        (["nothing", "records.json"], "nothing does not exist"),
        (["base", "nothing.json"], "nothing.json"),
        (["base", "book.txt"], "book.txt"),
        (["base", "records.json", "--lora", "--qlora"], "give one of them"),
        (["base", "records.json", "--lora", "--method.method", "qlora"], "contradict"),
        (["base", "records.json", "--lora.rank", "4"], "give --lora"),
        (["base", "records.json", "--lora"], "adapters add no tokens"),
        (["base", "records.json", "--show", "-1"], "show must be at least 1"),
        (["--resume"], "name the run to go on with"),
        (["--task", "text"], "name the model to tune"),
        (["base", "--task", "text"], "text"),
        (["base", "book.txt", "--task", "text", "--replay.share", "0.5"], "replay.sources"),
        (["base", "book.txt", "--task", "text", "--text.tokenizer", "gpt2"], "keeps its tokenizer"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_no_folder(place, capsys, arguments, said):
    out = [] if "--resume" in arguments else ["--out", "mistake"]
    assert main(["tune", *arguments, *out]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not (place / "mistake").exists()


def test_an_unknown_task_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["tune", "base", "records.json", "--task", "sumarize"])
    assert caught.value.code == 2
    assert "classify" in capsys.readouterr().err


def test_a_model_goes_on_with_text_and_tells_what_it_forgets(place, capsys):
    (place / "old.txt").write_text(TEXT.upper())
    asked = ["tune", "base", "book.txt", "--task", "text", "--replay.sources", "old.txt"]
    asked += ["--replay.share", "0.25", "--tune.context", "16", *QUICK, "--out", "text", "--json"]
    assert main(asked) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["finished"]
    assert "25% of them of old text" in printed.err
    assert "replay loss" in printed.err
    assert "eval/replay_loss" in read_metrics("text")[-1]
    assert main(["tune", "--task", "text", "--resume", "--out", "text", "--json"]) == 0
    assert json_of(capsys)["step"] == 4
    assert main(["tune", "--resume", "--out", "text"]) == 2
    assert "--task text" in capsys.readouterr().err
