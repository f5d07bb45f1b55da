"""`cloche data prepare --executor`; what the engines do is in tests/data/test_cluster.py."""

import json
import os
import subprocess
import sys

import pytest

from cloche.cli.executors import problems_of
from cloche.cli.main import main

LINE = "The fox saw two stones near the river, and the old hen saw ten more.\n"
ON_SLURM = ["--executor", "slurm", "--executor-options", "time=1:00", "partition=cpu"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cloche.data.spec.TASK_BYTES", 1000)
    (tmp_path / "book.txt").write_text(LINE * 60, encoding="utf-8")
    return tmp_path


def cloche(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "cloche.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


def sbatch(folder, monkeypatch, body):
    """Slurm's command as a script of our own."""
    (folder / "bin").mkdir()
    (folder / "bin" / "sbatch").write_text(f"#!/bin/bash\n{body}\n")
    (folder / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")


def test_datatrove_prepares_what_processes_prepare(here, capsys):
    assert main(["data", "prepare", "book.txt", "--out", "one", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    main(["data", "prepare", "book.txt", "--out", "two", "--plan-only"])
    options = ["--executor", "datatrove", "--executor-options", "workers=2", "tasks=3"]
    done = cloche("data", "prepare", "--out", "two", *options, "--json")
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)
    assert len(list(here.glob("two/launches/*/completions/*"))) == 3
    assert {**one, "folder": "", "seconds": 0} == {**two, "folder": "", "seconds": 0}


def test_a_task_that_fails_under_datatrove_is_told_as_a_users_mistake(here):
    main(["data", "prepare", "book.txt", "--out", "two", "--plan-only"])
    (here / "book.txt").write_text(LINE * 61)
    done = cloche("data", "prepare", "--out", "two", "--executor", "datatrove")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("cloche: ")
    assert "has changed since its preparation began" in done.stderr.splitlines()[-1]


def test_slurm_gets_a_job_and_the_preparation_is_closed_later(here, monkeypatch, capsys):
    sbatch(here, monkeypatch, 'for last; do true; done; cat "$last" >> seen; echo Submitted 42')
    options = [*ON_SLURM, "tasks=2", "account=books"]
    assert main(["data", "prepare", "book.txt", "--out", "out", *options]) == 0
    told = capsys.readouterr().out
    assert "job 42" in told
    assert told.endswith("When it has ended: cloche data prepare --out out\n")
    seen = (here / "seen").read_text()
    for line in ("partition=cpu", "time=1:00", "array=0-1", "account=books"):
        assert f"#SBATCH --{line}\n" in seen
    assert main(["data", "prepare", "--out", "out"]) == 0


@pytest.mark.parametrize(
    ("body", "said"), [("exit 1", "sbatch refused"), (None, "sbatch is not on this machine")]
)
def test_a_job_that_slurm_does_not_take_is_a_users_mistake(here, monkeypatch, capsys, body, said):
    if body is None:
        monkeypatch.setenv("PATH", str(here))
    else:
        sbatch(here, monkeypatch, body)
    assert main(["data", "prepare", "book.txt", *ON_SLURM]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("executor", "entries", "said"),
    [
        ("processes", ["tasks=1"], "has no option 'tasks'; it has none"),
        ("datatrove", ["tasks"], "NAME=VALUE, got 'tasks'"),
        ("datatrove", ["tasks=0"], "a number above 0, got '0'"),
        ("ray", ["workers=many"], "a number above 0, got 'many'"),
        ("ray", ["partition=cpu"], "has no option 'partition'; it has address, "),
        ("slurm", ["time=1:00"], "needs --executor-options with partition"),
    ],
)
def test_an_option_an_executor_cannot_use_is_named(executor, entries, said):
    (problem,) = problems_of(executor, entries)
    assert said in problem


def test_an_executor_does_all_tasks_and_says_so(capsys):
    arguments = ["data", "prepare", "book.txt", "--executor", "ray", "--workers", "2"]
    assert main(arguments) == 2
    assert "workers=N with --executor-options" in capsys.readouterr().err
