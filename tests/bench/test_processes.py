import os
import signal
import sys

import pytest

from cloche.bench import processes
from cloche.bench.processes import TrainerProcess
from cloche.bench.sizes import BenchSize, TrainerSetup
from cloche.errors import ClocheError

TINY = BenchSize("tiny", layers=1, heads=1, width=8, context=4, vocab_size=10, batch=2)


def test_a_process_is_asked_again_and_again_and_ends_with_its_context():
    with TrainerProcess(TrainerSetup("textbook", TINY, batch=2)) as side:
        assert side.about["precision"] == "float32"
        assert side.steps(0.0)["tokens"] == 2 * 4
        assert side.steps(0.05)["steps"] >= 1
        assert side.memory()["peak_bytes"] > 1_000_000
        process = side._process
        assert process.poll() is None
    assert process.poll() == 0


def speaking(script: str, monkeypatch) -> TrainerProcess:
    """A process that runs `script` instead of training."""
    monkeypatch.setattr(processes, "COMMAND", (sys.executable, "-c", script))
    return TrainerProcess(TrainerSetup("textbook", TINY, batch=2))


def test_a_process_that_is_killed_is_told_with_its_status(monkeypatch):
    script = "for _ in range(9): input(); print('{}', flush=True)"
    with speaking(script, monkeypatch) as side:
        assert side.steps(0.0) == {}
        os.kill(side._process.pid, signal.SIGKILL)
        with pytest.raises(ClocheError, match=r"textbook at tiny, batch 2, .* -9 \(killed: memory"):
            side.steps(0.0)


def test_a_process_that_fails_is_told_with_what_it_wrote(monkeypatch):
    with pytest.raises(ClocheError, match=r"status 1:\nno such thing$"):
        speaking("import sys; input(); sys.exit('no such thing')", monkeypatch)


def test_what_a_user_can_mend_comes_without_a_traceback(monkeypatch):
    script = 'input(); print(\'{"error": "there is no cuda here"}\')'
    with pytest.raises(ClocheError, match=r"^there is no cuda here$"):
        speaking(script, monkeypatch)
