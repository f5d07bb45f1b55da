"""A tracker against sinks that raise, hang and crawl: the training neither stops nor waits."""

import threading
import time

import pytest

from cloche.training.events import (
    CheckpointSaved,
    Evaluated,
    Notice,
    RunEnded,
    RunStarted,
    Sampled,
    StepDone,
    StepSkipped,
)
from cloche.training.tracking.rows import Figures, Writing
from cloche.training.tracking.tracker import Tracker, close_trackers

SOON = 5.0  # seconds in which a thread must have got to do what it was asked


class Recorder:
    def __init__(self):
        self.rows, self.finished, self.flushed, self.threads = [], None, 0, set()
        self.abandoned = threading.Event()

    def add(self, row):
        self.rows.append(row)
        self.threads.add(threading.current_thread())

    def flush(self):
        self.flushed = len(self.rows)

    def close(self, *, finished):
        self.finished = finished

    def abandon(self):
        self.abandoned.set()


class Hanging(Recorder):
    """Does not return from its first row before it is let go."""

    def __init__(self):
        super().__init__()
        self.reached, self.let_go = threading.Event(), threading.Event()

    def add(self, row):
        self.reached.set()
        self.let_go.wait(30)
        super().add(row)


class Raising(Recorder):
    def __init__(self, exc):
        super().__init__()
        self.exc = exc

    def add(self, row):
        raise self.exc


@pytest.fixture
def told():
    return []


@pytest.fixture
def track(told):
    """Makes trackers with no pause, and lets every thread go at the end."""
    made = []

    def make(sink, **changed):
        tracker = Tracker("fake", lambda: sink, tell=told.append, pause_seconds=0, **changed)
        made.append((tracker, sink))
        return tracker

    yield make
    for tracker, sink in made:
        if isinstance(sink, Hanging):
            sink.let_go.set()
        tracker.begin_closing()
        tracker._thread.join(SOON)
        assert not tracker._thread.is_alive()


def step_done(step):
    return StepDone(
        step=step,
        steps=10,
        progress=step / 10,
        loss=2.0,
        learning_rate=0.1,
        gradient_norm=0.5,
        tokens_per_second=100.0,
        seconds_left=1.0,
        metrics={"perf/mfu": 1},
    )


