"""`cloche data prepare`, and training on what it made."""

import json
import os

import pytest

from cloche.cli.main import main

LINE = "The fox saw two stones near the river, and the old hen saw ten more.\n"
SMALL = ["--train.steps", "2", "--train.batch", "4", "--train.sample-tokens", "0"]
SMALL += ["--model.layers", "1", "--model.width", "32", "--model.context", "16"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("cloche.data.spec.TASK_BYTES", 1000)
    (tmp_path / "book.txt").write_text(LINE * 60, encoding="utf-8")
    return tmp_path


def test_a_text_is_prepared_once_and_trained_on_by_its_folder(here, capsys):
    assert main(["data", "prepare", "book.txt", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["folder"] == "prepared/book"
    assert made["train"]["characters"] + made["validation"]["characters"] == 60 * len(LINE)
    assert made["train"]["tokens"] > 0

    assert main(["train", "prepared/book", "--out", "run", *SMALL]) == 0
    assert os.path.realpath("run/tokens") == os.path.realpath("prepared/book")
    capsys.readouterr()
    assert main(["eval", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["characters"] == made["validation"]["characters"]
    assert main(["train", "prepared/book", "--out", "run", "--resume"]) == 0
    assert "already finished" in capsys.readouterr().err


def test_the_same_command_again_reads_nothing_again_unless_a_source_changed(here, capsys):
    main(["data", "prepare", "book.txt"])
    capsys.readouterr()
    assert main(["data", "prepare", "book.txt"]) == 0
    assert "unchanged" in capsys.readouterr().err
    (here / "book.txt").write_text(LINE * 61, encoding="utf-8")
    assert main(["train", "prepared/book", "--out", "run", *SMALL]) == 0
    assert "book.txt has changed since" in capsys.readouterr().err
    assert main(["data", "prepare", "book.txt", "--json"]) == 0
    told = capsys.readouterr()
    assert "preparing it again" in told.err
    made = json.loads(told.out)
    assert made["train"]["characters"] + made["validation"]["characters"] == 61 * len(LINE)


def test_options_of_the_preparation_are_refused_where_the_tokens_are_made(here, capsys):
    main(["data", "prepare", "book.txt"])
    capsys.readouterr()
    options = ["--data.split", "0.5", "--text.encoding", "gbk"]
    assert main(["train", "prepared/book", "--out", "run", *options]) == 2
    told = capsys.readouterr().err
    assert "data.split is settled by the tokens" in told
    assert "text.encoding is settled by the tokens" in told
    assert not (here / "run").exists()


def test_the_link_of_a_run_leads_to_the_tokens_it_is_trained_on(here, capsys):
    (here / "other.txt").write_text(LINE.upper() * 50, encoding="utf-8")
    for name in ("book", "other"):
        assert main(["data", "prepare", f"{name}.txt"]) == 0
    (here / "run").mkdir()
    (here / "run" / "tokens").symlink_to(here / "prepared" / "book")  # of a run that never began
    assert main(["train", "prepared/other", "--out", "run", *SMALL]) == 0
    assert os.path.realpath("run/tokens") == os.path.realpath("prepared/other")

    before = (here / "prepared/book/prepared.json").read_bytes()
    (here / "run2").mkdir()
    (here / "run2" / "tokens").symlink_to(here / "prepared" / "book")
    assert main(["train", "other.txt", "--out", "run2", *SMALL]) == 0
    assert not (here / "run2/tokens").is_symlink()
    assert (here / "prepared/book/prepared.json").read_bytes() == before

    (here / "run3" / "tokens").mkdir(parents=True)
    assert main(["train", "prepared/book", "--out", "run3", *SMALL]) == 2
    assert "holds tokens of its own" in capsys.readouterr().err


def test_ranks_do_what_was_planned_and_a_last_call_closes_it(here, capsys):
    assert main(["data", "prepare", "book.txt", "--out", "p", "--plan-only"]) == 0
    assert "--rank R --world-size W" in capsys.readouterr().out
    for rank in ("1", "0"):
        assert main(["data", "prepare", "--out", "p", "--rank", rank, "--world-size", "2"]) == 0
    capsys.readouterr()
    assert main(["train", "p", "--out", "run", *SMALL]) == 2
    assert "was not finished in p" in capsys.readouterr().err
    assert main(["data", "prepare", "--out", "p", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["documents"] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a text to prepare"),
        (["book.txt", "--rank", "0", "--world-size", "2"], "name its folder with --out alone"),
        (["--out", "p", "--rank", "0"], "belong together"),
        (["book.txt", "--workers", "0"], "--workers must be at least 1"),
        (["book.txt", "--data.stride", "5"], "give them to cloche train"),
        (["--out", "nothing"], "no preparation has begun in nothing"),
        (["--out", "nothing", "--rank", "0", "--world-size", "1"], "no preparation has begun"),
        (["missing.txt"], "missing.txt"),
        (["--out", "p", "--data.split", "0.5"], "are settled by the plan"),
        (["book.txt", "--data.clean", "nfc", "--data.split-by", "file"], "after which there are"),
    ],
)
def test_mistakes_are_told(here, capsys, arguments, told):
    assert main(["data", "prepare", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_binary_files_in_a_folder_are_left_out_and_listed(here, capsys):
    folder = here / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text(LINE * 30, encoding="utf-8")
    (folder / "b.txt").write_text("今天天气很好，小明和朋友们去公园里玩。\n" * 30, encoding="gbk")
    (folder / "c.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)
    assert main(["data", "prepare", "folder", "--json"]) == 0
    told = capsys.readouterr()
    assert "b.txt: gbk" in told.err
    assert "Left out: folder/c.txt" in told.err
    made = json.loads(told.out)
    assert made["train"]["documents"] + made["validation"]["documents"] == 3  # one is cut in two
