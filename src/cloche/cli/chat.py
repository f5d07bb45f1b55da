"""`cloche chat`: writing with a model, turn by turn."""

import contextlib
import io
import sys
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cloche.cli.parse import parse
from cloche.cli.sampling import SamplingOptions, require_unicode, tell
from cloche.errors import ClocheError, SettingError, TokenizerError
from cloche.generation.request import GenerationRequest

if TYPE_CHECKING:
    from cloche.run import LM

INTRODUCTION = (
    "This model was trained to continue text; it has not been tuned to answer.\n"
    "Type a beginning and it goes on. /help tells more; Ctrl-D ends."
)
HELP = """\
What you type is put behind the text so far, and the model continues it.
  Enter   on an empty line: the model goes on by itself
  /new    forget the text so far
  /quit   end (as Ctrl-D does)
  /help   this
  Ctrl-C  while it writes: stop there"""


@dataclass(frozen=True)
class Chat(SamplingOptions):
    """Write with a model, turn by turn: it continues what you type, and remembers the text."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run, a checkpoint, or a Hugging Face model folder."""
    checkpoint: str = "best"
    """best, latest, or a step."""
    precision: Literal["auto", "float32", "bfloat16", "int8", "int4"] = "auto"
    """float32 is exact; auto takes it on a CPU. The others read less memory for each token."""


def main(arguments: list[str]) -> int:
    """Chat until /quit or the end of the input; then 0."""
    command = parse(Chat, arguments, prog="cloche chat")
    asked = command.request()
    if command.logprobs is not None:
        raise SettingError("a chat shows no log probabilities: leave --logprobs out")
    from cloche.cli.opening import open_writer
    from cloche.evaluation.translation import is_translator

    if is_translator(command.run, checkpoint=command.checkpoint):
        raise SettingError(
            f"{command.run} holds a model that translates, which is none to chat with: use "
            f'cloche generate {command.run} "some text"'
        )
    lm = open_writer(command)
    asked = command.with_tokenizer(asked, lm.tokenizer)
    if isinstance(sys.stdin, io.TextIOWrapper):
        # bytes that are no text must not end the session: they are told when the line is read
        sys.stdin.reconfigure(errors="surrogateescape")
    with contextlib.suppress(ImportError):  # line editing and history, where Python has them
        import readline  # noqa: F401
    print(f"{lm.folder}\n{INTRODUCTION}")
    conversation = Conversation(lm, asked)
    while (line := read_line()) is not None:
        if line.startswith("/"):
            if line.strip() == "/quit":
                break
            print(obey(line.strip(), conversation))
        else:
            take_turn(conversation, line)
    return 0


class Conversation:
    """The text so far, and how it goes on."""

    def __init__(self, lm: "LM", asked: GenerationRequest) -> None:
        self.text = ""
        self._lm = lm
        self._asked = asked
        self._separator = self._first_known("\n", " ")
        self._turns = 0
        self._told_forgetting = False

    def restart(self) -> None:
        """Forget the text so far."""
        self.text = ""
        self._told_forgetting = False

    def reply(self, line: str) -> Generator[str]:
        """The pieces with which the model continues the text so far and then `line`.

        What has been read and written becomes part of the text also where the reading of the
        pieces stops early. Raises TokenizerError, the text unchanged, where `line` holds a
        character that the model does not know.
        """
        self._lm.tokenizer.encode(line)  # alone first: its errors count from the line's start
        together = self._joined(line)
        prompt = self._newest_that_fit(self._lm.prompt_ids(together))
        seed = None if self._asked.seed is None else self._asked.seed + self._turns
        self.text = together
        self._turns += 1
        with contextlib.closing(
            self._lm.engine().stream(replace(self._asked, prompt=prompt, seed=seed))
        ) as events:
            for event in events:
                self.text += event.text
                yield event.text

    def _joined(self, line: str) -> str:
        if not self.text or not line or self.text.endswith("\n"):
            return self.text + line
        return self.text + self._separator + line

    def _newest_that_fit(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """The ids, or the newest of them where the context cannot hold all, as the engine does."""
        from cloche.generation.engine import kept_when_sliding

        context = self._lm.config.context
        if len(ids) <= context:
            return ids
        if not self._told_forgetting:
            tell(f"the model looks at {context} tokens at most: it no longer sees the beginning")
            self._told_forgetting = True
        return ids[-kept_when_sliding(context) :]

    def _first_known(self, *candidates: str) -> str:
        """The first of these that the tokenizer can express; nothing where it can none."""
        for candidate in candidates:
            with contextlib.suppress(TokenizerError):
                self._lm.tokenizer.encode(candidate)
                return candidate
        return ""


def read_line() -> str | None:
    """The next line typed; None at the end of the input."""
    try:
        return input("> ")
    except EOFError:
        print()
        return None


def obey(order: str, conversation: Conversation) -> str:
    """Do what a line beginning with / asks; returns what to say to it."""
    if order == "/help":
        return HELP
    if order == "/new":
        conversation.restart()
        return "A new text begins."
    return f"there is no {order}; there are /new, /quit and /help"


def take_turn(conversation: Conversation, line: str) -> None:
    """Print the model's continuation as it comes; Ctrl-C ends only this one."""
    written = ""
    try:
        require_unicode(line, what="the line")
        with contextlib.closing(conversation.reply(line)) as pieces:
            for piece in pieces:
                written += piece
                sys.stdout.write(piece)
                sys.stdout.flush()
    except KeyboardInterrupt:
        written += " [stopped]"
        sys.stdout.write(" [stopped]")
    except ClocheError as exc:
        tell(str(exc))
    if written and not written.endswith("\n"):
        print()
