"""`cloche demo ladder`: pretraining, tuning, reward model, PPO, DPO and GRPO on the stories."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
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
NAMES = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True)
class DemoLadder:
    """Climb the whole ladder on the built-in stories: pretrain, tune, train a reward model; then
    PPO, DPO and GRPO, each from a model that was tuned too little. Every gain is measured on
    held-out stories, whose truth is known."""

    lang: Literal["en", "zh", "both"] = "both"
    """Language of the stories."""
    recipe: str = "ladder"
    """The options of each stage: a TOML file, or the packaged recipe."""
    out: str | None = None
    """Folder for all runs; runs/ladder, or the next free runs/ladder-N, when not given."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Climb, and say what each rung gained."""
    command = parse(DemoLadder, arguments, prog="cloche demo ladder")
    recipe = read_toml(recipe_file(command.recipe))
    let_threads_wait_politely()
    from rich.console import Console

    from cloche.alignment.ladder import InterruptedLadderError, Ladder, write_report
    from cloche.cli.demo import free_folder
    from cloche.training.machine import keep_freed_memory

    keep_freed_memory()
    out = Path(command.out) if command.out else free_folder(Path("runs/ladder"))
    if out.exists():
        raise RunError(f"{out} exists: a ladder is climbed from the ground; name another by --out")
    console = Console(stderr=True)

    def tell(rung: "Rung") -> None:
        console.print(f"[bold green]{told(rung)}[/bold green]", highlight=False)

    stages: list[dict[str, Any]] = []
    began = time.monotonic()
    for language in LANGUAGES[command.lang]:
        console.print(f"[bold]{NAMES[language]}[/bold]", highlight=False)
        ladder = Ladder(out / language, language, recipe, time.monotonic, tell)
        try:
            rungs = ladder.climb()
        except InterruptedLadderError as exc:
            print(f"Stopped; what was finished lies in {out}.", file=sys.stderr)
            return 128 + (exc.run.signal or 2)
        write_report(out / language, rungs)
        stages += [{"language": language, **asdict(rung)} for rung in rungs]
    minutes = (time.monotonic() - began) / 60
    if command.json:
        print(json.dumps({"out": str(out), "minutes": minutes, "stages": stages}, indent=1))
        return 0
    print(f"\nAll of it in {minutes:.1f} minutes; the runs lie in {out}.")
    for stage in stages:
        gained = f"{stage['before']:7.1%} -> {stage['after']:7.1%}"
        kl = "" if stage["kl"] is None else f", KL {stage['kl']:.2f} nats an answer"
        about = f"{stage['measure']}{kl}, {stage['seconds']:.0f} s"
        print(f"  {stage['language']}  {stage['name']:<9} {gained}  {about}")
    first = LANGUAGES[command.lang][0]
    print(f"\nAsk the tuned one about a story: cloche chat {out}/{first}/tune")
    return 0


def told(rung: "Rung") -> str:
    """A rung in a sentence."""
    kl = "" if rung.kl is None else f", KL {rung.kl:.2f} nats an answer"
    return (
        f"{rung.name}: {rung.measure} {rung.before:.1%} -> {rung.after:.1%} "
        f"({rung.gain:+.1f} points{kl}, {rung.seconds:.0f} s)"
    )
