"""Trainings watched by the real trackers, on this machine alone, and what happens where one fails.

Run by `make bars`, or for some of them: `python scripts/tracker_bars.py aim trackio`. Needs the
libraries: pip install 'cloche[aim,mlflow,trackio]'.

For each tracker: what it stored of a run, read by its own interface (tracker_readings.py), equals
metrics.jsonl; the same of a run that was killed (kill -9) beyond its checkpoint and went on; three
runs that begin at once are all stored; and a tracker that is killed, hangs, or whose storage is
replaced by a file in mid-run leaves the weights as they are and is told of once. No address
outside this machine is asked for by its Python process.
"""

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
from kill_bars import digest, steps_of, write_sources

NAMES = ("tensorboard", "aim", "mlflow", "trackio")
STORES = {"aim": ".aim", "mlflow": "mlflow.db", "trackio": "trackio", "tensorboard": "events"}
STEPS, SAVE_EVERY = 400, 100
LIMIT_SECONDS = 600.0  # for a moment that must come, on a machine that others use
OPTIONS = {
    "train.steps": STEPS,
    "train.save-every": SAVE_EVERY,
    "train.eval-every": 50,
    "train.eval-batches": 1,
    "train.batch": 8,
    "train.sample-tokens": 8,
    "train.precision": "float32",
    "train.compile": "off",
    "model.layers": 2,
    "model.width": 64,
    "model.context": 64,
    "text.tokenizer": "characters",
}
LISTENER = """
import os, sys
def note(event, arguments):
    if event == "socket.connect":
        place = arguments[1][0] if isinstance(arguments[1], tuple) else "local"
    elif event == "socket.getaddrinfo":
        place = arguments[0]
    else:
        return
    if str(place) not in ("local", "localhost", "127.0.0.1", "::1", "None"):
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{event} {place}\\n")
sys.addaudithook(note)
"""


class Place:
    """A folder for runs and trackers of its own: no account, no settings of whoever runs this."""

    def __init__(self, folder: Path) -> None:
        self.runs, home, self.asked = folder / "runs", folder / "home", folder / "asked"
        for made in (self.runs, home, folder / "site"):
            made.mkdir(parents=True)
        self.text = write_sources(folder)["text"]
        (folder / "site" / "sitecustomize.py").write_text(LISTENER)
        foreign = ("AIM", "CI", "HF_", "MLFLOW", "PYTEST", "SWANLAB", "TRACKIO", "WANDB")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.environment = kept | {
            "HOME": str(home),
            "TRACKIO_DIR": str(self.runs / "trackio"),
            "PYTHONPATH": os.pathsep.join(
                [str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "ASKED": str(self.asked),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, name: str, run: str, **changed: object) -> subprocess.Popen:
        """A training that goes on where it can, watched by `name`; what it says is in RUN.said."""
        words = [sys.executable, "-m", "cloche", "train", str(self.text), "--resume"]
        words += ["--out", str(self.runs / run), "--train.trackers", name]
        for option, value in (OPTIONS | changed).items():
            words += [f"--{option}", str(value)]
        with open(self.runs / f"{run}.said", "wb") as said:
            return subprocess.Popen(words, stdout=said, stderr=said, env=self.environment)

    def finish(self, process: subprocess.Popen, run: str) -> None:
        """Wait for its end, or end all with what it said."""
        if process.wait() != 0:
            raise SystemExit(f"{run}: ended with {process.returncode}\n{self.said(run)}")

    def said(self, run: str) -> str:
        """What a training said."""
        return (self.runs / f"{run}.said").read_text(encoding="utf-8", errors="replace")

    def told(self, run: str) -> list[str]:
        """What it said of its tracker."""
        return [
            paragraph for paragraph in self.said(run).splitlines() if "The tracker " in paragraph
        ]

    def read(self, name: str, run: str) -> dict:
        """What the tracker stored."""
        script = Path(__file__).with_name("tracker_readings.py")
        words = [sys.executable, str(script), name, str(self.runs / run)]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{name} cannot be read:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])


def until(reached: Callable[[], bool], process: subprocess.Popen) -> None:
    """Wait for a moment of the training, which must not end before."""
    end = time.monotonic() + LIMIT_SECONDS
    while not reached():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit("the training ended, or stood still, before the moment waited for")
        time.sleep(0.005)


def wait_until_watched(place: Place, name: str, run: str, process: subprocess.Popen) -> None:
    """Hold the training after its first steps until the tracker has opened."""
    until(lambda: steps_of(place.runs / run) >= 5, process)
    if name != "tensorboard":
        folder = place.runs / run / "trackers"
        until((folder / f"{name}.lock").exists, process)  # it knows the run
        process.send_signal(signal.SIGSTOP)
        until((folder / f"{name}.id").exists, process)
        process.send_signal(signal.SIGCONT)


def differences(place: Place, name: str, run: str, *, twice: bool) -> list[str]:
    """Where the tracker's figures, samples, options and runs differ from the run's own files.

    Speeds of steps that were done `twice` are those of the first time.
    """
    found = place.read(name, run)
    expected = {}
    for row in json_lines(place.runs / run / "metrics.jsonl"):
        for figure, value in row.items():
            if figure not in ("step", "time"):
                expected[figure, row["step"]] = float(value)
    got = {(figure, step): value for figure, step, value in found["figures"]}
    wrong = [f"{key}: not stored" for key in expected.keys() - got.keys()]
    wrong += [f"{key}: stored, but no figure of the run" for key in got.keys() - expected.keys()]
    wrong += [
        f"{key}: {got[key]} instead of {value}"
        for key, value in expected.items()
        if key in got
        and not (twice and key[0].startswith("perf/"))
        and not math.isclose(got[key], value, rel_tol=1e-6)
    ]
    if len(found["figures"]) != len(got):
        wrong.append(f"{len(found['figures']) - len(got)} figures are stored twice")
    samples = json_lines(place.runs / run / "samples.jsonl")
    texts = sorted([row["step"], row["prompt"] + row["text"]] for row in samples)
    if sorted(map(list, found["samples"])) != texts:
        wrong.append(f"samples: {found['samples']} instead of {texts}")
    if "muon" not in json.dumps(found["options"]):
        wrong.append("no options")
    if found["runs"] != 1:
        wrong.append(f"{found['runs']} runs instead of one")
    return wrong


