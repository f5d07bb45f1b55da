"""Long measurements that a release must pass; `make bars` runs them all, or those named.

Each bar prints what it measured and whether it was met. Nothing here is a unit test: these take
minutes to an hour, and their figures go into docs/log.md.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from beam_bars import beams
from distributed_bars import hosts, ranks
from gguf_bars import exported, published, smollm
from kill_bars import kills
from lens_bars import lens
from lesson_bars import lessons, site
from minutes_bars import minutes
from pair_bars import reverse, translate
from plan_bars import plans
from text_bars import prepare_kills, prepare_memory
from tracker_bars import trackers
from tuning_bars import ladder, smollm_tuned, tuning_kills
from writing_bars import schedules, writing

from cloche.data.corpora import resolve

CLOCHE = [sys.executable, "-m", "cloche"]
TANGSHI_SHA256 = "724e5dcfe4215886b30ef12e73cf8423df8fc21021fe737249f39930adb64119"


def data_file(name: str) -> str:
    """A text of the folder that CLOCHE_DATA names, or of the built-in ones."""
    folder = os.environ.get("CLOCHE_DATA")
    if folder and (Path(folder) / name).exists():
        return str(Path(folder) / name)
    if name == "shakespeare.txt":
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cloche"
        return resolve(["shakespeare"], data_folder=None, cache_folder=cache)[0]
    raise SystemExit(f"CLOCHE_DATA must name a folder with {name}")


def cloche_json(*arguments: str) -> dict:
    """What a command prints with --json."""
    done = subprocess.run([*CLOCHE, *arguments, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def shakespeare(folder: Path, *, minutes: float, limit: float) -> bool:
    """Nats a character over the whole last tenth of Tiny Shakespeare, trained without flags."""
    run = str(folder / f"shakespeare-{minutes:g}")
    began = time.monotonic()
    cloche_json("train", data_file("shakespeare.txt"), "--minutes", str(minutes), "--out", run)
    seconds = time.monotonic() - began
    found = cloche_json("eval", run)
    nats = found["nats_per_character"]
    print(
        f"shakespeare, {minutes:g} minutes: {nats:.4f} nats a character (at most {limit}), "
        f"{seconds:.0f} s, context {found['context']}, {found['tokens']:,} tokens for "
        f"{found['characters']:,} characters"
    )
    return nats <= limit and seconds <= 60 * minutes + 5


def tangshi(folder: Path) -> bool:
    """Verse learned from a GBK file: the clauses sampled have five or seven characters."""
    source = data_file("tangshi-gbk.txt")
    report = cloche_json("data", "inspect", source)["files"][0]
    decoded = report["utf8_sha256"] == TANGSHI_SHA256 and report["characters"] == 1_649_006
    run = str(folder / "tangshi")
    cloche_json("train", source, "--minutes", "5", "--out", run)
    clauses: list[str] = []
    seed = 0
    while len(clauses) < 200:
        written = cloche_json(
            "generate", run, "\n", "--max-new-tokens", "400", "--seed", str(seed)
        )["answers"][0]["text"]
        # whole clauses only: the first and the last piece may be cut; titles end without a mark
        clauses += re.findall(r"(?<=[，。？！\n])([^，。？！\n]+)[，。？！]", written)
        seed += 1
    chosen = random.Random(0).sample(clauses, 200)
    share = sum(len(clause) in (5, 7) for clause in chosen) / 200
    print(
        f"tangshi: {report['encoding']}, decoded {'exactly' if decoded else 'WRONGLY'}; "
        f"{share:.1%} of 200 clauses have 5 or 7 characters (at least 90%)"
    )
    return decoded and share >= 0.9


def ngrams(folder: Path) -> bool:
    """Counted bigram and trigram on Shakespeare's characters, beside the neural bigram."""
    text = [data_file("shakespeare.txt"), "--text.tokenizer", "characters"]
    found = {}
    for order in (2, 3, 5):
        for smoothing in ("additive", "kneser-ney"):
            run = str(folder / f"{smoothing}-{order}")
            model = ["--model.family", "ngram", "--model.order", str(order)]
            cloche_json("train", *text, *model, "--model.smoothing", smoothing, "--out", run)
            found[smoothing, order] = cloche_json("eval", run)["nats_per_character"]
    neural = str(folder / "neural")
    cloche_json("train", *text, "--recipe", "bigram", "--out", neural)
    found["neural", 2] = cloche_json("eval", neural)["nats_per_character"]
    lines = ", ".join(f"{name} {order}: {nats:.4f}" for (name, order), nats in found.items())
    print(f"ngrams on Shakespeare, validation nats a character: {lines}")
    return 2.4 < found["additive", 2] < 2.6 and abs(found["neural", 2] - found["additive", 2]) < 0.1


def babygpt(folder: Path) -> bool:
    """The recipe runs to its end on the Tang poems, and both curves fall; they are printed."""
    run = folder / "babygpt"
    began = time.monotonic()
    ended = cloche_json(
        "train", data_file("tangshi-gbk.txt"), "--recipe", "babygpt", "--out", str(run)
    )
    seconds = time.monotonic() - began
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    curve = [row for row in rows if "eval/loss" in row]
    for row in curve[:: max(1, len(curve) // 10)]:
        losses = f"validation {row['eval/loss']:.4f}, training {row['eval/train_loss']:.4f}"
        print(f"  step {row['step']}: {losses} nats a character")
    answer = cloche_json("generate", str(run), "春眠不覺曉", "--seed", "1")["answers"][0]["text"]
    print(f"babygpt: {ended['step']} steps in {seconds:.0f} s\n春眠不覺曉{answer}")
    first, last = curve[0], curve[-1]
    fell = all(last[name] < 0.8 * first[name] for name in ("eval/loss", "eval/train_loss"))
    return ended["finished"] and ended["step"] == 3000 and fell


BARS: dict[str, Callable[[Path], bool]] = {
    "kills": kills,
    "plans": plans,
    "minutes": minutes,
    "prepare-kills": prepare_kills,
    "prepare-memory": prepare_memory,
    "ranks": ranks,
    "hosts": hosts,
    "ngrams": ngrams,
    "reverse": reverse,
    "translate": translate,
    "smollm": smollm,
    "writing": writing,
    "beams": beams,
    "schedules": schedules,
    "trackers": trackers,
    "tuning-kills": tuning_kills,
    "smollm-tuned": smollm_tuned,
    "ladder": ladder,
    "lens": lens,
    "lessons": lessons,
    "site": site,
    "exported": exported,
    "published": published,
    "babygpt": babygpt,
    "shakespeare-2": lambda folder: shakespeare(folder, minutes=2, limit=1.88),
    "tangshi": tangshi,
    "shakespeare-10": lambda folder: shakespeare(folder, minutes=10, limit=1.65),
}


def main() -> int:
    """Run the bars named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BARS)}; all when none is given")
    names = parser.parse_args().names or list(BARS)
    unknown = [name for name in names if name not in BARS]
    if unknown:
        parser.error(f"there is no bar {unknown[0]}; there are {', '.join(BARS)}")
    missed = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="cloche-bars-") as folder:
            if not BARS[name](Path(folder)):
                missed.append(name)
    print(f"bars: {len(names) - len(missed)} met, {len(missed)} missed {' '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
