"""From `--train.trackers` to listeners: names, absent libraries, and a real training watched."""

import json
import sys

import pytest
from small_runs import SMALL, notices
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cloche.errors import SettingError
from cloche.training.events import RunEnded
from cloche.training.options import RunOptions
from cloche.training.tracking import open as opening
from cloche.training.tracking.names import EXTRAS, split_names, tracker_problems
from cloche.training.tracking.open import missing_libraries, open_trackers
from cloche.training.tracking.tracker import close_trackers


def open_these(names, run, tell=print):
    return open_trackers(names, run=run, options=RunOptions(), from_step=0, tell=tell)


def test_none_is_nobody(tmp_path):
    assert open_these(("none",), tmp_path) == []
    assert open_these((), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_tracker_is_told_with_the_nearest_name(tmp_path):
    with pytest.raises(SettingError, match=r"no tracker 'tensorbord', did you mean tensorboard\?"):
        open_these(("tensorbord",), tmp_path)


def test_all_problems_of_a_list_are_told(tmp_path):
    problems = tracker_problems(("none", "wandb", "comet"))
    assert len(problems) == 2
    assert "'comet'" in problems[0]
    assert "says none and also wandb, comet" in problems[1]


@pytest.mark.parametrize("name", EXTRAS)
def test_an_absent_library_is_told_with_its_extra_before_anything_starts(
    name, tmp_path, monkeypatch
):
    monkeypatch.setattr(opening, "find_spec", lambda _name: None)
    with pytest.raises(SettingError, match=rf"pip install 'cloche\[{name}\]'"):
        open_these(("tensorboard", name), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_tracker_left_is_not_taken_for_its_library(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert missing_libraries(("wandb",)) != []


def test_names_may_stand_in_one_word_with_commas_between():
    assert split_names(("tensorboard,wandb", " aim ,wandb", "")) == ["tensorboard", "wandb", "aim"]
    assert tracker_problems(("tensorboard,wandb",)) == []
    assert len(tracker_problems(("tensorboard,none,comet",))) == 2


def test_a_tracker_named_twice_is_opened_once(tmp_path):
    trackers = open_these(("tensorboard", "tensorboard"), tmp_path)
    close_trackers(trackers)
    assert [tracker.name for tracker in trackers] == ["tensorboard"]
    assert len(list((tmp_path / "events").iterdir())) == 1


def test_event_files_hold_what_metrics_jsonl_holds(tmp_path, book):
    import cloche

    run, watched = tmp_path / "run", tmp_path / "watched"
    watched.mkdir()
    events = []
    trackers = open_these(("tensorboard",), watched, tell=events.append)
    options = {**SMALL, "train.trackers": ["none"]}
    cloche.train(book, out=run, options=options, listeners=[events.append, *trackers])
    close_trackers(trackers)
    reader = EventAccumulator(str(watched / "events"))
    reader.Reload()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for name in ("train/loss", "train/grad_norm", "perf/tokens_per_sec", "eval/loss"):
        written = {row["step"]: row[name] for row in rows if name in row}
        read = {event.step: event.value for event in reader.Scalars(name)}
        assert read == pytest.approx(written, rel=1e-6)
    assert len(reader.Tensors("sample")) == 2
    assert "tracker" not in notices(events)
    assert any(isinstance(event, RunEnded) for event in events)
