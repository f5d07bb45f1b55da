"""A chat with a model that only continues text: one text, to which both sides write."""

import contextlib
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from cloche.cli.chat_adapters import list_adapters, name_taken, with_other_adapter
from cloche.cli.sampling import tell
from cloche.errors import SettingError, TokenizerError
from cloche.generation.request import GenerationRequest

if TYPE_CHECKING:
    from cloche.run import LM

UNTUNED = "This model was trained to continue text; it has not been tuned to answer."
TUNED = "This model was tuned to answer, and continues text here, as --continue-text asks."
INTRODUCTION = "Type a beginning and it goes on. /help tells more; Ctrl-D ends."
HELP = """\
What you type is put behind the text so far, and the model continues it.
  Enter          on an empty line: the model goes on by itself
  /new           forget the text so far
  /adapter NAME  another adapter writes from now on; none: the model alone
  /quit          end (as Ctrl-D does)
  /help          this
  Ctrl-C         while it writes: stop there"""


class Continuation:
    """The text so far, and how it goes on."""

    def __init__(self, lm: "LM", asked: GenerationRequest) -> None:
        self.text = ""
        self.introduction = f"{UNTUNED if lm.template is None else TUNED}\n{INTRODUCTION}"
        self._lm = lm
        self._asked = asked
        self._separator = self._first_known("\n", " ")
        self._turns = 0
        self._told_forgetting = False

    def obey(self, order: str) -> str:
        """Do what a line beginning with / asks; returns what to say to it."""
        if order == "/help":
            return HELP
        if order == "/new":
            self.text = ""
            self._told_forgetting = False
            return "A new text begins."
        if order.split(" ")[0] == "/adapter":
            return self._obey_adapter(order.removeprefix("/adapter").strip())
        return f"there is no {order}; there are /new, /adapter, /quit and /help"

    def notice(self) -> str:
        """Nothing: a text may end anywhere."""
        return ""

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

    def _obey_adapter(self, name: str) -> str:
        if not name:
            return list_adapters(self._lm)
        try:
            self._lm = with_other_adapter(self._lm, name)
        except SettingError as exc:
            return str(exc)
        if self._lm.template is None:
            return name_taken(name)
        return (
            f"{name_taken(name)} It was tuned to answer, and goes on with the text here: to ask "
            f"it, begin with --adapter {name}."
        )

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
