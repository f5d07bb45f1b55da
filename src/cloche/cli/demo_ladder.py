"""`cloche demo ladder`: pretraining, tuning, reward model, PPO, DPO and GRPO on the stories."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

from cloche.cli.environment import let_threads_wait_politely
from cloche.cli.parse import parse
from cloche.cli.train import recipe_file
from cloche.config import read_toml
from cloche.errors import RunError

if TYPE_CHECKING:
    from cloche.alignment.ladder import Rung

LANGUAGES: dict[str, tuple[Literal["en", "zh"], ...]] = {
    "en": ("en",),
    "zh": ("zh",),
    "both": ("en", "zh"),
}


@dataclass(frozen=True)
class DemoLadder:
    """Climb the whole ladder on the built-in stories: pretrain, tune, train a reward model; then
    PPO, DPO and GRPO, each from a model that was tuned too little. Every gain is measured on
    held-out stories, whose truth is known."""

    lang: Literal["en", "zh", "both"] = "both"
    """Language of the stories; both at once, a process each."""
    recipe: str = "ladder"
    """The options of each stage: a TOML file, or the packaged recipe."""
    out: str | None = None
    """Folder for all runs; runs/ladder, or the next free runs/ladder-N, when not given."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Climb, and say what each rung gained."""
    command = parse(DemoLadder, arguments, prog="cloche demo ladder")
    recipe = read_toml(recipe_file(command.recipe, verb="demo"))
    from cloche.cli.demo import free_folder

    out = Path(command.out) if command.out else free_folder(Path("runs/ladder"))
    languages = list(LANGUAGES[command.lang])
    there = [out / language for language in languages if (out / language).exists()]
    if there:
        raise RunError(
            f"{there[0]} exists: a ladder is climbed from the ground; name another folder by --out"
        )
    began = time.monotonic()
    if len(languages) > 1:
        status, stages = climb_together(languages, recipe=command.recipe, out=out)
    else:
        status, stages = climb(languages[0], recipe, out)
    if status:
        print(f"Stopped; what was finished lies in {out}.", file=sys.stderr)
        return status
    minutes = (time.monotonic() - began) / 60
    if command.json:
        print(json.dumps({"out": str(out), "minutes": minutes, "stages": stages}, indent=1))
        return 0
    print(f"\nAll of it in {minutes:.1f} minutes; the runs lie in {out}.")
    for stage in stages:
        print(f"  {stage['language']}  {_row(stage)}")
    print(f"\nAsk the tuned one about a story: cloche chat {out}/{languages[0]}/tune")
    return 0


def climb(
    language: Literal["en", "zh"], recipe: dict[str, Any], out: Path
) -> tuple[int, list[dict[str, Any]]]:
    """Climb in one language, in this process: the exit status and the rungs."""
    let_threads_wait_politely()
    from rich.console import Console

    from cloche.alignment.ladder import InterruptedLadderError, Ladder, write_report
    from cloche.training.machine import keep_freed_memory

    keep_freed_memory()
    console = Console(stderr=True)

    def tell(rung: "Rung") -> None:
        console.print(f"[bold green]{told(rung)}[/bold green]", highlight=False, soft_wrap=True)

    ladder = Ladder(out / language, language, recipe, time.monotonic, tell)
    try:
        rungs = ladder.climb()
    except InterruptedLadderError as exc:
        return 128 + (exc.run.signal or signal.SIGINT), []
    write_report(out / language, rungs)
    return 0, [{"language": language, **asdict(rung)} for rung in rungs]


def climb_together(
    languages: Sequence[str], *, recipe: str, out: Path
) -> tuple[int, list[dict[str, Any]]]:
    """Climb in several languages at once, a process each with its share of the processors.

    Models so small gain little from a second thread, and all of it from a second process.
    """
    threads = max(1, (os.cpu_count() or 1) // len(languages))
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "COLUMNS": "200"}
    words = ["--recipe", recipe, "--out", str(out), "--json"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "cloche", "demo", "ladder", "--lang", language, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for language in languages
    ]
    listening = [
        Thread(target=_pass_on, args=(language, process))
        for language, process in zip(languages, started, strict=True)
    ]
    for thread in listening:
        thread.start()
    try:
        printed = [process.stdout.read() if process.stdout else b"" for process in started]
    except BaseException:
        for process in started:
            process.terminate()  # each saves, and ends
        raise
    finally:
        statuses = [process.wait() for process in started]
        for thread in listening:
            thread.join()
    if any(statuses):
        return next(abs(status) for status in statuses if status), []
    found = [json.loads(text)["stages"] for text in printed]
    return 0, [stage for stages in found for stage in stages]


def _pass_on(language: str, process: "subprocess.Popen[bytes]") -> None:
    """Show what a process says, the language before each line."""
    assert process.stderr is not None, "a pipe"
    for line in process.stderr:
        sys.stderr.write(f"{language} | {line.decode('utf-8', 'replace')}")
        sys.stderr.flush()


def _row(stage: Mapping[str, Any]) -> str:
    gained = f"{stage['before']:7.1%} -> {stage['after']:7.1%}"
    kl = "" if stage["kl"] is None else f", KL {stage['kl']:.2f} nats an answer"
    return f"{stage['name']:<9} {gained}  {stage['measure']}{kl}, {stage['seconds']:.0f} s"


def told(rung: "Rung") -> str:
    """A rung in a sentence."""
    kl = "" if rung.kl is None else f", KL {rung.kl:.2f} nats an answer"
    return (
        f"{rung.name}: {rung.measure} {rung.before:.1%} -> {rung.after:.1%} "
        f"({rung.gain:+.1f} points{kl}, {rung.seconds:.0f} s)"
    )
