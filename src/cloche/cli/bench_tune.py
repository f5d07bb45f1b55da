"""`cloche bench tune`: how fast cloche tunes by LoRA, against TRL with PEFT."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import psutil
import tyro


@dataclass(frozen=True)
class BenchTune:
    """Time cloche tune --lora against TRL's SFTTrainer with PEFT, in turn and each in a process of
    its own: the same model, records, order and batch, in float32 and bfloat16. Tokens of records a
    second, start and memory, beside the measured matrix-multiply peak."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run, a checkpoint or a Hugging Face model folder with a chat template."""
    data: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="DATA")] = ()
    """Files of conversations; built-in stories when not given."""
    sides: str = "cloche,trl"
    """Who is timed, comma between them."""
    precisions: str = "float32,bfloat16"
    """Of the passes, comma between them."""
    batch: int = 8
    """Records in a step."""
    rank: int = 16
    """Of the adapters, beside every linear layer; their alpha is twice the rank."""
    steps: int = 4
    """Of each side in each round."""
    rounds: int = 3
    """How often every side is timed."""
    threads: int | None = None
    """Of every side; as many as there are cores when not given."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def bench_tune(command: BenchTune) -> int:
    """Measure, and show the result."""
    from cloche.bench.tuning import Conditions, bench_tuning

    threads = command.threads
    conditions = Conditions(
        command.base,
        command.data,
        sides=_named(command.sides),
        precisions=_named(command.precisions),
        batch=command.batch,
        rank=command.rank,
        steps=command.steps,
        rounds=command.rounds,
        threads=(psutil.cpu_count(logical=False) or 1) if threads is None else threads,
    )
    found = bench_tuning(conditions, tell=_say)
    if command.json:
        print(json.dumps(found.to_values(), ensure_ascii=False))
    else:
        print("\n".join(found.lines()))
    return 0


def _named(names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(str.strip, names.split(",")))))


def _say(message: str) -> None:
    print(message, file=sys.stderr)
