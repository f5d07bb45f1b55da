"""kill -9 at random moments of trainings of every kind; each ends in the bytes of one left alone.

Run by `make bars`; a part of it: `python scripts/kill_bars.py --count 10 --minutes 5 --seed 3`.
A kill comes at a random moment of the command, after a random step, or in the middle of a save;
then the same command goes on with --resume, is killed again now and then, and runs to its end.
Where several processes train together, all are killed at once, or one of them alone.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from safetensors.numpy import load_file

CLOCHE = [sys.executable, "-m", "cloche"]
STEPS = 60
COMMON = {
    "train.steps": STEPS,
    "train.batch": 8,
    "train.save-every": 4,
    "train.eval-every": 15,
    "train.eval-batches": 1,
    "train.sample-tokens": 8,
    "train.precision": "float32",
    "train.compile": "off",
    "model.layers": 2,
    "model.width": 64,
    "text.tokenizer": "characters",
}
TEXT = {"model.context": 32}
PAIRS = {"model.family": "seq2seq", "model.dropout": 0.1}
AGAIN = 0.25  # how often the run that goes on is killed, too
LONGEST_WAIT = 120.0  # seconds for a moment that may never come, such as a save


@dataclass(frozen=True)
class Mode:
    """A way to train: of which source, with which options, in how many processes."""

    source: str
    options: Mapping[str, object] = field(default_factory=dict)
    processes: int = 1


MODES = {
    "muon, cosine, dropout": Mode(
        "text", TEXT | {"train.schedule": "cosine", "model.dropout": 0.1}
    ),
    "adamw, strided": Mode("text", TEXT | {"train.optimizer": "adamw", "data.stride": 7}),
    "constant, random places": Mode(
        "text", TEXT | {"train.schedule": "constant", "data.windows": "random"}
    ),
    "documents, in parts": Mode(
        "documents",
        TEXT | {"data.split-by": "document", "train.accumulate": 4, "model.dropout": 0.1},
    ),
    "average, z-loss": Mode("text", TEXT | {"train.average": 0.95, "train.z-loss": 0.01}),
    "bfloat16, smoothing over others": Mode(
        "text",
        TEXT
        | {
            "train.precision": "bfloat16",
            "train.label-smoothing": 0.1,
            "train.label-smoothing-over": "others",
        },
    ),
    "float16": Mode("text", TEXT | {"train.precision": "float16", "model.width": 32}),
    "bigram": Mode(
        "text", TEXT | {"model.family": "bigram", "model.layers": None, "model.width": None}
    ),
    "pairs, muon, in parts": Mode("pairs", PAIRS | {"train.accumulate": 2}),
    "pairs, adamw, average": Mode(
        "pairs", PAIRS | {"train.optimizer": "adamw", "train.average": 0.95}
    ),
    "2 processes, ddp": Mode("text", TEXT | {"train.parallel": "ddp", "model.dropout": 0.1}, 2),
    "2 processes, fsdp": Mode("text", TEXT | {"train.parallel": "fsdp"}, 2),
    "2 processes, fsdp, average": Mode(
        "text", TEXT | {"train.parallel": "fsdp", "train.average": 0.95}, 2
    ),
}


def kills(
    folder: Path, *, count: int = 100, seed: str | None = None, minutes: float | None = None
) -> bool:
    """Whether all of `count` kills, or of those that fit into the minutes, left the same bytes."""
    deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    chance = random.Random(os.environ.get("CLOCHE_BARS_SEED", "0") if seed is None else seed)
    sources = write_sources(folder)
    whole: dict[str, tuple[str, float]] = {}
    order: list[str] = []
    done = in_saves = different = 0
    while done < count and time.monotonic() < deadline:
        if not order:
            order = chance.sample(list(MODES), len(MODES))
        name = order.pop()
        command = command_of(MODES[name], sources)
        if name not in whole:
            began = time.monotonic()
            train(command, folder / "whole")
            whole[name] = digest(folder / "whole"), time.monotonic() - began
            shutil.rmtree(folder / "whole")
        expected, seconds = whole[name]
        run = folder / "killed"
        told = kill_now_and_then(command, run, chance, seconds=seconds)
        train(command, run)
        same = digest(run) == expected
        print(
            f"  {name}: killed {', then '.join(told) or 'too late'}; {'same' if same else 'OTHER'}",
            flush=True,
        )
        shutil.rmtree(run)
        done += len(told)
        in_saves += sum("save" in moment for moment in told)
        different += not same
    print(
        f"kills: {done} kill -9 of {count} in {len(whole)} of {len(MODES)} kinds of training, "
        f"{in_saves} of them while a checkpoint was being written; "
        + (f"{different} runs ended DIFFERENTLY" if different else "all ended byte for byte alike")
    )
    return different == 0


def write_sources(folder: Path) -> dict[str, Path]:
    """A text, a folder of documents and a table of pairs, always the same."""
    chance = random.Random(0)
    words = ["the", "a", "small", "old", "green", "fox", "hen", "river", "boat", "sees", "and"]

    def sentence() -> str:
        return " ".join(chance.choices(words, k=chance.randint(3, 9)))

    text, documents, pairs = folder / "text.txt", folder / "documents", folder / "pairs.tsv"
    text.write_text("".join(f"{sentence()}.\n" for _ in range(600)), encoding="utf-8")
    documents.mkdir()
    for number in range(60):
        path = documents / f"{number:02}.txt"
        path.write_text("".join(f"{sentence()}.\n" for _ in range(number % 7 + 1)), "utf-8")
    lines = [f"{line}\t{line[::-1]}\n" for line in (sentence() for _ in range(200))]
    pairs.write_text("source\ttarget\n" + "".join(lines), encoding="utf-8")
    return {"text": text, "documents": documents, "pairs": pairs}


def command_of(mode: Mode, sources: dict[str, Path]) -> list[str]:
    """The command of this training, that goes on where it can; --out follows."""
    words = [*CLOCHE, "train", str(sources[mode.source]), "--resume"]
    for name, value in {**COMMON, **mode.options}.items():
        if value is not None:
            words += [f"--{name}", str(value)]
    return [*words, "--nproc", str(mode.processes)] if mode.processes > 1 else words


def start(command: list[str], run: Path) -> subprocess.Popen:
    """The training, in a process of its own; what it says is in a file."""
    with open(run.with_suffix(".log"), "wb") as log:
        return subprocess.Popen(
            [*command, "--out", str(run)],
            stdout=log,
            stderr=log,
            # the same number of threads gives the same sums
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def train(command: list[str], run: Path) -> None:
    """Run to the end, or end all with what it said."""
    status = start(command, run).wait()
    if status:
        said = run.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"{' '.join(command)}: ended with {status}\n{said}")


def kill_now_and_then(
    command: list[str], run: Path, chance: random.Random, *, seconds: float, steps: int = STEPS
) -> list[str]:
    """Kill it once, now and then again; where each of the kills fell."""
    told = []
    again = True
    while again:
        where = kill_once(command, run, chance, seconds=seconds, steps=steps)
        again = where is not None and chance.random() < AGAIN
        told += [] if where is None else [where]
    return told


def kill_once(
    command: list[str], run: Path, chance: random.Random, *, seconds: float, steps: int
) -> str | None:
    """Start it, kill it at a random moment, and say where that was; None if it ended before."""
    way = chance.choices(["moment", "step", "save"], [1, 2, 2])[0]
    moment = time.monotonic() + chance.uniform(0.3, 0.9) * seconds
    begun = steps_of(run)
    step = chance.randint(begun, steps - 1) if begun < steps else steps
    pause = chance.uniform(0.0, 0.05)
    alone = chance.random() < 0.5
    process = start(command, run)
    longest = time.monotonic() + LONGEST_WAIT
    while process.poll() is None and time.monotonic() < longest:
        if way == "moment" and time.monotonic() >= moment:
            break
        if way != "moment" and steps_of(run) > step and (way == "step" or is_saving(run)):
            time.sleep(pause)
            break
        time.sleep(0.001)
    where = f"at step {steps_of(run)}"
    if not kill(process, chance if alone else None):
        return None
    return f"{where} in a save" if is_saving(run) else where


def kill(process: subprocess.Popen, one_of_many: random.Random | None) -> bool:
    """kill -9: all processes of the command, or only one of those that it started.

    False where it is over already.
    """
    if process.poll() is not None:
        return False
    started = psutil.Process(process.pid).children(recursive=True)
    workers = [other for other in started if "cloche" in _arguments(other)]
    if workers and one_of_many is not None:
        _kill(one_of_many.choice(workers))
    else:
        process.kill()
        for other in started:
            _kill(other)
    process.wait()
    psutil.wait_procs(started)
    return True


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return  # it went with the others


def steps_of(run: Path) -> int:
    """Steps that the run has done, as its rows tell."""
    try:
        rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return json.loads(rows[-1])["step"]
    except (OSError, IndexError, ValueError):  # no row yet, or half of one
        return 0


def is_saving(run: Path) -> bool:
    """Whether a checkpoint is being written, or was when its process died."""
    return any((run / "checkpoints").glob(".*.tmp"))


def digest(run: Path) -> str:
    """Of the last checkpoint's weights and of all that the optimizer remembers, bit by bit.

    Of the tensors and not of the files: shards that several processes wrote begin with a table
    whose order is left to chance.
    """
    found = hashlib.sha256()
    paths = sorted((run / "latest").resolve().rglob("*.safetensors"))
    for path in paths:
        for name, tensor in sorted(load_file(path).items()):
            found.update(f"{path.name} {name} {tensor.dtype} {tensor.shape}".encode())
            found.update(tensor.tobytes())
    return f"{len(paths)} files, {found.hexdigest()}"


def main() -> int:
    """Kill as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--minutes", type=float, help="begin no other run after so long")
    parser.add_argument("--seed", default="0")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloche-kills-") as folder:
        met = kills(Path(folder), count=given.count, seed=given.seed, minutes=given.minutes)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
