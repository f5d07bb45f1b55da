"""The verbs train, eval, data and demo through the command's own entry."""

import io
import json
import sys

import pytest

from cloche.cli.main import main
from cloche.data import corpora

TEXT = "The fox saw two stones near the river, and the old hen saw ten more.\n" * 60
SMALL = ["--train.steps", "4", "--train.batch", "4", "--train.sample-tokens", "0"]
SMALL += ["--model.layers", "1", "--model.width", "32", "--model.context", "16"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def json_of(capsys):
    return json.loads(capsys.readouterr().out)


def test_train_names_the_run_after_the_text_and_eval_measures_it(here, capsys):
    assert main(["train", "book.txt", *SMALL, "--json"]) == 0
    trained = json_of(capsys)
    assert trained["run"] == "runs/book"
    assert (trained["step"], trained["finished"]) == (4, True)

    assert main(["eval", "runs/book", "--json"]) == 0
    own = json_of(capsys)
    assert own["characters"] == len(TEXT) - int(len(TEXT) * 0.9)
    assert own["nats_per_token"] * own["tokens"] == pytest.approx(
        own["nats_per_character"] * own["characters"]
    )
    (here / "other.txt").write_text("The hen saw the fox.\n")
    assert main(["eval", "runs/book", "other.txt", "--json"]) == 0
    assert json_of(capsys)["characters"] == 21
    assert main(["eval", "runs/book/latest"]) == 0
    assert "nats a character" in capsys.readouterr().out


def test_eval_asks_for_a_text_where_there_is_none(here, capsys):
    main(["train", "book.txt", *SMALL])
    (here / "runs/book/latest").resolve().rename(here / "alone")
    assert main(["eval", "alone"]) == 2
    assert "cloche eval alone book.txt" in capsys.readouterr().err
    assert main(["eval", "alone", "book.txt", "--stride", "17"]) == 2
    assert "--stride must be from 1" in capsys.readouterr().err


def test_resume_keeps_the_options_and_refuses_others(here, capsys):
    assert main(["train", "book.txt", *SMALL]) == 0
    capsys.readouterr()
    assert main(["train", "book.txt", "--resume", "--train.seed", "7"]) == 2
    assert "train.seed: 0 -> 7" in capsys.readouterr().err
    assert main(["train", "--resume", "--out", "runs/book", "--json"]) == 0
    assert json_of(capsys)["step"] == 4


def test_a_recipe_gives_defaults_and_the_command_line_wins(here, capsys):
    (here / "my.toml").write_text(
        "[model]\nlayers = 1\nwidth = 32\ncontext = 16\n[train]\nsteps = 9\nbatch = 4\n"
    )
    assert main(["train", "book.txt", "--recipe", "my.toml", "--train.steps", "3", "--json"]) == 0
    assert json_of(capsys)["step"] == 3
    stored = (here / "runs/book/config.toml").read_text()
    assert "layers = 1\n" in stored
    assert "steps = 3\n" in stored


@pytest.mark.parametrize("name", ["gpt-textbook", "bigram", "babygpt", "nanogpt-cpu"])
def test_packaged_recipes_run(here, capsys, name):
    assert main(["train", "book.txt", "--recipe", name, "--train.steps", "2", "--json"]) == 0
    assert json_of(capsys)["finished"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[model]\nlayer = 3\n", "unknown key model.layer: did you mean layers?"),
        ("[model\n", "not valid TOML"),
        ("minutes = 'long'\n", "expected float"),
    ],
)
def test_a_bad_recipe_is_told(here, capsys, content, message):
    (here / "my.toml").write_text(content)
    assert main(["train", "book.txt", "--recipe", "my.toml"]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_recipe_lists_the_packaged_ones(here, capsys):
    assert main(["train", "book.txt", "--recipe", "gtp"]) == 2
    assert "bigram, gpt-textbook" in capsys.readouterr().err


def test_a_misspelt_option_is_refused_with_the_nearest(here, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "book.txt", "--model.layer", "3"])
    assert caught.value.code == 2
    assert "--model.layers" in capsys.readouterr().err


def test_standard_input_is_a_source(here, capsys, monkeypatch):
    piped = io.TextIOWrapper(io.BytesIO(TEXT.encode()))
    monkeypatch.setattr(sys, "stdin", piped)
    assert main(["train", "-", *SMALL, "--json"]) == 0
    assert json_of(capsys)["run"] == "runs/standard-input"


def test_inspect_tells_encoding_size_and_fingerprint(here, capsys):
    text = "秦川雄帝宅，函谷壯皇居。\n" * 40
    (here / "tang.txt").write_bytes(text.encode("gb18030"))
    assert main(["data", "inspect", "tang.txt", "book.txt", "--json"]) == 0
    tang, book = json_of(capsys)["files"]
    assert tang["encoding"] in ("gbk", "gb18030")
    assert tang["characters"] == len(text)
    assert book["encoding"] == "utf-8"
    assert main(["data", "inspect", "tang.txt"]) == 0
    assert tang["utf8_sha256"] in capsys.readouterr().out


def test_the_stories_are_shown_in_both_languages_and_every_form(here, capsys):
    assert main(["data", "show", "stories", "--lang", "zh", "--bytes", "2KB"]) == 0
    shown = capsys.readouterr().out
    assert 2000 <= len(shown.encode()) < 4000
    assert "。" in shown
    for form, key in (("questions", "questions"), ("pairs", "wrong"), ("parallel", "zh")):
        assert main(["data", "show", "stories", "--format", form, "--bytes", "500"]) == 0
        assert key in json.loads(capsys.readouterr().out.splitlines()[0])


def test_a_file_is_shown_up_to_whole_characters(here, capsys):
    (here / "tang.txt").write_bytes(("春眠不覺曉，處處聞啼鳥。" * 40).encode("gb18030"))
    assert main(["data", "show", "tang.txt", "--bytes", "10"]) == 0
    assert capsys.readouterr().out == "春眠不\n"


def test_the_built_in_texts_are_listed(here, capsys):
    assert main(["data", "list", "--json"]) == 0
    names = {text["name"] for text in json_of(capsys)["texts"]}
    assert {"stories", "stories-zh", "python", "shakespeare", "verdict"} <= names
    assert main(["data"]) == 2
    assert main(["data", "lst"]) == 2


def test_the_demo_trains_writes_and_says_what_next(here, capsys, monkeypatch):
    monkeypatch.setattr(corpora, "STORIES_BYTES", 100_000)
    assert main(["demo", "--minutes", "0.3"]) == 0
    captured = capsys.readouterr()
    assert "One morning" in captured.out
    assert "cloche train book.txt" in captured.err
    assert (here / "runs/demo/loss.png").exists()
