"""`cloche bench`: how fast cloche is on this machine, against bare libraries in the same run."""

import json
import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cloche.cli.bench_generate import BenchGenerate, generate
from cloche.cli.bench_tune import BenchTune, bench_tune
from cloche.cli.environment import cache_folder
from cloche.cli.parse import parse
from cloche.errors import SettingError, join_problems

RACED = ["--minutes", "0.2"]


@dataclass(frozen=True)
class BenchTokenize:
    """Time preparing a text and training a BPE against bare tiktoken and bare tokenizers. All sides
    run in turn, each in its own processes; cloche's time is that of the whole command."""

    text: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TEXT")] = ""
    """A UTF-8 file; stories in English and Chinese, made once, when not given."""
    bytes: str = "200MB"
    """How much text to make where none is given."""
    training_bytes: str = "100MB"
    """How much of it a BPE is trained on."""
    tokenizer: str = "gpt2"
    """A published encoding: gpt2, cl100k_base, o200k_base."""
    vocab_size: int = 8192
    """Of the BPE that is trained."""
    workers: int | None = None
    """Processes, and threads of the peer; as many as there are processors when not given."""
    rounds: int = 3
    """How often every side is timed."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


@dataclass(frozen=True)
class BenchTrain:
    """Time cloche's training steps against a textbook's float32 loop and transformers' GPT-2 in an
    ordinary loop, in turn and each in a process of its own, and all of them against the measured
    matrix-multiply peak; or, with --quality, race cloche train against the textbook from a text to
    a model on disk."""

    sizes: str = "0.8M,10M,124M"
    """Which of the three sizes, comma between them."""
    batch: str = ""
    """Sequences in a step: numbers or best (each side's fastest, found by doubling), comma between
    them; 12, 8 and 2 when not given."""
    context: int | None = None
    """Tokens in a sequence; 64, 256 and 256 when not given."""
    sides: str = "cloche,textbook,transformers float32,transformers bfloat16"
    """Who is timed, comma between them."""
    rounds: int = 3
    """How often every side is timed; with --quality, how often both are raced."""
    seconds: float = 5.0
    """How long a side works in a round; steps are whole."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Of cloche; the others have AdamW."""
    compile: Literal["on", "off"] = "on"
    """Of cloche; without a C++ compiler it is off."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where all of them compute."""
    memory_batch: int = 8
    """Sequences in the steps whose peak memory is measured, at the largest size; 0 for none."""
    quality: str | None = None
    """Race on this text (UTF-8) instead: until a model is on disk, and how good it is. What stands
    after -- goes to cloche train; --minutes 0.2 when nothing does."""
    quality_steps: int = 2000
    """With --quality: steps of the textbook's recipe."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Run one of the benchmarks."""
    benchmarks = {
        "tokenize": BenchTokenize,
        "train": BenchTrain,
        "tune": BenchTune,
        "generate": BenchGenerate,
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: cloche bench {{{','.join(benchmarks)}}} ...\n")
        for name, command in benchmarks.items():
            print(f"  {name:<9} {' '.join((command.__doc__ or '').split())}")
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "train":
        cut = rest.index("--") if "--" in rest else len(rest)
        command = parse(BenchTrain, rest[:cut], prog="cloche bench train")
        return _train(command, rest[cut + 1 :])
    if name == "generate":
        return generate(parse(BenchGenerate, rest, prog="cloche bench generate"))
    if name == "tune":
        return bench_tune(parse(BenchTune, rest, prog="cloche bench tune"))
    if name == "tokenize":
        return _tokenize(parse(BenchTokenize, rest, prog="cloche bench tokenize"))
    raise SettingError(f"there is no cloche bench {name}; there are: {', '.join(benchmarks)}")


def _tokenize(command: BenchTokenize) -> int:
    from cloche.bench.tokenizing import bench_tokenizing, make_text
    from cloche.data.stories.corpus import parse_size

    if command.rounds < 1:
        raise SettingError(f"--rounds must be at least 1, got {command.rounds}")
    text = Path(command.text)
    if not command.text:
        size = parse_size(command.bytes)
        text = cache_folder() / f"bench-stories-{size}.txt"
        _say(f"text: {text} (made once)")
        make_text(text, size=size)
    elif not text.is_file():
        raise SettingError(f"{text} is no file")
    found = bench_tokenizing(
        text,
        training_bytes=parse_size(command.training_bytes),
        tokenizer=command.tokenizer,
        vocab_size=command.vocab_size,
        workers=command.workers or os.cpu_count() or 1,
        rounds=command.rounds,
        tell=_say,
    )
    if command.json:
        print(json.dumps(found.to_values(), ensure_ascii=False))
        return 0
    print(f"{found.text_bytes:,} bytes with {found.tokenizer}; {command.rounds} rounds")
    for name, timing in found.timings.items():
        low, high = min(timing.seconds), max(timing.seconds)
        print(f"  {name:<26} median {timing.median:7.2f} s  (from {low:.2f} to {high:.2f})")
    for name, ratio in found.ratios().items():
        print(f"  {name:<34} {ratio:.2f} times the speed")
    return 0


def _train(command: BenchTrain, options: list[str]) -> int:
    problems = _problems(command)
    if options and command.quality is None:
        problems.append(f"{' '.join(options)} has a meaning only with --quality: leave it out")
    if problems:
        raise SettingError(join_problems(problems))
    if command.quality is None:
        return _compare(command)
    return _race(command, Path(command.quality), options=options or RACED)


def _problems(command: BenchTrain) -> list[str]:
    """What cannot be used, and what was set that the race or the comparison does not heed."""
    default = BenchTrain()
    found = [
        f"--{name} must be at least 1, got {value}"
        for name, value in (
            ("rounds", command.rounds),
            ("context", 1 if command.context is None else command.context),
            ("quality-steps", command.quality_steps),
        )
        if value < 1
    ]
    if not 0.0 <= command.seconds < 3600.0:
        found.append(f"--seconds must be from 0 to 3600, got {command.seconds}")
    if command.memory_batch < 0:
        found.append(f"--memory-batch must not be negative, got {command.memory_batch}")
    heeded = ("rounds", "json", "quality", "quality_steps")
    for field in fields(command):
        races = field.name.startswith("quality")
        unheeded = races if command.quality is None else field.name not in heeded
        if unheeded and getattr(command, field.name) != getattr(default, field.name):
            option = f"--{field.name.replace('_', '-')}"
            needs = "has a meaning only with" if races else "has no meaning with"
            found.append(f"{option} {needs} --quality: leave it out")
    return found


def _compare(command: BenchTrain) -> int:
    from cloche.bench.search import measure_memory
    from cloche.bench.sizes import find_batches, find_sides, find_sizes
    from cloche.bench.training import Conditions, SizeResult, bench_training, setup_of

    sizes = find_sizes(command.sizes)
    if command.context is not None:
        sizes = [replace(size, context=command.context) for size in sizes]
    conditions = Conditions(
        sides=find_sides(command.sides),
        rounds=command.rounds,
        seconds=command.seconds,
        optimizer=command.optimizer,
        compile=command.compile,
        device=command.device,
    )
    found: list[SizeResult] = []
    for result in bench_training(sizes, find_batches(command.batch), conditions, tell=_say):
        found.append(result)
        if not command.json:  # at once: a larger size may fail
            print("\n".join(result.lines()), flush=True)
    memory = None
    if command.memory_batch:
        largest = max(sizes, key=lambda size: size.width)
        setups = [
            setup_of(side, largest, conditions, batch=command.memory_batch)
            for side in conditions.sides
        ]
        memory = measure_memory(setups, tell=_say)
    if command.json:
        values = {
            "rounds": command.rounds,
            "seconds": command.seconds,
            "optimizer": command.optimizer,
            "sizes": [result.to_values() for result in found],
            "memory": None if memory is None else memory.to_values(),
        }
        print(json.dumps(values, ensure_ascii=False))
        return 0
    if memory is not None:
        print("\n".join(memory.lines()))
    return 0


def _race(command: BenchTrain, text: Path, *, options: list[str]) -> int:
    from cloche.bench.quality import race

    found = race(
        text,
        options=options,
        steps=command.quality_steps,
        rounds=command.rounds,
        tell=_say,
    )
    if command.json:
        print(json.dumps(found.to_values(), ensure_ascii=False))
        return 0
    print("\n".join([str(text), *found.lines()]))
    return 0


def _say(message: str) -> None:
    print(message, file=sys.stderr)
