"""The bars of the encoder-decoder: it reverses strings, and it translates sentences it never saw.

Run by `make bars`; alone: `python scripts/pair_bars.py [reverse] [translate]`. Everything counts
into the time: the start of the process, reading and tokenizing, training, and the evaluation of
every held-out pair.
"""

import json
import random
import resource
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CLOCHE = [sys.executable, "-m", "cloche"]
MOST_SECONDS = 600
EXACT = 0.95
STORIES = "8MB"


def cloche_json(*arguments: str) -> dict:
    """What a command prints with --json."""
    done = subprocess.run([*CLOCHE, *arguments, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def processor_seconds() -> float:
    """What all commands so far have used: on a busy machine, less than the time that went by."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def trained_and_measured(name: str, pairs: Path, run: Path) -> bool:
    """Train with the recipe of that name, translate the whole validation part, and tell."""
    began, processor = time.monotonic(), processor_seconds()
    cloche_json("train", str(pairs), "--recipe", name, "--out", str(run))
    trained = time.monotonic() - began
    found = cloche_json("eval", str(run))
    seconds = time.monotonic() - began
    print(
        f"{name}: {found['exact']:.2%} of {found['pairs']:,} held-out pairs exactly right (at "
        f"least {EXACT:.0%}), {seconds:.0f} s (at most {MOST_SECONDS}), of them {trained:.0f} to "
        f"train and {processor_seconds() - processor:.0f} of the processor's; "
        f"{found['nats_per_token']:.4f} nats a target token"
    )
    return found["exact"] >= EXACT and seconds <= MOST_SECONDS


def reverse(folder: Path) -> bool:
    """Strings of 2 to 12 letters, written backwards."""
    chance = random.Random(0)
    words = {
        "".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 12)))
        for _ in range(20_000)
    }
    path = folder / "reversals.tsv"
    lines = [f"{word}\t{word[::-1]}\n" for word in sorted(words)]
    path.write_text("source\ttarget\n" + "".join(lines), encoding="utf-8")
    return trained_and_measured("reverse", path, folder / "reverse")


def translate(folder: Path) -> bool:
    """English sentences of the built-in stories into Chinese.

    Only those whose translation the sentence settles by itself: see cloche.data.stories.sentences,
    and the share of them that the command tells.
    """
    path = folder / "sentences.jsonl"
    asked = ["data", "show", "stories", "--format", "sentences", "--bytes", STORIES]
    with open(path, "wb") as file:
        subprocess.run([*CLOCHE, *asked], check=True, stdout=file)
    return trained_and_measured("translate", path, folder / "translate")


BARS: dict[str, Callable[[Path], bool]] = {"reverse": reverse, "translate": translate}


def main() -> int:
    """Run the bars named, or both."""
    missed = []
    for name in sys.argv[1:] or list(BARS):
        with tempfile.TemporaryDirectory(prefix="cloche-pairs-") as folder:
            if not BARS[name](Path(folder)):
                missed.append(name)
    print(f"bars: missed {' '.join(missed)}" if missed else "bars: met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
