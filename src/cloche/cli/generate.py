"""`cloche generate`: a model continues a text, or translates it, or answers a file of prompts."""

import dataclasses
import json
import secrets
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator

from cloche.cli.generate_answers import WrittenAnswer
from cloche.cli.generate_options import Generate
from cloche.cli.parse import parse
from cloche.cli.prompts import STANDARD_INPUT, fitting_prompt, speak_by_template
from cloche.cli.sampling import SamplingOptions, dimmed, tell
from cloche.errors import RequestError, SettingError, join_problems
from cloche.generation.request import GenerationRequest, TokenEvent

PROMPT = "prompt"  # the variable that it is in a template


def main(arguments: list[str]) -> int:
    """Write the answers; 0 when all have ended."""
    command = parse(Generate, arguments, prog="cloche generate")
    if problems := command.problems():
        raise SettingError(join_problems(problems))
    asked = command.request(n=command.n)
    if command.input is not None:
        from cloche.cli.generate_batch import answer_file

        return answer_file(command, asked)
    prompt = prompt_of(command)
    from cloche.evaluation.translation import is_translator

    if is_translator(command.run, checkpoint=command.checkpoint):
        return translate(command, prompt)
    if command.searches:
        from cloche.cli.generate_search import write_found

        return write_found(command, asked, prompt=prompt)
    return write(command, asked, prompt=prompt)


def prompt_of(command: Generate) -> str:
    """The whole prompt, laid out. Raises ClocheError."""
    given = command.read_prompt(command.prompt)
    layout = command.layout()
    if given is not None and not layout.takes(PROMPT):
        raise SettingError(
            "the template has no {{ prompt }}, so PROMPT would not be used: leave PROMPT out, or "
            "put it into the template"
        )
    if given is not None and PROMPT in dict(layout.constants):
        raise SettingError("PROMPT is the template's {{ prompt }}: leave --set prompt=... out")
    if given is None and layout.template is None:
        given = ""
    fields = {} if given is None else {PROMPT: given}
    if missing := layout.missing(fields):
        raise SettingError(
            f"the template needs {', '.join(missing)}: give {{{{ prompt }}}} as PROMPT, any other "
            "with --set NAME=VALUE"
        )
    return layout.lay_out(fields)


def write(command: Generate, asked: GenerationRequest, *, prompt: str) -> int:
    """Print what a model that continues text makes of the prompt."""
    from cloche.cli.generate_running import chosen_rows
    from cloche.cli.opening import make_guesser, open_writer

    lm = open_writer(command)
    lm = speak_by_template(lm, command)
    asked = command.with_tokenizer(asked, lm.tokenizer)
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    ids, cut = fitting_prompt(lm, prompt, max_tokens=asked.max_tokens, window=command.window)
    if cut:
        tell(
            f"the prompt has {len(ids) + cut} tokens, and the context holds {lm.config.context}: "
            f"only the last part is read, {len(ids)} tokens"
        )
    request = dataclasses.replace(asked, prompt=ids, seed=seed)
    tokens = len(ids) + request.max_tokens
    wanted = None if command.rows is None else min(command.n, command.rows)
    rows = min(command.n, chosen_rows(lm.config, wanted, tokens=tokens))
    guesser = make_guesser(
        command.speculate, lm, precision=command.precision, rows=rows, tokens=tokens
    )
    engine = lm.engine(rows=rows, tokens=tokens, guesser=guesser)
    events = engine.stream(request)  # refused, if at all, before room is made for the answers
    answers = [WrittenAnswer() for _ in range(command.n)]
    began = time.perf_counter()
    for event in in_order(events, count=command.n):
        if not command.json:
            shown = f"{prompt}\n" if command.chat else prompt
            print_piece(event, answers[event.choice], prompt=shown, count=command.n)
        answers[event.choice].add(event)
    made = sum(answer.tokens for answer in answers)
    tokens_per_second = made / (time.perf_counter() - began)
    if command.json:
        values = {
            "run": command.run,
            "checkpoint": str(lm.folder),
            "prompt": prompt,
            **({"cut_tokens": cut} if cut else {}),
            "seed": seed,
            "answers": [answer.to_json() for answer in answers],
            "tokens_per_second": tokens_per_second,
        }
        print(json.dumps(values, ensure_ascii=False))
    else:
        tell(f"{made} tokens, {tokens_per_second:.0f} a second, seed {seed}, {lm.folder.name}")
    return 0


def translate(command: Generate, prompt: str) -> int:
    """Print what a model that translates makes of the prompt, of standard input line by line."""
    from cloche.evaluation.translation import load_translator
    from cloche.generation.beam import LENGTH_PENALTY

    refuse_sampling(command)
    by_line = command.prompt == STANDARD_INPUT or command.prompt_file is not None
    texts = prompt.splitlines() if by_line else [prompt]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise RequestError(f"{command.run} translates: give it a text, or - for standard input")
    translator = load_translator(
        command.run, precision=command.precision, checkpoint=command.checkpoint, warn=tell
    )
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
    usual = {field.name: field.default for field in dataclasses.fields(SamplingOptions)} | {"n": 1}
    heeded = ("max_new_tokens", "greedy")
    names = [name for name in usual if name not in heeded]
    given = [name for name in names if getattr(command, name) != usual[name]]
    problems = [
        f"--{name.replace('_', '-')} has no meaning for {command.run}, which searches for the best "
        "translation and draws none: leave it out"
        for name in given
    ]
    problems += [
        f"{name} lays out what a model continues, and {command.run} translates what it is given: "
        "leave it out"
        for name in command.layout_names()
    ]
    problems += [
        f"{name} is for models that continue text, and {command.run} translates: leave it out"
        for name in command.names_only_for_continuing()
    ]
    if command.precision in ("int8", "int4"):
        problems.append(f"--precision {command.precision} is for models that continue text")
    if command.speculate is not None:
        problems.append("--speculate is for models that continue text: leave it out")
    if command.rows is not None:
        problems.append("--rows is for models that continue text: leave it out")
    if command.greedy and (command.beams or 1) > 1:
        problems.append(f"--greedy and --beams {command.beams} contradict each other: give one")
    if problems:
        raise SettingError(join_problems(problems))


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
