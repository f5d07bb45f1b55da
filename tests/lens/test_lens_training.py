"""The view of a training shows the rows of its files, while it goes on and after."""

import io
import json
import math

import pytest
from rich.console import Console
from run_folders import write_checkpoints, write_run, write_samples

from cloche.errors import RequestError, RunError, SettingError
from cloche.lens.drawing import draw, figure
from cloche.lens.rendering import render
from cloche.lens.training import see_training
from cloche.lens.wording import Language
from cloche.plots.canvas import cjk_font


def said(view, lang: Language = "en"):
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(render(view, lang=lang))
    return console.export_text()


def test_curves_are_the_rows_of_the_file(tmp_path):
    view = see_training([write_run(tmp_path / "run")])
    (run,) = view.runs
    assert run.curves["train/loss"].steps == [1, 2, 3, 4, 5, 6]
    assert run.curves["train/loss"].values == [4.0 / step for step in range(1, 7)]
    assert run.curves["eval/loss"].steps == [3, 6]
    assert [panel.title for panel in view.panels] == [
        "loss",
        "learning rate",
        "gradient norm",
        "gradient norm by layer",
        "update to weight ratio by layer",
        "tokens per second",
    ]
    assert view.provenance.run == "run"


def test_a_run_that_is_going_on_is_read_up_to_its_last_whole_row(tmp_path):
    run = write_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "time": 1.0, "train/lo')
    write_samples(run, 3)
    with (run / "samples.jsonl").open("ab") as file:
        file.write('{"step": 6, "text": "天'.encode()[:-1])
    (run / "status.json").write_text('{"state": "running", "steps": 100}')
    (found,) = see_training(run).runs
    assert (found.state, found.step, found.steps) == ("running", 6, 100)
    assert [sample.step for sample in found.samples] == [3]


def test_a_row_that_comes_again_counts_as_it_came_last(tmp_path):
    run = write_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "time": 1.0, "train/loss": 9.0}\n')
    curve = see_training(run).runs[0].curves["train/loss"]
    assert (curve.steps, curve.values[1]) == ([1, 2, 3, 4, 5, 6], 9.0)


def test_figures_of_any_training_can_be_asked_for(tmp_path):
    run = write_run(tmp_path / "run", more={"train/kl": 0.5, "eval/pair_accuracy": 0.75})
    view = see_training(run, metrics=["train/kl", "eval/pair_accuracy", "train/update_ratio/"])
    assert [panel.title for panel in view.panels] == [
        "train/kl",
        "eval/pair_accuracy",
        "update to weight ratio by layer",
    ]
    assert "train/kl" in see_training(run).others
    with pytest.raises(SettingError, match=r"called train/kll: did you mean train/kl\?"):
        see_training(run, metrics=["train/kll"])


def test_a_training_without_the_usual_figures_shows_what_it_has(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 1, "time": 1, "own": 2.5, "said": "no"}\n')
    assert [panel.title for panel in see_training(run).panels] == ["own"]


def test_runs_of_one_name_are_told_apart_and_one_run_is_seen_once(tmp_path):
    runs = [write_run(tmp_path / name / "run") for name in ("one", "two")]
    write_checkpoints(runs[0], 6)
    (runs[0] / "best").symlink_to("checkpoints/step-000006")
    view = see_training([*runs, runs[0] / "best"])
    assert [run.run for run in view.runs] == ["one/run", "two/run"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no figures yet"),
        ('{"step": 1}\nnonsense\n{"step": 2}\n', "line 2: not a row of JSON"),
        ('{"time": 1.0, "train/loss": 1.0}\n', "line 1: a row without its step"),
    ],
)
def test_a_run_without_good_rows_is_an_error(tmp_path, content, message):
    (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(RunError, match=message):
        see_training(tmp_path)


def test_what_is_no_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match="is no run, or has not begun"):
        see_training(tmp_path / "none")
    with pytest.raises(RequestError, match="name one at least"):
        see_training([])
    run = write_run(tmp_path / "run")
    (run / "samples.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(RunError, match=r"samples\.jsonl, line 1: not a sample"):
        see_training(run)


def test_the_json_has_every_number_and_says_where_there_is_none(tmp_path):
    view = see_training(write_run(tmp_path / "run", steps=2, more={"train/kl": math.nan}))
    told = json.loads(json.dumps(view.to_json(), allow_nan=False))
    assert told["view"] == "training"
    assert told["runs"][0]["curves"]["train/kl"] == {"steps": [1, 2], "values": ["NaN", "NaN"]}


def test_the_terminal_shows_figures_layers_and_samples(tmp_path):
    run = write_run(tmp_path / "run")
    write_samples(run, *range(1, 40))
    text = said(see_training(run))
    for expected in ("run · state unknown, step 6", "eval/loss", "layers.1", "12 of 39 samples"):
        assert expected in text
    assert "天 grew ⏎ and [bold]grew" in text
    if cjk_font():
        assert "状态未知" in said(see_training(run), "zh")


def texts_in(drawn):
    return [text.get_text() for axes in drawn.axes for text in axes.texts]


def test_samples_are_pinned_to_their_steps_by_number(tmp_path):
    run = write_run(tmp_path / "run")
    write_samples(run, 3, 6)
    drawn = figure(see_training(run))
    marks = {text.get_text(): text.get_position()[0] for text in drawn.axes[0].texts}
    assert marks == {"1": 3, "2": 6}
    assert any(text.startswith("2 · 6: Once ▸ ") for text in texts_in(drawn))


def test_the_picture_has_a_line_for_each_loss_and_layer_with_its_values(tmp_path):
    drawn = figure(see_training(write_run(tmp_path / "run")), theme="dark")
    loss, layers = drawn.axes[0], drawn.axes[3]
    assert [list(line.get_ydata()) for line in loss.get_lines()][1] == [5 / 3, 5 / 6]
    named = {line.get_label(): list(line.get_ydata()) for line in layers.get_lines()}
    assert named == {"embed_tokens": [0.1] * 2, "layers.0": [0.5] * 2, "layers.1": [0.7] * 2}


def test_several_runs_lie_over_one_another(tmp_path):
    runs = [write_run(tmp_path / name, steps=steps) for name, steps in (("a", 6), ("b", 9))]
    write_samples(runs[1], 3)
    path = draw(see_training(runs), tmp_path / "two.svg")
    assert path.stat().st_size > 10_000
    rate = figure(see_training(runs)).axes[1]
    assert [line.get_label() for line in rate.get_lines()] == ["a", "b"]


def test_figures_that_are_no_numbers_are_said_to_be_none(tmp_path):
    run = write_run(tmp_path / "run", more={"train/kl": math.nan})
    drawn = figure(see_training(run, metrics=["train/kl"]))
    assert texts_in(drawn) == ["no number at any step"]
    assert "nan" in said(see_training(run, metrics=["train/kl"]))