def until(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_figures_and_samples_reach_the_sink_in_order_in_a_thread_of_its_own(track, told):
    sink = Recorder()
    tracker = track(sink)
    tracker(RunStarted(0, 10, 100, "cpu", "float32"))
    tracker(step_done(1))
    tracker(Evaluated(1, {"eval/loss": 3.0}, best=True))
    tracker(Sampled(1, "Once", " upon"))
    tracker(StepSkipped(2, 10, "no number", warning=True))
    tracker(Notice("something else"))
    tracker(CheckpointSaved(1, __import__("pathlib").Path("x"), best=True))
    tracker(RunEnded(1, finished=True, seconds=1.0))
    close_trackers([tracker])
    first, second, third, fourth = sink.rows
    assert first == Figures(
        1,
        first.time,
        {
            "train/loss": 2.0,
            "train/learning_rate": 0.1,
            "train/grad_norm": 0.5,
            "perf/tokens_per_sec": 100.0,
            "perf/mfu": 1.0,
        },
    )
    assert abs(first.time - time.time()) < 60
    assert second.values == {"eval/loss": 3.0}
    assert third == Writing(1, third.time, "Once", " upon")
    assert fourth == Figures(2, fourth.time, {"train/skipped": 1.0})
    assert sink.finished is True
    assert sink.flushed == 4
    assert threading.current_thread() not in sink.threads
    assert told == []


def test_numbers_reach_the_sink_as_plain_floats(track):
    sink = Recorder()
    tracker = track(sink)
    tracker(step_done(1))
    close_trackers([tracker])
    assert {type(value) for value in sink.rows[0].values.values()} == {float}


def test_a_run_that_was_interrupted_is_closed_as_unfinished(track):
    interrupted, failed = Recorder(), Recorder()
    first, second = track(interrupted), track(failed)
    first(RunEnded(3, finished=False, seconds=1.0))
    close_trackers([first, second])  # the second was never told of an end
    assert interrupted.finished is False
    assert failed.finished is False


def test_rows_are_shown_while_the_run_goes_on(track):
    sink = Recorder()
    track(sink)(step_done(1))
    until(lambda: sink.flushed == 1)


@pytest.mark.parametrize("exc", [ValueError("no room"), SystemExit(3), OSError(28, "No space")])
def test_an_exception_is_told_once_and_the_sink_dropped(track, told, exc):
    sink = Raising(exc)
    tracker = track(sink)
    tracker(step_done(1))
    until(lambda: sink.abandoned.is_set())
    assert told == []  # it is the training's thread that tells
    for step in range(2, 5):
        tracker(step_done(step))
    close_trackers([tracker])
    (notice,) = told
    assert notice.warning
    assert notice.text == (
        f"The tracker fake stops: {type(exc).__name__}: {exc}. The training goes on."
    )


def test_a_sink_that_cannot_be_opened_is_told_at_the_end_at_the_latest(told):
    def open_sink():
        raise RuntimeError("no such server")

    tracker = Tracker("fake", open_sink, tell=told.append)
    close_trackers([tracker])
    assert "RuntimeError: no such server" in told[0].text
    assert len(told) == 1


def test_telling_a_failure_may_come_back_to_the_tracker(track):
    heard = []
    tracker = track(Raising(ValueError("broken")))

    def tell_all(notice):
        heard.append(notice)
        tracker(notice)

    tracker._tell = tell_all
    tracker(step_done(1))
    close_trackers([tracker])
    assert len(heard) == 1


def test_a_hanging_sink_stops_nobody_and_is_left_behind(track, told):
    hanging, healthy = Hanging(), Recorder()
    trackers = [track(hanging), track(healthy)]
    began = time.monotonic()
    for step in range(1, 1001):
        for tracker in trackers:
            tracker(step_done(step))
    assert hanging.reached.wait(SOON)
    close_trackers(trackers, seconds=0.3)
    assert time.monotonic() - began < SOON  # it would hang for 30
    assert hanging.abandoned.is_set()
    assert len(healthy.rows) == 1000
    assert healthy.finished is not None
    assert [notice.text for notice in told] == [
        "The tracker fake did not finish in time and was left behind; its last rows may be missing."
    ]


def test_a_sink_that_hangs_while_it_opens_is_left_behind(told):
    let_go = threading.Event()

    def open_sink():
        let_go.wait(30)
        return Recorder()

    tracker = Tracker("fake", open_sink, tell=told.append)
    close_trackers([tracker], seconds=0.05)
    assert "did not finish in time" in told[0].text
    let_go.set()
    tracker._thread.join(SOON)


def test_rows_that_find_the_queue_full_are_counted_and_said_once(track, told):
    sink = Hanging()
    tracker = track(sink, capacity=10)
    tracker(step_done(1))
    assert sink.reached.wait(SOON)  # it has taken the first row, and the queue is empty
    for step in range(2, 102):
        tracker(step_done(step))
    assert told == []
    sink.let_go.set()
    close_trackers([tracker])
    assert [row.step for row in sink.rows] == list(range(1, 12))
    assert [notice.text for notice in told] == [
        "The tracker fake was too slow: 90 rows were not passed on; metrics.jsonl has all."
    ]


def test_a_slow_sink_gets_all_its_rows(track):
    class Slow(Recorder):
        def add(self, row):
            time.sleep(0.002)
            super().add(row)

    sink = Slow()
    tracker = track(sink)
    for step in range(1, 101):
        tracker(step_done(step))
    close_trackers([tracker])
    assert [row.step for row in sink.rows] == list(range(1, 101))


def test_trackers_close_at_the_same_time(told):
    let_go = threading.Event()

    class SlowToClose(Recorder):
        def close(self, *, finished):
            let_go.wait(30)

    trackers = [Tracker(f"fake {n}", SlowToClose, tell=told.append) for n in range(8)]
    began = time.monotonic()
    close_trackers(trackers, seconds=0.5)
    assert time.monotonic() - began < 3.5  # one after the other it would be 4
    let_go.set()
    for tracker in trackers:
        tracker._thread.join(SOON)


def test_rows_after_the_end_are_not_taken(track):
    sink = Recorder()
    tracker = track(sink)
    close_trackers([tracker])
    tracker(step_done(1))
    assert sink.rows == []


def test_a_tracker_wakes_a_few_times_a_second_at_most(told):
    class Counting(Recorder):
        flushes = 0

        def flush(self):
            self.flushes += 1

    sink = Counting()
    tracker = Tracker("fake", lambda: sink, tell=told.append, pause_seconds=30)
    for step in range(1, 200):
        tracker(step_done(step))
    close_trackers([tracker])  # ends the pause
    assert len(sink.rows) == 199
    assert sink.flushes == 1
