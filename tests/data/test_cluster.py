"""Each engine runs in a process of its own: it starts processes, logs, and keeps state."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cloche.data.cluster import MOST_JOBS, RunTasks, local_executor, ray_executor, slurm_executor
from cloche.data.options import DataOptions
from cloche.data.plan import inspect_all, plan_text
from cloche.data.prepare import finish
from cloche.data.tasks import missing_tasks, open_work
from cloche.errors import DataError
from cloche.text.options import TextOptions
from cloche.text.sources import find_sources

SECONDS = 120  # on a busy machine; a few are enough on an idle one


def plan(folder, source):
    sources, text = find_sources([str(source)]), TextOptions(tokenizer="bpe", vocab_size=280)
    inspections = inspect_all(sources, text)
    plan_text(folder, sources, inspections, text=text, data=DataOptions(), tell=[].append)
    return folder


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("The quick brown fox saw seven old hens.\n" * 100, encoding="utf-8")
    return path


@pytest.fixture
def planned(tmp_path, source, monkeypatch):
    """A preparation of six tasks, none of them done."""
    monkeypatch.setattr("cloche.data.spec.TASK_BYTES", 700)
    folder = plan(tmp_path / "planned", source)
    assert len(missing(folder)) == 6
    return folder


@pytest.fixture
def alone(tmp_path, planned):
    """The same preparation, done without an engine."""
    folder = shutil.copytree(planned, tmp_path / "alone")
    finish(folder)
    return folder


@pytest.fixture
def short_folder():
    """A temporary folder with a short name: a Unix socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def missing(folder):
    return missing_tasks(folder, open_work(folder).spec)


def tasks_of(folder):
    """All bytes of the tasks."""
    paths = sorted((folder / "tasks").rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.is_file()}


def run(command, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {name: str(value) for name, value in environment.items()},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


LAUNCH = """
import json, shutil, sys
from pathlib import Path
from cloche.data.cluster import local_executor, ray_executor
from cloche.data.tasks import missing_tasks, open_work, task_folder

def launch(executor, folder, **options):
    spec = open_work(folder).spec
    places = [task_folder(folder, number, spec=spec) for number in range(len(spec.tasks))]
    times = lambda: {n: place.stat().st_mtime_ns for n, place in enumerate(places)}
    executor(folder, workers=2, **options).run()
    assert missing_tasks(folder, spec) == []
    before = times()
    shutil.rmtree(places[1])  # datatrove's notes still say that it is done
    executor(folder, workers=2, **options).run()
    after = times()
    executor(folder, workers=2, **options).run()  # nothing is missing
    assert times() == after
    print(json.dumps([number for number in after if after[number] != before[number]]))

def launch_on_ray(folder, temporary):
    import ray
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000,
        _temp_dir=temporary, _node_ip_address="127.0.0.1")
    try:
        launch(ray_executor, folder, tasks=2, mem_per_cpu_gb=0.25)
    finally:
        ray.shutdown()

if __name__ == "__main__":
    folder, temporary = Path(sys.argv[2]), sys.argv[3]
    if sys.argv[1] == "ray":
        launch_on_ray(folder, temporary)
    else:
        launch(local_executor, folder)
"""


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_datatrove_makes_the_bytes_that_finish_makes(
    engine, tmp_path, planned, alone, short_folder
):
    script = tmp_path / "launch.py"
    script.write_text(LAUNCH)
    output = run(
        [sys.executable, script, engine, planned, short_folder],
        RAY_USAGE_STATS_ENABLED=0,
        RAY_AUTH_MODE="disabled",  # else it writes a token into the home folder
        TMPDIR=short_folder,
    )
    assert json.loads(output.splitlines()[-1]) == [1]  # the relaunch did the missing task alone
    assert tasks_of(planned) == tasks_of(alone)
    assert finish(planned).train.metadata == finish(alone).train.metadata


SLURM = """
import sys
from pathlib import Path
from cloche.data.cluster import slurm_executor

slurm_executor(Path(sys.argv[1]), time="00:10:00", partition="cpu", tasks=2, mem_per_cpu_gb=1,
    sbatch_args={"account": "books"}).run()
"""
COMMANDS = {
    "sbatch": 'echo "$@" >> "$SEEN"; for last; do true; done; cat "$last" >> "$SEEN"\n'
    "echo Submitted batch job 42",
    "srun": 'while [ "$1" != 2 ] && [ "$1" != launch_pickled_pipeline ]; do shift; done; "$@"',
    "scontrol": "echo localhost",
}


def test_the_slurm_job_that_is_submitted_does_the_tasks(tmp_path, planned, alone):
    """Without a cluster: `sbatch` notes what it is given, and the array's jobs are run here."""
    programs, seen = tmp_path / "bin", tmp_path / "seen"
    programs.mkdir()
    for name, body in COMMANDS.items():
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.defpath}"  # this Python's programs are not on it
    run([sys.executable, "-c", SLURM, planned], PATH=path, SEEN=seen)
    assert len(missing(planned)) == 6
    for line in ("partition=cpu", "time=00:10:00", "array=0-1", "mem-per-cpu=1G", "account=books"):
        assert f"#SBATCH --{line}\n" in seen.read_text()
    assert "--qos" not in seen.read_text()
    (script,) = planned.glob("launches/*/launch_script.slurm")
    for job, left in ((1, [0, 2, 4]), (0, [])):
        node = {"SLURM_ARRAY_TASK_ID": job, "SLURM_NODELIST": "localhost"}
        run(["bash", script], PATH=path, **node)
        assert missing(planned) == left
    assert tasks_of(planned) == tasks_of(alone)


def test_a_launch_of_another_plan_is_refused(planned, source):
    spec = open_work(planned).spec
    step = RunTasks(str(planned), spec.fingerprint, tuple(range(6)))
    step(None, 1, 3)
    assert missing(planned) == [0, 2, 3, 5]
    source.write_text("Another text. " * 100)
    plan(planned, source)
    with pytest.raises(DataError, match="launch again"):
        step(None, 0, 3)


def test_a_missing_library_is_named_with_its_extra(planned, monkeypatch):
    for module in ("datatrove", *(f"datatrove.executor.{n}" for n in ("local", "ray", "slurm"))):
        monkeypatch.setitem(sys.modules, module, None)
    for executor in (local_executor, ray_executor):
        with pytest.raises(DataError, match=r"needs datatrove: pip install 'cloche\[cluster\]'"):
            executor(planned)
    with pytest.raises(DataError, match=r"cloche\[cluster\]"):
        slurm_executor(planned, time="1:00", partition="cpu")


def test_ray_is_asked_for_before_anything_is_launched(planned, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"needs ray: pip install 'cloche\[cluster\]'"):
        ray_executor(planned)


def test_a_job_has_several_tasks_where_there_are_too_many(planned, monkeypatch):
    assert MOST_JOBS <= 1001  # Slurm's bound where nobody has set another one
    monkeypatch.setattr("cloche.data.cluster.MOST_JOBS", 4)
    assert local_executor(planned).tasks == 4
    assert local_executor(planned, tasks=99).tasks == 6
    with pytest.raises(DataError, match="at least 1, got 0"):
        local_executor(planned, tasks=0)
    with pytest.raises(DataError, match="skip_completed cannot be chosen"):
        local_executor(planned, skip_completed=True)
