import base64
import json
import sys

import pytest

from cloche.errors import SettingError
from cloche.lessons.notebook import write_notebook
from cloche.lessons.running import run_lesson

nbformat = pytest.importorskip("nbformat")


@pytest.fixture
def notebook(lesson, given, tmp_path):
    ran = list(run_lesson(lesson, given))
    path = write_notebook(lesson, ran, tmp_path / "out" / "sums.ipynb", lang="en", model="runs/m")
    return nbformat.read(path, as_version=4)


def test_a_notebook_holds_text_code_and_outputs(notebook):
    nbformat.validate(notebook)
    sources = "\n".join(cell.source for cell in notebook.cells)
    assert sources.startswith("# Sums: a start")
    assert "It is 6.0" in sources
    cells = {cell.id: cell for cell in notebook.cells}
    assert cells["numbers"].outputs[0].text == "tensor(6.)\n"
    assert cells["words"].metadata["jupyter"]["source_hidden"]
    assert "| a\\|b | name |" in cells["words"].outputs[2].data["text/markdown"]
    picture = base64.b64decode(cells["figures"].outputs[0].data["image/png"])
    assert picture.startswith(b"\x89PNG")


def test_its_code_runs_by_itself_and_prints_the_same(notebook, capsys, monkeypatch):
    import torch

    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), names)
        if cell.id == "numbers":
            assert capsys.readouterr().out == cell.outputs[0].text
    torch.set_printoptions(profile="default")
    assert names["stage"].values == {"total": 6.0, "half": 3.0}
    assert names["stage"].model == "runs/m"


def test_without_nbformat_the_extra_is_named(lesson, given, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbformat", None)
    with pytest.raises(SettingError, match=r"pip install 'cloche\[notebook\]'"):
        write_notebook(lesson, [], tmp_path / "x.ipynb", lang="en")
    assert not list(tmp_path.glob("*.ipynb"))


def test_the_file_is_json_with_characters_as_they_are(lesson, given, tmp_path):
    ran = list(run_lesson(lesson, given))
    path = write_notebook(lesson, ran, tmp_path / "zh.ipynb", lang="zh")
    text = path.read_text(encoding="utf-8")
    assert "一共 6.0" in text
    assert json.loads(text)["nbformat"] == 4
