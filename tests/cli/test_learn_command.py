import json

import pytest

from cloche.cli.main import main
from cloche.lessons.lesson import load_course

HEAD = """# /// lesson
# part = "text"
# order = 1
# minutes = 2
# needs = {needs}
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% one
{code}
"""
TEXT = (
    "---\ntitle: {title}\nsummary: {title}.\n---\n\n{title}?\n\n{{{{ one }}}}\n\n{{{{= two }}}}\n"
)
CODE = "two = 2\nprint(two)\nstage.keep(two=two)"


@pytest.fixture
def write_lesson(tmp_path, monkeypatch):
    """Writes the one lesson that there is."""
    monkeypatch.setattr("cloche.lessons.lesson._pages", lambda: tmp_path / "pages")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CLOCHE_DATA", raising=False)
    folder = tmp_path / "pages" / "adding"
    folder.mkdir(parents=True)

    def write(code=CODE, needs="[]"):
        files = {
            "cells.py": HEAD.format(needs=needs, code=code),
            "en.md": TEXT.format(title="Adding"),
            "zh.md": TEXT.format(title="加法"),
        }
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")

    return write


def test_lessons_are_listed_in_order(capsys):
    assert main(["learn"]) == 0
    printed = capsys.readouterr().out
    places = [printed.index(f"\n  {lesson.name} ") for lesson in load_course()]
    assert "--notebook" in printed
    assert len(places) == len(load_course())


def test_the_list_is_one_json_object(capsys):
    assert main(["learn", "--json"]) == 0
    lessons = json.loads(capsys.readouterr().out)["lessons"]
    attention = next(each for each in lessons if each["name"] == "attention")
    assert attention["title"]["zh"] == "四步看懂注意力"
    assert attention["needs"] == []


def test_a_lesson_runs_in_either_language(write_lesson, capsys):
    write_lesson()
    assert main(["learn", "adding"]) == 0
    assert "Adding?" in capsys.readouterr().out
    assert main(["learn", "adding", "--lang", "zh"]) == 0
    assert "加法" in capsys.readouterr().out


def test_a_lesson_as_json_has_code_outputs_and_values(write_lesson, capsys):
    write_lesson()
    assert main(["learn", "adding", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cells"][0]["code"] == CODE
    assert found["cells"][0]["outputs"] == [{"printed": "2\n"}]
    assert found["values"] == {"two": 2}


def test_a_notebook_is_written(write_lesson, tmp_path, capsys):
    pytest.importorskip("nbformat")
    write_lesson()
    path = tmp_path / "adding.ipynb"
    assert main(["learn", "adding", "--notebook", str(path)]) == 0
    assert "wrote" in capsys.readouterr().err
    assert json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]


def test_what_is_missing_is_one_message(write_lesson, capsys):
    write_lesson(needs='["model"]')
    assert main(["learn", "adding"]) == 2
    told = capsys.readouterr().err
    assert "cannot run here" in told
    assert "--model" in told


def test_an_interrupted_lesson_ends_cleanly(write_lesson, capsys):
    write_lesson(code="raise KeyboardInterrupt")
    assert main(["learn", "adding"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["atention"], "did you mean attention"),
        (["--out", "x"], "--out is for one lesson"),
        (["--notebook", "x.ipynb"], "--notebook is for one lesson"),
        (["attention", "--notebook", "x.txt"], "ends in .ipynb, got x.txt"),
        (["attention", "--notebook", "x.ipynb", "--out", "y"], "leave out --out and --json"),
    ],
)
def test_what_cannot_be_is_told(arguments, told, capsys):
    assert main(["learn", *arguments]) == 2
    assert told in capsys.readouterr().err
