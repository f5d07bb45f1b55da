from pathlib import Path

import pytest
import torch

from cloche.errors import RequestError, SettingError
from cloche.lessons import extras
from cloche.lessons.lesson import read_lesson
from cloche.lessons.needs import Given, NeedError, missing
from cloche.lessons.outputs import Printed, Rows, Said, Shown
from cloche.lessons.phrases import LessonError
from cloche.lessons.plain import plain, plain_values
from cloche.lessons.running import run_lesson
from cloche.lessons.stage import Stage, open_stage


def with_cell(folder, code):
    """The lesson with the code of its first cell replaced."""
    path = folder / "cells.py"
    head, _, rest = path.read_text(encoding="utf-8").partition("# %% numbers\n")
    _, _, rest = rest.partition("# %% words")
    path.write_text(f"{head}# %% numbers\n{code}\n\n# %% words{rest}", encoding="utf-8")
    return read_lesson(folder)


def test_cells_give_their_outputs_in_order(lesson, given):
    numbers, words, figures = run_lesson(lesson, given)
    assert numbers.outputs == (Printed("tensor(6.)\n"),)
    assert numbers.values == {"total": 6.0, "half": 3.0}
    assert [type(output) for output in words.outputs] == [Said, Printed, Rows]
    table = words.outputs[2]
    assert isinstance(table, Rows)
    assert table.rows == (("1", "x"), ("0.5", {"en": "y", "zh": "乙"}))
    assert all(isinstance(output, Shown) for output in figures.outputs)
    assert len(figures.outputs) == 3


def test_the_callers_random_numbers_and_print_options_stay(lesson, given):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    list(run_lesson(lesson, given))
    assert torch.equal(torch.rand(3), wanted)
    assert repr(torch.tensor(1e-7)) == "tensor(1.0000e-07)"


def test_the_lessons_folder_is_gone_afterwards(lesson_folder, given):
    lesson = with_cell(
        lesson_folder,
        'import torch\ntotal = 6\n(stage.folder / "x").write_text("x")\n'
        "stage.keep(where=str(stage.folder))",
    )
    ran = list(run_lesson(lesson, given))
    assert not Path(ran[0].values["where"]).exists()


def test_an_error_names_the_cell_and_the_line_of_the_script(lesson_folder, given):
    lesson = with_cell(lesson_folder, "x = 1\nassert x == 2")
    with pytest.raises(AssertionError) as raised:
        list(run_lesson(lesson, given))
    assert "in the cell 'numbers' of the lesson sums" in raised.value.__notes__
    line = raised.traceback[-1].lineno + 1
    script = (lesson_folder / "cells.py").read_text(encoding="utf-8").splitlines()
    assert script[line - 1] == "assert x == 2"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("stage.keep(a=1)\nstage.keep(a=2)", "kept already"),
        ("stage.keep(a=[1])", "numbers and strings are kept"),
        ("stage.table(['a'], [[1, 2]])", "a row of 2 cells in a table of 1"),
        ("stage.replay('nothing')", "no published result"),
        (
            "from cloche.lessons.charts import Curves\nCurves([1, 2], {'a': [1.0]})",
            "1 numbers for 2 places",
        ),
        (
            "from cloche.lessons.charts import HeatMap\nHeatMap([[1.0]], rows=['a'], columns=[])",
            "with names for",
        ),
    ],
)
def test_mistakes_of_a_lessons_code_are_told(lesson_folder, given, code, told):
    with pytest.raises(LessonError, match=told):
        list(run_lesson(with_cell(lesson_folder, code), given))


def test_all_that_is_missing_is_told_before_anything_runs(lesson_folder, given, capsys):
    path = lesson_folder / "cells.py"
    text = path.read_text(encoding="utf-8")
    needs = 'needs = ["model", "package:no_such_package"]'
    path.write_text(text.replace("needs = []", needs), encoding="utf-8")
    lesson = read_lesson(lesson_folder)
    with pytest.raises(NeedError, match="sums cannot run here") as raised:
        next(run_lesson(lesson, given))
    assert "--model" in str(raised.value)
    assert "pip install no_such_package" in str(raised.value)
    assert len(missing(lesson, Given(None, given.cache_folder, "runs/smol"))) == 1


def test_a_text_that_cannot_be_had_is_missing(lesson_folder, given, monkeypatch):
    def refused(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refused)
    path = lesson_folder / "cells.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("needs = []", 'needs = ["verdict"]'), encoding="utf-8")
    (told,) = missing(read_lesson(lesson_folder), given)
    assert "verdict cannot be downloaded (no network)" in told


def test_an_unknown_need_is_the_lessons_mistake(lesson_folder, given):
    path = lesson_folder / "cells.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("needs = []", 'needs = ["luck"]'), encoding="utf-8")
    with pytest.raises(LessonError, match="luck"):
        missing(read_lesson(lesson_folder), given)


def test_a_stage_gives_texts_by_name_and_no_model_unasked(tmp_path, shared_data):
    stage = Stage(print, folder=tmp_path, data_folder=shared_data, cache_folder=tmp_path)
    assert stage.text("verdict").startswith("I HAD always thought")
    assert stage.source("verdict").endswith("the-verdict.txt")
    with pytest.raises(RequestError, match="--model"):
        _ = stage.model
    measured = stage.replay("softmax of 8 times it").measured
    assert measured[-1] == pytest.approx(0.8, abs=1e-3)


def test_a_stage_of_ones_own_prints_where_things_arise(capsys):
    stage = open_stage(lang="zh")
    stage.say(en="six", zh="六")
    stage.table(["a"], [[1]])
    printed = capsys.readouterr().out
    torch.set_printoptions(profile="default")
    assert "六" in printed
    assert "six" not in printed


def test_all_of_a_lesson_is_plain_json(lesson, given):
    values = plain_values(list(run_lesson(lesson, given)))
    assert values["values"] == {"total": 6.0, "half": 3.0}
    figures = values["cells"][2]["outputs"]
    assert figures[0]["figure"]["values"] == [[1.0, 0.0], [0.0, 1.0]]
    assert figures[1]["figure"]["series"][0]["name"]["zh"] == "下降"
    assert plain(float("-inf")) == "-Infinity"


def test_a_package_that_is_absent_is_named():
    with pytest.raises(SettingError, match="pip install 'cloche"):
        extras.require_package("no_such_package.part", "it", install="cloche[x]")