def json_lines(path: Path) -> list[dict]:
    """Each row of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def left_alone(place: Place, name: str) -> list[str]:
    """A whole run."""
    place.finish(place.start(name, "whole"), "whole")
    return differences(place, name, "whole", twice=False) + place.told("whole")


def killed(place: Place, name: str) -> list[str]:
    """A run that was killed beyond its checkpoint, and went on at once."""
    process = place.start(name, "killed")
    wait_until_watched(place, name, "killed", process)
    run = place.runs / "killed"
    until(lambda: steps_of(run) > SAVE_EVERY and steps_of(run) % SAVE_EVERY > 60, process)
    process.kill()
    process.wait()
    place.finish(place.start(name, "killed"), "killed")
    return differences(place, name, "killed", twice=True) + place.told("killed")


def at_once(place: Place, name: str) -> list[str]:
    """Three runs that begin at the same time, beside a tracker that holds nothing yet."""
    runs = [f"run-{number}" for number in range(3)]
    started = [place.start(name, run) for run in runs]
    for process, run in zip(started, runs, strict=True):
        wait_until_watched(place, name, run, process)
    for process, run in zip(started, runs, strict=True):
        place.finish(process, run)
    found = [wrong for run in runs for wrong in differences(place, name, run, twice=False)]
    return found + [line for run in runs for line in place.told(run)]


def kill_it(process: subprocess.Popen, _store: Path) -> None:
    """kill -9 of the tracker's process."""
    tracker_of(process).kill()


def hang_it(process: subprocess.Popen, _store: Path) -> None:
    """The tracker's process does nothing any more."""
    tracker_of(process).suspend()


def replace_storage(_process: subprocess.Popen, store: Path) -> None:
    """Where the tracker stores, there is something else all of a sudden."""
    was_folder = store.is_dir()
    store.rename(store.with_name("moved"))
    if was_folder:
        store.write_bytes(b"")
    else:
        store.mkdir()


def tracker_of(process: subprocess.Popen) -> psutil.Process:
    """The tracker's process of a training."""
    started = psutil.Process(process.pid).children(recursive=True)
    return next(one for one in started if any("tracking.child" in word for word in one.cmdline()))


def harmed(place: Place, name: str, expected: str) -> list[str]:
    """Each harm in mid-run: the same weights, one warning, and an end."""
    wrong = []
    for harm in (kill_it, hang_it, replace_storage):
        run = harm.__name__
        process = place.start(name, run)
        wait_until_watched(place, name, run, process)
        until((place.runs / STORES[name]).exists, process)
        harm(process, place.runs / STORES[name])
        until(lambda at=run: steps_of(place.runs / at) >= STEPS, process)
        began = time.monotonic()
        place.finish(process, run)
        seconds = time.monotonic() - began
        told = place.told(run)
        print(
            f"  {name}, {run}: its command ended {seconds:.0f} s after its last step; {told}",
            flush=True,
        )
        if digest(place.runs / run) != expected:
            wrong.append(f"{run}: OTHER WEIGHTS")
        if len(told) != 1:
            wrong.append(f"{run}: told {len(told)} times")
    return wrong


def trackers(folder: Path, *, names: tuple[str, ...] = NAMES) -> bool:
    """Whether each of the trackers keeps what it is given, and harms nothing where it fails."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        print(f"trackers: not installed: pip install 'cloche[{','.join(missing)}]'")
        return False
    plain = Place(folder / "none")
    plain.finish(plain.start("none", "plain"), "plain")
    expected = digest(plain.runs / "plain")
    met = True
    for name in names:
        found: dict[str, list[str]] = {}
        for job in (left_alone, killed, at_once):
            place = Place(folder / f"{name}-{job.__name__}")
            found[job.__name__] = job(place, name)
            found[f"{job.__name__}, weights"] = [
                f"{run.name}: OTHER WEIGHTS"
                for run in place.runs.iterdir()
                if (run / "latest").exists() and digest(run) != expected
            ]
            found[f"{job.__name__}, network"] = (
                place.asked.read_text().splitlines() if place.asked.exists() else []
            )
            shutil.rmtree(folder / f"{name}-{job.__name__}")
            print(f"  {name}, {job.__name__}: read", flush=True)
        if name != "tensorboard":  # it has no process, and its storage is the run's folder
            found["harmed"] = harmed(Place(folder / f"{name}-harmed"), name, expected)
        wrong = [f"  {job}: {line}" for job, lines in found.items() for line in lines]
        print(f"trackers, {name}: {'all as it should be' if not wrong else 'WRONG'}")
        print("".join(f"{line}\n" for line in wrong[:20]), end="", flush=True)
        met = met and not wrong
    return met


def main() -> int:
    """Those named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all when none is given")
    names = tuple(parser.parse_args().names) or NAMES
    with tempfile.TemporaryDirectory(prefix="cloche-trackers-") as folder:
        return 0 if trackers(Path(folder), names=names) else 1


if __name__ == "__main__":
    sys.exit(main())
