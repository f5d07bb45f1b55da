"""Pictures of calibration and of comparisons, whatever the names in them are."""

import pytest

from cloche.plots.charts import intervals_chart, reliability_diagram

HOSTILE = "春/模型 $x_{$ <b>&_^\\"


def test_names_are_shown_as_they_are_and_never_read_as_formulas(tmp_path):
    path = tmp_path / "table.svg"
    rows = [(HOSTILE, 1.25, (1.2, 1.3)), ("_hidden", 1.5, None)]
    intervals_chart(rows, path, title=HOSTILE, label="bits a byte")
    assert path.read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert [left.name for left in tmp_path.iterdir()] == ["table.svg"]


@pytest.mark.parametrize("bins", [[(0.0, 1.0, 0.5, 0.25, 7)], [(0.0, 0.5, 0.1, 0.0, 1)] * 2])
def test_a_diagram_is_drawn_of_few_bins_too(bins, tmp_path):
    path = tmp_path / "calibration.png"
    reliability_diagram(bins, path, title=HOSTILE)
    assert path.read_bytes().startswith(b"\x89PNG")
