"""`cloche demo`: the shortest way to a model that writes."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.parse import parse

PROMPTS = {"en": ["", "One morning"], "zh": ["", "一天早上"]}
SOURCES = {"en": "stories", "zh": "stories-zh"}


@dataclass(frozen=True)
class Demo:
    """Train a model on the built-in stories for a minute, then let it tell some. cloche demo ladder
    goes the whole way, to a model that answers and was aligned by rewards."""

    lang: Literal["en", "zh"] = "en"
    """Language of the stories."""
    minutes: float = 1.0
    """Time for the training."""
    out: str | None = None
    """Run folder; runs/demo, or the next free runs/demo-N, when not given."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Train, write, and say what to do next."""
    if arguments[:1] == ["ladder"]:
        from cloche.cli.demo_ladder import main as climb

        return climb(arguments[1:])
    command = parse(Demo, arguments, prog="cloche demo")
    from rich.console import Console

    from cloche.run import load
    from cloche.training.preparing import Places
    from cloche.training.start import train
    from cloche.training.terminal import Terminal

    terminal = Terminal(Console(stderr=True))
    try:
        run = train(
            SOURCES[command.lang],
            minutes=command.minutes,
            out=command.out or free_folder(Path("runs/demo")),
            listeners=[terminal],
            places=Places(data_folder(), cache_folder()),
            began=time.monotonic(),
        )
    finally:
        terminal.close()
    if not run.finished:
        return 128 + (run.signal or 2)
    lm = load(run.folder)
    texts = [
        {"prompt": prompt, "text": lm.generate(prompt, temperature=0.6, seed=seed)}
        for seed, prompt in enumerate(PROMPTS[command.lang])
    ]
    if command.json:
        values = {"run": str(run.folder), "best_loss": run.best_loss, "texts": texts}
        print(json.dumps(values, ensure_ascii=False))
        return 0
    for text in texts:
        print(f"\n{text['prompt']}{text['text']}")
    print(_next_steps(run.folder, texts[1]["prompt"]), file=sys.stderr)
    return 0


def free_folder(wanted: Path) -> Path:
    """`wanted`, or the first of wanted-2, wanted-3, ... that does not exist."""
    folder, number = wanted, 1
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def _next_steps(folder: Path, prompt: str) -> str:
    program = ".venv/bin/cloche" if Path(".venv/bin/cloche").exists() else "cloche"
    return (
        "\nThat was written by a model that did not exist a minute ago. Next:\n"
        f'  {program} generate {folder} "{prompt}"\n      let it write on\n'
        f"  {program} chat {folder}\n      write with it, turn by turn\n"
        f"  {program} train book.txt --minutes 5\n      grow one from a text of yours\n"
        f"The picture {folder}/loss.png shows how it learned."
    )
