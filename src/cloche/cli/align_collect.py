"""`cloche align collect`: answers are shown without a name, and a key says which is the best."""

import getpass
import io
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cloche.cli.environment import let_threads_wait_politely
from cloche.cli.parse import parse
from cloche.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from cloche.alignment.collect import Answerer, Shown
    from cloche.alignment.collect_store import ChoiceStore
    from cloche.data.preferences import PromptRecord

CTRL_D = "\x04"
COLORS = ("green", "blue", "magenta", "yellow")


@dataclass(frozen=True)
class Collect:
    """Show answers of a model to prompts, two to four at a time and in an order drawn by chance,
    and keep which one a person finds best. Every choice is on the disk at once."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[RUN]")] = ""
    """A run, a checkpoint or a Hugging Face model folder; not needed to export alone."""
    prompts: str | None = None
    """JSON, JSONL or Parquet file of prompts, or a .txt with one in each line."""
    answers: int = 2
    """Answers that are shown for a prompt, 2 to 4."""
    out: str = "choices.db"
    """File of the choices; where there is one, it is gone on with."""
    export: str | None = None
    """Write the pairs to this JSONL file at the end, and the votes beside it."""
    again: bool = False
    """Ask prompts that were judged before, too."""
    by: str | None = None
    """Who chooses; the name of the user when not given."""
    seed: int = 0
    """Of the answers, and of the order in which they are shown."""
    max_new_tokens: int = 200
    """Most tokens of an answer."""
    temperature: float = 0.8
    """Above 0, so that answers differ."""
    top_p: float = 1.0
    """Choose among the fewest likeliest tokens whose probability reaches this."""
    checkpoint: str = "best"
    """best, latest, or a step."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Collect until the prompts or the input are over, or q; then 0."""
    command = parse(Collect, arguments, prog="cloche align collect")
    if command.prompts is None and command.export is None:
        raise SettingError("give prompts with --prompts FILE, or write choices with --export FILE")
    if command.prompts is not None and not command.run:
        raise SettingError("name the model that answers: cloche align collect RUN --prompts FILE")
    if command.prompts is None and command.run:
        raise SettingError("a model answers prompts: give them with --prompts FILE")
    if command.prompts is None and not Path(command.out).is_file():
        raise SettingError(f"there is no file of choices {command.out} to export from")
    let_threads_wait_politely()
    from rich.console import Console

    from cloche.alignment.collect_store import ChoiceStore

    console = Console(stderr=command.json)
    answering = None if command.prompts is None else _open(command, Path(command.prompts), console)
    with ChoiceStore(Path(command.out)) as store:
        values: dict[str, Any] = {"out": command.out}
        if answering is not None:
            values |= _collect(command, store, console, *answering)
        choices = store.choices()
        values["choices"] = len(choices)
        console.print(f"{len(choices):,} choices in {command.out}.", highlight=False)
        if command.export is not None:
            values |= _export(command.export, store, console)
    if command.json:
        print(json.dumps(values, ensure_ascii=False))
    return 0


def _open(
    command: Collect, prompts: Path, console: "Console"
) -> tuple["list[PromptRecord]", "Answerer"]:
    """The prompts, and what answers them: told to be wrong before a file of choices is made."""
    from cloche.alignment.collect import Answerer, read_prompt_file
    from cloche.generation.request import GenerationRequest
    from cloche.run import load

    asked = GenerationRequest(
        (0,),
        max_tokens=command.max_new_tokens,
        temperature=command.temperature,
        top_p=command.top_p,
        overflow="stop",
    )
    records = read_prompt_file(prompts)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    lm = load(command.run, checkpoint=command.checkpoint, warn=say, tell=say)
    return records, Answerer(lm, asked, answers=command.answers, seed=command.seed)


def _collect(
    command: Collect,
    store: "ChoiceStore",
    console: "Console",
    prompts: "list[PromptRecord]",
    answerer: "Answerer",
) -> dict[str, Any]:
    from cloche.alignment.collect import Collection, Screen

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    with _keys() as read_key:
        collection = Collection(
            store,
            answerer,
            prompts,
            screen=Screen(lambda shown: _show(shown, console), say, read_key),
            chooser=command.by or getpass.getuser(),
            again=command.again,
        )
        if collection.judged_before:
            say(f"{collection.judged_before:,} prompts were judged before (--again asks them).")
        collection.run()
    counts = {name: collection.counts[name] for name in ("best", "tie", "all_bad", "skip")}
    return {**counts, "left": collection.left}


def _export(path: str, store: "ChoiceStore", console: "Console") -> dict[str, Any]:
    from cloche.alignment.collect_export import export_choices

    made = export_choices(store.choices(), Path(path))
    console.print(
        f"{made.pairs:,} pairs in {made.pairs_file}, {made.votes:,} votes in {made.votes_file}"
        + (f"; {made.ties:,} ties say nothing" if made.ties else "")
        + (f"; {made.blank:,} empty answers are left out." if made.blank else "."),
        highlight=False,
        markup=False,
    )
    return {
        "pairs": made.pairs,
        "pairs_file": str(made.pairs_file),
        "votes": made.votes,
        "votes_file": str(made.votes_file),
        "ties": made.ties,
        "blank": made.blank,
    }


def _show(shown: "Shown", console: "Console") -> None:
    """The prompt and its answers, each in a frame with its key."""
    from rich.panel import Panel
    from rich.text import Text

    console.rule(f"{shown.number:,} of {shown.count:,}")
    for message in shown.prompt:
        parts = [part for part in (message.content, message.input) if part]
        console.print(Text(f"{message.role}: ", style="bold"), end="")
        console.print(Text(safe("\n\n".join(parts))))
    for place, answer in enumerate(shown.answers):
        title = Text(f" {place + 1} ", style=f"bold {COLORS[place]}")
        text = Text(safe(answer.strip()) or "(nothing)")
        console.print(Panel(text, title=title, title_align="left", border_style=COLORS[place]))
    best = "/".join(str(place + 1) for place in range(len(shown.answers)))
    console.print(Text(f"{best} best   t tie   b all bad   s skip   u undo   q quit", style="dim"))


def safe(text: str) -> str:
    """The text without characters that would steer the terminal, or turn its direction."""
    return "".join(
        character if character in "\n\t" or not _steers(character) else "\ufffd"
        for character in text
    )


def _steers(character: str) -> bool:
    return unicodedata.category(character) == "Cc" or character in "\u202a\u202b\u202c\u202d\u202e"


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """What reads a key: at a terminal without Enter, from a pipe the next character but blanks."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text are no key
    if not sys.stdin.isatty():
        yield _next_character
        return
    try:
        import termios
        import tty
    except ImportError:  # no such terminal: keys with Enter
        yield _next_character
        return
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)

    def read() -> str:
        try:
            tty.setcbreak(handle)  # Ctrl-C stays a signal
            key = sys.stdin.read(1)
        finally:
            termios.tcsetattr(handle, termios.TCSADRAIN, before)
        return "" if key == CTRL_D else key

    try:
        yield read
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _next_character() -> str:
    while True:
        character = sys.stdin.read(1)
        if not character or not character.isspace():
            return character
