"""`cloche generate`: a model continues a text, or translates it."""

import json
import secrets
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated

import tyro

from cloche.cli.parse import parse
from cloche.cli.sampling import SamplingOptions, dimmed, require_unicode, tell
from cloche.errors import RequestError, SettingError, TextError, join_problems
from cloche.generation.request import FinishReason, TokenEvent

MOST_ROWS = 8  # answers written at the same time; more of them wait


@dataclass(frozen=True)
class Generate(SamplingOptions):
    """Let a model continue a text, which appears as it is written; a seq2seq one translates it."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run, a checkpoint, or a Hugging Face model folder."""
    prompt: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PROMPT")] = ""
    """Text to continue; - reads it from standard input. From the beginning when not given. Of a
    seq2seq model, the text to translate; from standard input, each line by itself."""
    n: int = 1
    """Number of answers."""
    beams: int | None = None
    """Of a seq2seq model: beginnings that the search keeps at once; 1, greedy, when not given."""
    length_penalty: float | None = None
    """Of a seq2seq model, with beams: above 0, longer translations count for more; 0.6 when not
    given."""
    checkpoint: str = "best"
    """best, latest, or a step."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Write the answers; 0 when all have ended."""
    command = parse(Generate, arguments, prog="cloche generate")
    asked = command.request(n=command.n)
    prompt = read_prompt(command.prompt)
    from cloche.evaluation.translation import is_translator
    from cloche.run import load

    if is_translator(command.run, checkpoint=command.checkpoint):
        return translate(command, prompt)
    if command.beams is not None or command.length_penalty is not None:
        raise SettingError(
            f"--beams and --length-penalty are for models that translate, and {command.run} "
            "continues text: leave them out, or use --greedy"
        )
    lm = load(command.run, checkpoint=command.checkpoint, warn=tell)
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    request = replace(asked, prompt=lm.prompt_ids(prompt), seed=seed)
    rows = min(command.n, MOST_ROWS)
    engine = lm.engine(rows=rows, tokens=len(request.prompt) + request.max_tokens)
    answers = [WrittenAnswer() for _ in range(command.n)]
    began = time.perf_counter()
    for event in in_order(engine.stream(request), count=command.n):
        if not command.json:
            print_piece(event, answers[event.choice], prompt=prompt, count=command.n)
        answers[event.choice].add(event)
    tokens = sum(answer.tokens for answer in answers)
    tokens_per_second = tokens / (time.perf_counter() - began)
    if command.json:
        values = {
            "run": command.run,
            "checkpoint": str(lm.folder),
            "prompt": prompt,
            "seed": seed,
            "answers": [asdict(answer) for answer in answers],
            "tokens_per_second": tokens_per_second,
        }
        print(json.dumps(values, ensure_ascii=False))
    else:
        tell(f"{tokens} tokens, {tokens_per_second:.0f} a second, seed {seed}, {lm.folder.name}")
    return 0


def translate(command: Generate, prompt: str) -> int:
    """Print what a model that translates makes of the prompt, of standard input line by line."""
    from cloche.evaluation.translation import load_translator
    from cloche.generation.beam import LENGTH_PENALTY

    refuse_sampling(command)
    texts = prompt.splitlines() if command.prompt == "-" else [prompt]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise RequestError(f"{command.run} translates: give it a text, or - for standard input")
    translator = load_translator(command.run, checkpoint=command.checkpoint, warn=tell)
    penalty = LENGTH_PENALTY if command.length_penalty is None else command.length_penalty
    search = translator.search(
        beams=1 if command.beams is None else command.beams,
        length_penalty=penalty,
        max_new_tokens=command.max_new_tokens,
    )
    answers = [
        {
            "prompt": text,
            "text": translator.text_of(found),
            "tokens": len(found.ids),
            "finish_reason": "stop" if found.finished else "length",
            "log_probability": found.log_probability,
            "score": found.score,
        }
        for text, found in zip(texts, translator.hypotheses(texts, search), strict=True)
    ]
    if command.json:
        values = {
            "run": command.run,
            "checkpoint": str(translator.folder),
            "prompt": prompt,
            "beams": search.beams,
            "length_penalty": search.length_penalty,
            "answers": answers,
        }
        print(json.dumps(values, ensure_ascii=False))
    else:
        for answer in answers:
            print(answer["text"])
    return 0


def refuse_sampling(command: Generate) -> None:
    """Raise SettingError for options of chance, which a search for the best target has not."""
    usual = {field.name: field.default for field in fields(SamplingOptions)} | {"n": 1}
    heeded = ("max_new_tokens", "greedy")
    names = [name for name in usual if name not in heeded]
    given = [name for name in names if getattr(command, name) != usual[name]]
    problems = [
        f"--{name.replace('_', '-')} has no meaning for {command.run}, which searches for the best "
        "translation and draws none: leave it out"
        for name in given
    ]
    if command.greedy and (command.beams or 1) > 1:
        problems.append(f"--greedy and --beams {command.beams} contradict each other: give one")
    if problems:
        raise SettingError(join_problems(problems))


@dataclass
class WrittenAnswer:
    """What has come of one answer so far."""

    text: str = ""
    tokens: int = 0
    finish_reason: FinishReason | None = None

    def add(self, event: TokenEvent) -> None:
        """Take in the next event."""
        self.text += event.text
        self.tokens += event.token_id is not None
        self.finish_reason = event.finish_reason


def read_prompt(given: str) -> str:
    """The prompt as it stands; what standard input holds, every line of it, where it is `-`."""
    if given != "-":
        require_unicode(given, what="the prompt")
        return given
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as exc:
        raise TextError(
            f"the prompt on standard input is not UTF-8: byte {exc.start} is "
            f"0x{exc.object[exc.start]:02x}; convert it first, as iconv does"
        ) from exc


def in_order(events: Iterable[TokenEvent], *, count: int) -> Iterator[TokenEvent]:
    """The events of `count` answers written at once, one answer after the other.

    Each event comes as soon as that order allows: those of the first answer at once.
    """
    waiting: list[deque[TokenEvent]] = [deque() for _ in range(count)]
    current = 0
    for event in events:
        waiting[event.choice].append(event)
        while current < count and waiting[current]:
            following = waiting[current].popleft()
            yield following
            current += following.finish_reason is not None


def print_piece(event: TokenEvent, so_far: WrittenAnswer, *, prompt: str, count: int) -> None:
    """Print what an event adds to an answer: before it the prompt, behind it the line's end."""
    if so_far.tokens == 0:
        heading = f"--- {event.choice + 1} of {count} ---\n" if count > 1 else ""
        sys.stdout.write(dimmed(heading + prompt))
    sys.stdout.write(event.text)
    if event.finish_reason is not None and not (so_far.text + event.text).endswith("\n"):
        sys.stdout.write("\n")
    sys.stdout.flush()
