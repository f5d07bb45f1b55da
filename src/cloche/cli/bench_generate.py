"""`cloche bench generate`: how fast cloche writes, against transformers and llama.cpp."""

import json
import sys
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import psutil
import tyro

from cloche.cli.environment import cache_folder
from cloche.errors import SettingError


@dataclass(frozen=True)
class BenchGenerate:
    """Time how fast cloche writes at four precisions, against transformers' generate and llama.cpp,
    in turn and each in a process of its own: new tokens a second alone and in a batch, reading a
    long prompt, start and memory; all of it against the measured bandwidth of the memory."""

    run: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="RUN")] = None
    """A run, a checkpoint or a Hugging Face model folder; a model with random weights, made once,
    when not given."""
    size: Literal["135M", "10M"] | None = None
    """Of the model with random weights: SmolLM2-135M's shape (when not given), or cloche's own
    model at 10M."""
    sides: str = (
        "cloche float32,cloche bfloat16,cloche int8,cloche int4,"
        "transformers float32,transformers bfloat16"
    )
    """Who is timed, comma between them."""
    gguf: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A GGUF file with the same model, for llama.cpp; may be given several times."""
    batch: str = "1,16"
    """Answers written at once, comma between the numbers."""
    prompt_tokens: int | None = None
    """Before each answer; 32, or what fits, when not given."""
    new_tokens: int | None = None
    """Of each answer; 64, or what fits, when not given."""
    prefill_tokens: int | None = None
    """Of the prompt whose reading is timed; 800, or what fits, when not given."""
    threads: int | None = None
    """Of every side; as many as there are cores when not given."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where cloche and transformers compute."""
    rounds: int = 3
    """How often every side is timed."""
    seconds: float = 1.0
    """How long a side works in a turn, at least; answers are whole."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def generate(command: BenchGenerate) -> int:
    """Measure, and show the result."""
    from cloche.bench.generating import Conditions, bench_generating, find_sides
    from cloche.bench.generating_works import Lengths

    if command.run is not None and command.size is not None:
        raise SettingError(
            f"--size {command.size} is that of a model with random weights, but {command.run} was "
            "given: leave one of them out"
        )
    conditions = Conditions(
        source=command.run or "",
        sides=find_sides(command.sides),
        gguf=tuple(dict.fromkeys(command.gguf)),
        batches=_batches(command.batch),
        lengths=Lengths(command.prompt_tokens, command.new_tokens, command.prefill_tokens),
        threads=_cores() if command.threads is None else command.threads,
        device=command.device,
        rounds=command.rounds,
        seconds=command.seconds,
        kernels=str(cache_folder() / "kernels"),
    )
    conditions.check()
    if command.run is None and conditions.sides:
        conditions = replace(conditions, source=_random_model(command.size or "135M"))
    found = bench_generating(conditions, tell=_say)
    if command.json:
        print(json.dumps(found.to_values(), ensure_ascii=False))
    else:
        print("\n".join(found.lines()))
    return 0


def _batches(numbers: str) -> tuple[int, ...]:
    """The numbers, each once. SettingError names what is none."""
    pieces = [piece.strip() for piece in numbers.split(",")]
    wrong = [piece for piece in pieces if not (piece.isdecimal() and int(piece))]
    if wrong:
        raise SettingError(
            f"--batch takes numbers of at least 1, comma between them; got {', '.join(wrong)!r}"
        )
    return tuple(dict.fromkeys(map(int, pieces)))


def _cores() -> int:
    return psutil.cpu_count(logical=False) or 1


def _random_model(shape: str) -> str:
    """The folder of a model with random weights, which is made where it is not there."""
    from cloche.bench.processes import make_model

    folder = cache_folder() / f"bench-model-{shape}"
    if not folder.is_dir():  # it gets its name when it is whole
        _say(f"model: {folder} (made once)")
        folder.parent.mkdir(parents=True, exist_ok=True)
        make_model(shape, folder)
    return str(folder)


def _say(message: str) -> None:
    print(message, file=sys.stderr)
