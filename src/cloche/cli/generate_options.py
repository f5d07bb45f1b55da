"""The options of `cloche generate`; in a file of their own, so that `--help` loads little else."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from cloche.cli.adapters import AdapterOptions
from cloche.cli.generate_search import SearchOptions
from cloche.cli.prompts import STANDARD_INPUT, PromptOptions
from cloche.cli.sampling import SamplingOptions


@dataclass(frozen=True)
class Generate(AdapterOptions, SearchOptions, PromptOptions, SamplingOptions):
    """Let a model continue a text, which appears as it is written; a seq2seq one translates it.
    With --input and --out, answer a file of prompts."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run, a checkpoint, or a Hugging Face model folder."""
    prompt: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="PROMPT")] = None
    """Text to continue; - reads it from standard input. From the beginning when not given. Of a
    seq2seq model, the text to translate; from standard input or --prompt-file, each line by
    itself."""
    input: str | None = None
    """File of rows to answer, a JSON object a line: {"prompt": "..."}, or fields for --template;
    - is standard input. A row may have an `id`, and settings of its own such as max_tokens."""
    out: str | None = None
    """File that gets a line of JSON for each row of --input, in the same order."""
    resume: bool = False
    """Go on with an --out that was interrupted."""
    keep_going: bool = False
    """Answer the other rows where some are bad: those get an error for an answer, and the status
    is 1. When not given, a bad row is found before anything is written."""
    rows: int | None = None
    """Answers written at the same time; 8 when not given, fewer where memory is short."""
    n: int = 1
    """Number of answers."""
    checkpoint: str = "best"
    """best, latest, or a step."""
    precision: Literal["auto", "float32", "bfloat16", "int8", "int4"] = "auto"
    """float32 is exact; auto takes it on a CPU. The others read less memory for each token."""
    speculate: str | None = None
    """Guess at the next tokens, and have the model read several at once: faster, and the same text.
    lookup guesses from the text so far; a RUN with the same tokenizer, a smaller one, writes ahead.
    """
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""

    def problems(self) -> list[str]:
        """What contradicts what, one sentence each."""
        found = [*self.prompt_problems(self.prompt), *self._problems_of_rows()]
        if self.logprobs is not None and not self.json and self.input is None:
            found.append("--logprobs are numbers for programs: add --json, or --input and --out")
        if self.speculate is not None and self.searches:
            found.append("--speculate belongs to texts that are drawn: leave it or the search out")
        if self.rows is not None and self.rows < 1:
            found.append(f"--rows must be at least 1, got {self.rows}")
        return found

    def _problems_of_rows(self) -> list[str]:
        found = []
        if self.input is None:
            for option, given in (
                ("--out", self.out is not None),
                ("--resume", self.resume),
                ("--keep-going", self.keep_going),
            ):
                if given:
                    found.append(f"{option} belongs to --input: add that, or leave {option} out")
        else:
            if self.prompt is not None:
                found.append("the rows of --input are the prompts: leave PROMPT out")
            if self.prompt_file is not None:
                found.append("the rows of --input are the prompts: leave --prompt-file out")
            if self.searches:
                found.append(
                    "--beams and --penalty-alpha search for one prompt at a time: leave --input or "
                    "the options of the search out"
                )
            if self.out in (None, STANDARD_INPUT):
                found.append("--input needs a file for the answers: name it with --out")
        return found
