"""A chat with a model that was tuned to answer: messages in roles, as its chat template says."""

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cloche.cli.chat_adapters import list_adapters, name_taken, with_other_adapter
from cloche.cli.chat_saving import save_conversation
from cloche.cli.sampling import require_unicode, tell
from cloche.errors import ClocheError, RequestError, TextError
from cloche.generation.request import GenerationRequest
from cloche.text.messages import ASSISTANT, SYSTEM, USER, Conversation, Message

if TYPE_CHECKING:
    from cloche.generation.request import TokenEvent
    from cloche.run import LM
    from cloche.text.chat import ChatTemplate

INTRODUCTION = "Type what you want to say. /help tells more; Ctrl-D ends."
HELP = """\
What you type is a message; the model answers it, and remembers the conversation.
  /new           forget the conversation
  /undo          take the last message and its answer back
  /system TEXT   what the model is told before everything else; without TEXT, nothing
  /adapter NAME  another adapter answers from now on; none: the model alone
  /save FILE     add the conversation to a file of messages (JSON Lines)
  /quit          end (as Ctrl-D does)
  /help          this
  Ctrl-C         while it writes: stop there"""
ORDERS = "/new, /undo, /system, /adapter, /save, /quit and /help"


class Dialogue:
    """The conversation so far, and the model that answers."""

    introduction = INTRODUCTION

    def __init__(
        self, lm: "LM", template: "ChatTemplate", asked: GenerationRequest, *, system: str
    ) -> None:
        """Raises ClocheError where the template has no stop token, or refuses the system text."""
        self._asked = replace(asked, overflow="stop")
        self._speak_with(lm, template)
        self._system: Conversation = ()
        self._set_system(system)
        self._turns: list[tuple[Message, Message]] = []
        self._forgotten = 0  # turns that the context no longer holds
        self._answered = 0
        self._notice = ""
        self._told_cut = False

    @property
    def messages(self) -> Conversation:
        """All messages, those that the model no longer sees, too."""
        return (*self._system, *(message for turn in self._turns for message in turn))

    def reply(self, line: str) -> Generator[str]:
        """The pieces of the model's answer to `line`; nothing for a blank one.

        What has been written belongs to the conversation also where the reading of the pieces stops
        early; where nothing was, neither does the message. Raises ClocheError, the conversation
        unchanged, where the message cannot be written or is too long.
        """
        self._notice = ""
        if not line.strip():
            return
        message = Message(USER, line)
        prompt = self._prompt(message)
        seed = None if self._asked.seed is None else self._asked.seed + self._answered
        request = replace(self._asked, prompt=prompt, seed=seed)
        self._answered += 1
        answer, last = "", None
        try:
            with contextlib.closing(self._lm.engine().stream(request)) as events:
                for last in events:
                    answer += last.text
                    yield last.text
        finally:
            self._keep(message, answer, last)

    def notice(self) -> str:
        """What is to be said of the last answer; mostly nothing."""
        return self._notice

    def obey(self, order: str) -> str:
        """Do what a line beginning with / asks; returns what to say to it."""
        name, _, rest = order.partition(" ")
        rest = rest.strip()
        if name == "/system":
            return self._obey_system(rest)
        if name == "/adapter":
            return self._obey_adapter(rest)
        if name == "/save":
            return self._obey_save(rest)
        if order == "/help":
            return HELP
        if order == "/new":
            self._turns.clear()
            self._forgotten = 0
            return "A new conversation begins."
        if order == "/undo":
            return self._undo()
        return f"there is no {order}; there are {ORDERS}"

    def _prompt(self, message: Message) -> tuple[int, ...]:
        """The tokens that ask for an answer: of the newest turns as many as leave it room."""
        context = self._lm.config.context
        room = context - min(self._asked.max_tokens, context // 4)
        first = self._forgotten
        ids = self._ids(self._turns[first:], message)
        while len(ids) > room and first < len(self._turns):
            first += 1
            ids = self._ids(self._turns[first:], message)
        if len(ids) >= context:
            raise RequestError(
                f"the message takes {len(ids)} tokens with all that stands before it, and the "
                f"model looks at {context} at most: say it in fewer words"
            )
        if first and not self._forgotten:
            tell(f"the model looks at {context} tokens at most: it forgets the oldest messages")
        self._forgotten = first
        return ids

    def _ids(self, turns: Sequence[tuple[Message, Message]], message: Message) -> tuple[int, ...]:
        told = (each for turn in turns for each in turn)
        return self._template.prompt_ids((*self._system, *told, message), self._lm.tokenizer)

    def _keep(self, message: Message, answer: str, last: "TokenEvent | None") -> None:
        """Make message and answer a turn; note why the answer ended, if not by itself."""
        if not answer.strip():
            self._notice = "there was no answer: the message is forgotten"
            return
        self._turns.append((message, Message(ASSISTANT, answer)))
        cut = last is not None and last.finish_reason == "length"
        if cut and not self._told_cut:
            self._told_cut = True
            self._notice = (
                f"the answer is cut off: --max-new-tokens allows {self._asked.max_tokens}, and the "
                f"model looks at {self._lm.config.context} tokens at most"
            )

    def _undo(self) -> str:
        if not self._turns:
            return "there is nothing to take back"
        message, _ = self._turns.pop()
        self._forgotten = min(self._forgotten, len(self._turns))
        return f"Taken back: {message.content[:60]}"

    def _obey_system(self, text: str) -> str:
        before = self._system
        try:
            self._set_system(text)
        except (TextError, RequestError) as exc:
            self._system = before
            return str(exc)
        return "The model is told so from now on." if text else "The model is told nothing more."

    def _set_system(self, text: str) -> None:
        require_unicode(text, what="the system text")
        self._system = (Message(SYSTEM, text),) if text else ()
        ids = self._ids([], Message(USER, ""))
        if len(ids) >= self._lm.config.context:
            raise RequestError(
                f"the system text leaves no room for a message: it takes {len(ids)} tokens, and "
                f"the model looks at {self._lm.config.context} at most"
            )

    def _obey_adapter(self, name: str) -> str:
        """The conversation goes on; where no template is the adapter's own, nor the model's, the
        one that it was asked by before stays."""
        if not name:
            return list_adapters(self._lm)
        template = self._template
        before = self._lm.adapters.active if self._lm.adapters else None
        try:
            lm = with_other_adapter(self._lm, name)
            self._speak_with(lm, lm.template or template)
            self._set_system(self._system[0].content if self._system else "")
        except ClocheError as exc:
            if self._lm.adapters is not None:  # its template refuses the system text
                self._speak_with(self._lm.with_adapter(before), template)
            return str(exc)
        return name_taken(name)

    def _speak_with(self, lm: "LM", template: "ChatTemplate") -> None:
        stops = (*template.stop_ids(lm.tokenizer), *lm.stop_ids)
        self._lm, self._template = lm, template
        self._asked = replace(self._asked, stop_ids=tuple(dict.fromkeys(stops)))

    def _obey_save(self, name: str) -> str:
        if not name:
            return "say where: /save FILE"
        if not self._turns:
            return "there is nothing to save yet"
        try:
            save_conversation(Path(name).expanduser(), self.messages)
        except (TextError, OSError) as exc:
            return f"not saved: {exc}"
        return f"{len(self.messages)} messages are added to {name}"
