"""`cloche chat`: writing with a model, turn by turn."""

import contextlib
import io
import sys
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, runtime_checkable

import tyro

from cloche.cli.adapters import AdapterOptions
from cloche.cli.parse import parse
from cloche.cli.sampling import SamplingOptions, require_unicode, tell
from cloche.errors import ClocheError, SettingError
from cloche.generation.request import GenerationRequest

if TYPE_CHECKING:
    from cloche.run import LM


@dataclass(frozen=True)
class Chat(AdapterOptions, SamplingOptions):
    """Talk with a model, turn by turn. One that was not tuned to answer continues what you type."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run, a checkpoint, or a Hugging Face model folder."""
    checkpoint: str = "best"
    """best, latest, or a step."""
    precision: Literal["auto", "float32", "bfloat16", "int8", "int4"] = "auto"
    """float32 is exact; auto takes it on a CPU. The others read less memory for each token."""
    system: str = ""
    """What the model is told before everything else, where its chat template has a place for it."""
    continue_text: bool = False
    """Let the model continue text, also where it has a chat template to answer by."""


@runtime_checkable
class Talk(Protocol):
    """What lines are typed to: a text that goes on, or a conversation in roles."""

    introduction: str

    def reply(self, line: str) -> Generator[str]:
        """The pieces that the model writes to `line`."""
        ...

    def notice(self) -> str:
        """What is to be said of what it wrote last; empty where nothing is."""
        ...

    def obey(self, order: str) -> str:
        """Do what a line beginning with / asks; returns what to say to it."""
        ...


def main(arguments: list[str]) -> int:
    """Chat until /quit or the end of the input; then 0."""
    command = parse(Chat, arguments, prog="cloche chat")
    asked = command.request()
    if command.logprobs is not None:
        raise SettingError("a chat shows no log probabilities: leave --logprobs out")
    from cloche.cli.chat_adapters import list_adapters
    from cloche.cli.opening import open_writer
    from cloche.evaluation.translation import is_translator

    if is_translator(command.run, checkpoint=command.checkpoint):
        raise SettingError(
            f"{command.run} holds a model that translates, which is none to chat with: use "
            f'cloche generate {command.run} "some text"'
        )
    lm = open_writer(command)
    talk = open_talk(command, lm, command.with_tokenizer(asked, lm.tokenizer))
    adapters = f"\n{list_adapters(lm)}" if lm.adapters is not None else ""
    if isinstance(sys.stdin, io.TextIOWrapper):
        # bytes that are no text must not end the session: they are told when the line is read
        sys.stdin.reconfigure(errors="surrogateescape")
    with contextlib.suppress(ImportError):  # line editing and history, where Python has them
        import readline  # noqa: F401
    print(f"{lm.folder}\n{talk.introduction}{adapters}")
    while (line := read_line()) is not None:
        if line.startswith("/"):
            if line.strip() == "/quit":
                break
            print(talk.obey(line.strip()))
        else:
            take_turn(talk, line)
    return 0


def open_talk(command: Chat, lm: "LM", asked: GenerationRequest) -> Talk:
    """A conversation in roles where the model has a chat template, else a text that goes on."""
    from cloche.cli.chat_roles import Dialogue
    from cloche.cli.chat_text import Continuation

    template = None if command.continue_text else lm.template
    if template is not None:
        return Dialogue(lm, template, asked, system=command.system)
    if command.system:
        why = "--continue-text was given" if command.continue_text else "it has no chat template"
        raise SettingError(
            f"--system tells a model how to answer, but {command.run} only continues text here: "
            f"{why}; leave --system out"
        )
    return Continuation(lm, asked)


def read_line() -> str | None:
    """The next line typed; None at the end of the input."""
    try:
        return input("> ")
    except EOFError:
        print()
        return None


def take_turn(talk: Talk, line: str) -> None:
    """Print what the model writes as it comes; Ctrl-C ends only this one."""
    written, problem = "", ""
    try:
        require_unicode(line, what="the line")
        with contextlib.closing(talk.reply(line)) as pieces:
            for piece in pieces:
                written += piece
                sys.stdout.write(piece)
                sys.stdout.flush()
        problem = talk.notice()
    except KeyboardInterrupt:
        written += " [stopped]"
        sys.stdout.write(" [stopped]")
        problem = talk.notice()
    except ClocheError as exc:
        problem = str(exc)
    if written and not written.endswith("\n"):
        print()
    if problem:
        tell(problem)
