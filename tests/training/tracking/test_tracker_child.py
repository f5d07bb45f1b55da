"""A tracker's process beside others of its kind, and after its training is gone."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import psutil
import pytest
from filelock import FileLock, Timeout

from cloche.training.tracking import child
from cloche.training.tracking.child import open_alone
from cloche.training.tracking.process import ProcessError, ProcessSink
from cloche.training.tracking.rows import TrackedRun

HANGING = """
import sys, threading, time
from cloche.training.tracking import child
class Hanging:
    def __init__(self, run, identity):
        print("opened", flush=True)
    def add(self, row):
        time.sleep(60)
class Failing:
    def __init__(self, run, identity):
        threading.Thread(target=time.sleep, args=(60,)).start()
        raise ValueError("line one\\nline two")
child.LAST_SECONDS = 0.2
child.SINKS["aim"] = {sink}
sys.argv = ["child", "aim"]
child.main()
"""
ROW = '{"step": 1, "time": 0.0, "values": {"train/loss": 1.0}}'


@pytest.fixture
def run(tmp_path):
    (tmp_path / "runs" / "book" / "trackers").mkdir(parents=True)
    return TrackedRun(tmp_path / "runs" / "book", 0, {})


def is_held(path):
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def test_sinks_open_one_after_the_other_and_a_run_has_one_process(run, monkeypatch):
    mine, ours = run.folder / "trackers" / "aim.lock", run.folder.parent / ".aim.lock"
    seen = []

    class Looking:
        def __init__(self, run, identity):
            seen.append((is_held(mine), is_held(ours)))

        def add(self, row):
            raise AssertionError

        def close(self, *, finished):
            raise AssertionError

    monkeypatch.setitem(child.SINKS, "aim", Looking)
    with ExitStack() as held:
        open_alone(run, "aim", held)
        seen.append((is_held(mine), is_held(ours)))
    seen.append((is_held(mine), is_held(ours)))
    assert seen == [(True, True), (True, False), (False, False)]


@pytest.mark.skipif(not hasattr(os, "getppid") or os.name == "nt", reason="POSIX's parents")
def test_a_process_that_hangs_does_not_outlive_its_training_for_long(run, tmp_path):
    first = f'{{"folder": "{run.folder}", "from_step": 0, "options": {{}}}}'
    (tmp_path / "rows").write_text(f"{first}\n{ROW}\n")
    (tmp_path / "hanging.py").write_text(HANGING.replace("{sink}", "Hanging"))
    training = (
        "import subprocess, sys, time\n"
        f"rows, out = open({str(tmp_path / 'rows')!r}), open({str(tmp_path / 'out')!r}, 'w')\n"
        f"command = [sys.executable, '-P', {str(tmp_path / 'hanging.py')!r}]\n"
        "started = subprocess.Popen(command, stdin=rows, stdout=out, stderr=out)\n"
        "print(started.pid, flush=True)\n"
        f"while 'opened' not in open({str(tmp_path / 'out')!r}).read(): time.sleep(0.01)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-S", "-c", training]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        process = psutil.Process(int(parent.stdout.readline()))
        end = time.monotonic() + 60
        while "opened" not in (tmp_path / "out").read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
        assert process.is_running()
        parent.kill()
    psutil.wait_procs([process], timeout=30)
    assert not process.is_running()
    assert "Timeout" in (tmp_path / "out").read_text()  # and where it hung


def test_a_library_that_fails_and_leaves_a_thread_is_told_in_one_line(run):
    program = HANGING.replace("{sink}", "Failing")
    sink = ProcessSink(run, "aim", [sys.executable, "-P", "-c", program])
    began = time.monotonic()
    with pytest.raises(ProcessError, match="ValueError: line one line two"):
        sink.close(finished=True)
    assert time.monotonic() - began < 50  # its thread would sleep for 60


def test_a_process_that_was_killed_is_told_with_the_signal(run):
    sink = ProcessSink(run, "aim", [sys.executable, "-S", "-c", "print('fine'); input(); input()"])
    sink.flush()
    os.kill(sink._process.pid, signal.SIGKILL)
    sink._process.wait()
    with pytest.raises(ProcessError, match="its process was ended by SIGKILL"):
        sink.flush()
