"""A tracker's process: what reaches it, and what is told of one that fails, ends or hangs."""

import io
import json
import os
import sys
import time
from pathlib import Path

import pytest

from cloche.training.tracking.child import pass_on
from cloche.training.tracking.identity import Identity
from cloche.training.tracking.process import ProcessError, ProcessSink
from cloche.training.tracking.rows import Figures, TrackedRun, Writing

ROW = Figures(1, 5.0, {"train/loss": float("nan"), "train/grad_norm/layers.0": 0.5})
SAMPLE = Writing(1, 6.0, "床前", "明月光\n")


@pytest.fixture
def run(tmp_path):
    return TrackedRun(tmp_path, 3, {"minutes": 5.0, "train.trackers": ["fake"]})


def start(run, program):
    return ProcessSink(run, "fake", [sys.executable, "-S", "-c", program])


def log_of(run):
    return run.folder / "trackers" / "fake.log"


COPY = """
import os, sys
with open(os.path.join(sys.argv[1] if len(sys.argv) > 1 else ".", "got"), "w") as got:
    for line in sys.stdin:
        got.write(line)
print("on stdout"); print("on stderr", file=sys.stderr)
"""


def test_a_process_gets_the_run_every_row_and_the_end(run, capfd):
    command = [sys.executable, "-S", "-c", COPY, str(run.folder)]
    sink = ProcessSink(run, "fake", command)
    sink.add(ROW)
    sink.add(SAMPLE)
    sink.flush()
    sink.close(finished=True)
    first, figures, sample, end = (
        json.loads(line) for line in (run.folder / "got").read_text().splitlines()
    )
    assert first == {"folder": str(run.folder), "from_step": 3, "options": run.options}
    assert figures["step"] == 1
    assert figures["values"]["train/grad_norm/layers.0"] == 0.5
    assert sample["text"] == "明月光\n"
    assert end == {"finished": True}
    assert capfd.readouterr() == ("", "")
    assert log_of(run).read_text().split("\n")[:2] == ["on stdout", "on stderr"] or log_of(
        run
    ).read_text().split("\n")[:2] == ["on stderr", "on stdout"]


def test_a_process_is_told_of_the_run_before_there_is_a_row(run):
    program = "import sys; print(sys.stdin.readline(), flush=True); sys.stdin.read()"
    sink = start(run, program)
    end = time.monotonic() + 60
    while '"from_step": 3' not in log_of(run).read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    sink.close(finished=True)


def test_what_is_sent_comes_out_as_it_went_in(run):
    class Kept:
        def __init__(self, opened):
            self.opened, self.rows, self.finished = opened, [], None

        def add(self, row):
            self.rows.append(row)

        def close(self, *, finished):
            self.finished = finished

    kept = []

    def open_sink(opened):
        kept.append(Kept(opened))
        return kept[0]

    command = [sys.executable, "-S", "-c", COPY, str(run.folder)]
    sink = ProcessSink(run, "fake", command)
    sink.add(SAMPLE)
    sink.close(finished=True)
    lines = io.StringIO((run.folder / "got").read_text())
    pass_on(lines, open_sink, at_end=lambda: None)
    assert kept[0].opened == run
    assert kept[0].rows == [SAMPLE]
    assert kept[0].finished is True


def test_rows_without_an_end_close_the_sink_as_unfinished(run):
    ends = []

    class Kept:
        def add(self, row):
            ends.append(row)

        def close(self, *, finished):
            ends.append(finished)

    first = json.dumps({"folder": "/x", "from_step": 0, "options": {}})
    pass_on([first + "\n"], lambda _run: Kept(), at_end=lambda: None)
    assert ends == [False]


def test_a_process_that_raises_is_told_with_its_last_words_and_its_log(run):
    sink = start(run, "import sys; sys.stdin.readline(); raise ValueError('no such project')")

    def send_rows():
        for _ in range(500):
            sink.add(ROW)
            sink.flush()
            time.sleep(0.01)

    with pytest.raises(ProcessError, match="ValueError: no such project") as told:
        send_rows()
    assert str(log_of(run)) in str(told.value)
    assert "Traceback" in log_of(run).read_text()


def test_a_process_that_fails_while_it_closes_is_told(run):
    sink = start(run, "import sys; sys.stdin.read(); sys.exit('upload failed')")
    sink.add(ROW)
    sink.flush()
    with pytest.raises(ProcessError, match="upload failed"):
        sink.close(finished=True)


def test_a_process_that_ends_without_a_word_is_told_with_its_status(run):
    sink = start(run, "import os, sys; sys.stdin.read(); os._exit(7)")
    with pytest.raises(ProcessError, match="ended with status 7"):
        sink.close(finished=True)


def test_a_process_that_hangs_is_ended_when_it_is_abandoned(run):
    sink = start(run, "import time; time.sleep(60)")
    sink.add(ROW)
    sink.flush()
    sink.abandon()
    assert sink._process.returncode is not None
    with pytest.raises(ProcessError):
        sink.close(finished=False)


def test_a_process_does_not_hear_the_terminals_ctrl_c(run):
    sink = start(run, "import sys; sys.stdin.read()")
    assert os.getpgid(sink._process.pid) != os.getpgid(0)
    sink.close(finished=True)


def test_a_real_child_says_which_library_is_absent(run):
    command = [
        sys.executable,
        "-P",
        "-c",
        "import sys; sys.modules['aim'] = None; "
        "sys.argv = ['child', 'aim']; from cloche.training.tracking.child import main; main()",
    ]
    sink = ProcessSink(run, "aim", command)
    with pytest.raises(ProcessError, match=r"ModuleNotFoundError: .*aim"):
        sink.close(finished=True)


def test_no_library_tells_its_makers_of_its_use(run, monkeypatch):
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "as the user has it")
    (run.folder / "aim.py").write_text(
        "from os import environ\n"
        "raise ValueError(environ['DO_NOT_TRACK'], environ['WANDB_ERROR_REPORTING'])\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(run.folder)!r}); sys.argv = ['child', 'aim']; "
        "from cloche.training.tracking.child import main; main()"
    )
    sink = ProcessSink(run, "aim", [sys.executable, "-P", "-c", program])
    with pytest.raises(ProcessError, match=r"\('true', 'as the user has it'\)"):
        sink.close(finished=True)


def test_an_identity_is_recalled_by_a_run_that_goes_on_only(tmp_path):
    (tmp_path / "trackers").mkdir()
    begun, resumed = TrackedRun(tmp_path, 0, {}), TrackedRun(tmp_path, 5, {})
    assert Identity(resumed, "aim").recall() is None
    Identity(begun, "aim").keep("abc")
    assert Identity(resumed, "aim").recall() == "abc"
    assert Identity(resumed, "wandb").recall() is None
    assert Identity(begun, "aim").recall() is None


def test_the_child_loads_no_torch():
    program = (
        "import sys, cloche.training.tracking.child; "
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", program]) == 0


def test_a_run_is_called_after_its_folder():
    assert TrackedRun(Path("/runs/book"), 0, {}).name == "book"
