"""The bar of planning: what `cloche plan` says beforehand against what `cloche train` then takes.

Run by `make bars`; alone: `python scripts/plan_bars.py [--seconds 45]`, with nothing else running.
Time is that of the whole command, start-up, evaluations and checkpoints included. Memory is what
the process grows by once its libraries are loaded, by the kernel's own count of the peak.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CLOCHE = [sys.executable, "-m", "cloche"]
TIME_WITHIN, MEMORY_WITHIN = 0.2, 0.1
TRAINED = """
import sys
from pathlib import Path
from cloche.cli import train
from cloche.training import start, terminal
from cloche.training.statistics import peak_resident_bytes
import psutil
before = psutil.Process().memory_info().rss
code = train.main(sys.argv[2:])
Path(sys.argv[1]).write_text(str(peak_resident_bytes() - before))
raise SystemExit(code)
"""


@dataclass(frozen=True)
class Case:
    """One training: a text of the data folder, and options."""

    text: str
    options: str


CASES = (
    Case("shakespeare.txt", "--model.layers 4 --model.width 128 --model.context 128"),
    Case("shakespeare.txt", "--model.layers 6 --model.width 384 --model.context 256"),
    Case(
        "shakespeare.txt",
        "--text.tokenizer characters --model.family gpt --model.layers 4 --model.width 128 "
        "--model.context 64 --train.batch 12 --train.precision float32 --train.optimizer adamw",
    ),
    Case(
        "shakespeare.txt",
        "--model.layers 5 --model.width 256 --model.context 512 --train.batch 16 "
        "--train.accumulate 2 --train.optimizer adamw",
    ),
    Case("tangshi-gbk.txt", "--model.layers 4 --model.width 192 --model.dropout 0.1"),
    Case(
        "shakespeare.txt",
        "--text.tokenizer gpt2 --model.family gpt2 --model.size small --model.context 256 "
        "--train.batch 4 --train.optimizer adamw",
    ),
)


def plan(case: Case, steps: int) -> dict:
    """What is said beforehand."""
    asked = [*CLOCHE, "plan", data(case), *case.options.split(), "--train.steps", str(steps)]
    done = subprocess.run([*asked, "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def train(case: Case, steps: int, folder: Path) -> tuple[float, float]:
    """Seconds of the command, and bytes that it grew by."""
    asked = [data(case), *case.options.split(), "--train.steps", str(steps)]
    note = folder / "peak"
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", TRAINED, str(note), *asked, "--out", str(folder / "run")],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - began, float(note.read_text())


def data(case: Case) -> str:
    """Where the text lies."""
    folder = os.environ.get("CLOCHE_DATA")
    if not folder:
        raise SystemExit(f"CLOCHE_DATA must name a folder with {case.text}")
    return str(Path(folder) / case.text)


def plans(_: Path, *, seconds: float = 45.0) -> bool:
    """Every case, trained for about so many seconds; whether all were told beforehand."""
    met = True
    for number, case in enumerate(CASES, start=1):
        with tempfile.TemporaryDirectory() as folder:
            step = plan(case, 100)["time"]["seconds"] / 100
            steps = max(20, round(seconds / step))
            said = plan(case, steps)
            took, grew = train(case, steps, Path(folder))
        of_time = said["time"]["seconds"] / took
        of_memory = said["memory"]["total"] / grew
        met &= abs(of_time - 1) <= TIME_WITHIN and abs(of_memory - 1) <= MEMORY_WITHIN
        print(
            f"plan {number}: {case.text} {case.options}, {steps} steps: predicted "
            f"{said['time']['seconds']:.1f} of {took:.1f} s ({of_time:.2f}), "
            f"{said['memory']['total'] / 1e6:,.0f} of {grew / 1e6:,.0f} MB ({of_memory:.2f})",
            flush=True,
        )
    return met


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=45.0)
    sys.exit(not plans(Path(), seconds=parser.parse_args().seconds))
