"""A view at every checkpoint of a run: strips, animations, damaged checkpoints."""

import io
import json
import re
from functools import partial

import pytest
from PIL import Image, ImageSequence
from rich.console import Console
from run_folders import damage, write_checkpoints

from cloche.errors import RequestError, RunError, SettingError
from cloche.lens.drawing import figure
from cloche.lens.next_token import see_next_token
from cloche.lens.over_time import see_over_time
from cloche.lens.over_time_animation import animate
from cloche.lens.rendering import render
from cloche.run import load


def see(lm):
    return see_next_token(lm, "abcd", seed=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_checkpoints(tmp_path_factory.mktemp("runs") / "book", 10, 20, 30)


@pytest.fixture(scope="module")
def view(run):
    return see_over_time(run, see)


def test_each_frame_is_the_view_of_its_checkpoint(run, view):
    assert [frame.step for frame in view.frames] == [10, 20, 30]
    for frame in view.frames:
        alone = see(load(run, checkpoint=str(frame.step)))
        assert frame.view.to_json() == alone.to_json()
    assert (view.of, view.provenance.checkpoint) == ("next-token", "step-000010 … step-000030")


def test_its_json_has_every_views_own(view):
    told = json.loads(json.dumps(view.to_json(), allow_nan=False))
    assert (told["view"], told["of"]) == ("over-time", "next-token")
    assert [frame["step"] for frame in told["frames"]] == [10, 20, 30]
    assert told["frames"][1]["view"] == "next-token"
    assert told["frames"][1]["provenance"]["checkpoint"] == "step-000020"


def test_some_of_the_checkpoints_are_evenly_spread(run):
    assert [frame.step for frame in see_over_time(run, see, most=2).frames] == [10, 30]
    inside = see_over_time(run / "checkpoints" / "step-000010", see, most=1)
    assert [frame.step for frame in inside.frames] == [30]


def test_a_damaged_checkpoint_is_left_out_loudly(tmp_path):
    run = write_checkpoints(tmp_path / "run", 1, 2)
    damage(run / "checkpoints" / "step-000001")
    told = []
    view = see_over_time(run, see, warn=told.append)
    assert [frame.step for frame in view.frames] == [2]
    assert [skipped.step for skipped in view.skipped] == [1]
    assert told
    assert told[0].startswith("step-000001 is left out: ")
    damage(run / "checkpoints" / "step-000002")
    with pytest.raises(RunError, match="has no whole checkpoint"):
        see_over_time(run, see, warn=told.append)


def test_a_run_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(RunError, match="holds no checkpoints to look at over time"):
        see_over_time(tmp_path, see)
    with pytest.raises(RequestError, match="most must be at least 1"):
        see_over_time(tmp_path, see, most=0)


def test_what_a_view_refuses_is_passed_on(run):
    with pytest.raises(RequestError):
        see_over_time(run, partial(see_next_token, text="a" * 1000))


def test_a_strip_has_a_panel_for_each_checkpoint(view):
    drawn = figure(view)
    titles = [axes.get_title() for axes in drawn.axes if axes.get_title()]
    assert titles == ["step 10", "step 20", "step 30"]


def test_a_gif_has_a_frame_for_each_checkpoint(view, tmp_path):
    with Image.open(animate(view, tmp_path / "grown.gif", seconds=0.5)) as found:
        assert [page.info["duration"] for page in ImageSequence.Iterator(found)] == [500] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["grown.gif"]


def test_a_page_has_every_frame_and_loads_nothing(view, tmp_path):
    page = animate(view, tmp_path / "grown.html", theme="dark").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert re.findall(r"<figcaption>(.*?)</figcaption>", page) == ["step 10", "step 20", "step 30"]
    assert 'max="2"' in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_other_endings_are_refused(view, tmp_path):
    with pytest.raises(SettingError, match=r"ends in \.gif or \.html, got a\.mp4"):
        animate(view, tmp_path / "a.mp4")
    with pytest.raises(SettingError, match="seconds must be from"):
        animate(view, tmp_path / "a.gif", seconds=0)


def test_the_terminal_shows_each_step(view):
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(render(view))
    said = console.export_text()
    assert all(f"step {step}" in said for step in (10, 20, 30))
