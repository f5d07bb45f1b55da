"""`cloche bench`: how fast cloche is on this machine, against bare libraries in the same run."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cloche.cli.environment import cache_folder
from cloche.cli.parse import parse
from cloche.errors import SettingError


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


def main(arguments: list[str]) -> int:
    """Run one of the benchmarks."""
    if not arguments or arguments[0] in ("-h", "--help"):
        about = " ".join((BenchTokenize.__doc__ or "").split())
        print(f"usage: cloche bench {{tokenize}} ...\n\n  tokenize  {about}")
        return 0 if arguments else 2
    name, *rest = arguments
    if name != "tokenize":
        raise SettingError(f"there is no cloche bench {name}; there is: tokenize")
    return _tokenize(parse(BenchTokenize, rest, prog="cloche bench tokenize"))


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


def _say(message: str) -> None:
    print(message, file=sys.stderr)
