"""What a process that writes is told, and how it answers. Loads no torch.

Each side (cloche, transformers, llama.cpp) builds a `Generator` in a module of its own, so that
none carries what only another one needs. The clock of all of them is the same: seconds from the
moment the prompts are given until the caller holds each token.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from cloche.bench.processes import (
    PYTHON,
    Answer,
    SideProcess,
    answer_on_standard_output,
    peak_resident_bytes,
)
from cloche.errors import ClocheError

FIRST_PROMPT, FIRST_TOKENS = 4, 2
"""Of the writing that ends a start: kernels are built or compiled in it."""

Times = list[list[float]]
"""Of each answer, seconds until each of its tokens was there."""


@dataclass(frozen=True)
class GeneratorSetup:
    """What a process that writes is told before it begins: one line of JSON."""

    engine: str
    """cloche, transformers or llama_cpp."""
    source: str
    """A run or a model folder; of llama.cpp, a GGUF file."""
    precision: str
    """Of the weights; of llama.cpp, what the file is called: it has its own."""
    threads: int
    device: str = "cpu"
    kernels: str | None = None
    """Where cloche keeps what it compiles; in the user's cache when not given."""

    @property
    def name(self) -> str:
        """As it is called in tables and by --sides."""
        return f"{self.engine.replace('_', '.')} {self.precision}"


@dataclass(frozen=True)
class Writing:
    """Prompts of one length to continue at once, by the likeliest token each time."""

    prompts: list[list[int]]
    new_tokens: int
    """Of each answer, whatever ends an answer otherwise."""
    room: int
    """Tokens of a prompt and its answer that space is made for; who makes it keeps it for later
    writings of as many prompts with the same room."""


@dataclass(frozen=True)
class Generator:
    """A model ready to write."""

    write: Callable[[Writing], Times]
    weight_bytes: int
    """Bytes of weights that are read for each token."""
    parameters: int
    vocab_size: int
    context: int
    peak_bytes: Callable[[], int] = peak_resident_bytes
    notes: list[str] = field(default_factory=list)
    """What was said while it was built and wrote first: that it is slow here, and why."""


class GeneratorProcess(SideProcess):
    """A model that has written its first tokens and waits.

    `about` tells `weight_bytes`, `vocab_size`, `context`, and how long its start took:
    `start_seconds` from the start of the process until then, of which `first_seconds` went into the
    first tokens; and `notes`, what was said meanwhile.
    """

    def __init__(self, setup: GeneratorSetup) -> None:
        self.setup = setup
        began = time.perf_counter()
        super().__init__(
            (*PYTHON, f"cloche.bench.generating_{setup.engine}"),
            asdict(setup),
            name=setup.name,
            advice="smaller numbers of --batch need less",
        )
        self.about["start_seconds"] = time.perf_counter() - began

    def write(self, writing: Writing) -> Times:
        """Answers to all prompts at once: seconds until each of their tokens was there.

        Raises ClocheError where another number of tokens was made than was asked for.
        """
        times = self._ask({"ask": "write", "writing": asdict(writing)})["times"]
        made = [len(answer) for answer in times]
        if made != [writing.new_tokens] * len(writing.prompts):
            raise ClocheError(
                f"{self.setup.name} made {made} tokens where {writing.new_tokens} were asked for "
                f"each of {len(writing.prompts)} prompts: its speed cannot be told"
            )
        return times


def generate_on_request(build: Callable[[GeneratorSetup], Generator]) -> None:
    """Be the process of the generator that `build` makes."""
    answer_on_standard_output(partial(serve_writing, build))


def serve_writing(
    build: Callable[[GeneratorSetup], Generator], requests: Iterator[str], answer: Answer
) -> None:
    """Build the generator that the first line describes, and answer the others until they end.

    Raises ClocheError where it cannot be built here.
    """
    setup = GeneratorSetup(**json.loads(next(requests)))
    before = peak_resident_bytes()
    generator = build(setup)
    began = time.perf_counter()
    first = Writing([[0] * FIRST_PROMPT], FIRST_TOKENS, room=FIRST_PROMPT + FIRST_TOKENS)
    generator.write(first)
    answer(
        {
            "weight_bytes": generator.weight_bytes,
            "parameters": generator.parameters,
            "vocab_size": generator.vocab_size,
            "context": generator.context,
            "first_seconds": time.perf_counter() - began,
            "notes": generator.notes,
        }
    )
    for line in requests:
        request: dict[str, Any] = json.loads(line)
        if request["ask"] == "memory":
            answer({"peak_bytes": generator.peak_bytes(), "before_bytes": before})
        else:
            answer({"times": generator.write(Writing(**request["writing"]))})


def prefill_seconds(times: Times) -> float:
    """Seconds until every answer had its first token: all prompts were read then."""
    return max(answer[0] for answer in times)


def seconds_a_token(times: Times) -> float:
    """Seconds for each token, of all answers together, while all of them were being written.

    That is from the moment when the last answer had its first token until the first one was done:
    reading prompts is outside, and so is writing in less company than was asked for. Raises
    ClocheError where there was no such time.
    """
    began, ended = prefill_seconds(times), min(answer[-1] for answer in times)
    made = sum(began < moment <= ended for answer in times for moment in answer)
    if not made:
        raise ClocheError(
            f"the first of {len(times)} answers was done before the last one began: ask for more "
            "with --new-tokens"
        )
    return (ended - began) / made
