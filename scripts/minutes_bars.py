"""The bar of `--minutes`: the size that cloche chooses against a fixed one, in the same time.

Run by `make bars`; alone: `python scripts/minutes_bars.py [--minutes 1 5 20]`, with nothing else
running. Both train at once, with one thread each, so that whatever else the machine does meets
both. Each is judged by `cloche eval` over the whole validation part, at its best checkpoint.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CLOCHE = [sys.executable, "-m", "cloche"]
TEXTS = ("shakespeare.txt", "tangshi-gbk.txt")
MINUTES = (1.0, 5.0, 20.0)
FIXED = "--model.layers 4 --model.width 256 --model.context 128 --train.batch 16"
"""In the middle of the sizes that are chosen from."""


def minutes(folder: Path, *, lengths: tuple[float, ...] = MINUTES) -> bool:
    """Whether the chosen size is the better one for every text and length."""
    met = True
    for text in TEXTS:
        for length in lengths:
            chosen, fixed = _trained(text, length, folder)
            met &= chosen < fixed
            print(
                f"minutes: {text}, {length:g} minutes: chosen {chosen:.4f}, fixed {fixed:.4f} "
                "nats a character",
                flush=True,
            )
    return met


def _trained(text: str, length: float, folder: Path) -> tuple[float, float]:
    """Nats a character of the chosen and of the fixed size."""
    data = os.environ.get("CLOCHE_DATA")
    if not data:
        raise SystemExit(f"CLOCHE_DATA must name a folder with {text}")
    runs = {name: folder / f"{Path(text).stem}-{length:g}-{name}" for name in ("chosen", "fixed")}
    started = [
        subprocess.Popen(
            [
                *(*CLOCHE, "train", str(Path(data) / text), "--minutes", str(length)),
                *("--out", str(run), *(FIXED.split() if name == "fixed" else [])),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        )
        for name, run in runs.items()
    ]
    if any(process.wait() for process in started):
        raise SystemExit(f"training on {text} failed")
    chosen, fixed = (_nats(run) for run in runs.values())
    return chosen, fixed


def _nats(run: Path) -> float:
    asked = [*CLOCHE, "eval", str(run), "--json"]
    done = subprocess.run(asked, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["nats_per_character"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=MINUTES)
    with tempfile.TemporaryDirectory(prefix="cloche-minutes-") as place:
        sys.exit(not minutes(Path(place), lengths=tuple(parser.parse_args().minutes)))
