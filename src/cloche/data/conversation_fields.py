"""The fields of a record as texts, messages and prompts; what is wrong is noted, field by field.

Names of roles differ between the tools that write such files; here they are those of
`text/messages.py`. `null` in a field that need not be there is the same as no field.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cloche.data.records import kind_of
from cloche.text.formats.layout import text_problem
from cloche.text.messages import ASSISTANT, ROLES, SYSTEM, TOOL, USER, Conversation, Message

ROLE_NAMES: Mapping[str, str] = {
    **{role: role for role in ROLES},
    **dict.fromkeys(("human",), USER),
    **dict.fromkeys(("gpt", "chatgpt", "bot", "model", "function_call"), ASSISTANT),
    **dict.fromkeys(("observation", "function"), TOOL),
}
"""What tools call the roles, to ours."""

_SHOWN_KEYS = 8
_NAMED_PROBLEM = "'{}' {}"
_BEFORE = {  # role: whom it may follow
    SYSTEM: (None,),
    USER: (None, SYSTEM, ASSISTANT),
    ASSISTANT: (USER, TOOL),
    TOOL: (ASSISTANT, TOOL),
}


class Turn(NamedTuple):
    """A message, and the field that it came from."""

    name: str
    message: Message


class FieldReader:
    """Reads the fields of one record, and notes in `problems` what is wrong with them.

    Where something is wrong, what comes back is empty or left out.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self.problems: list[str] = []

    def has(self, name: str) -> bool:
        """Whether there is such a field, and not null."""
        return self.fields.get(name) is not None

    def text(self, name: str, *, optional: bool = False) -> str:
        """The text of a field; it must not be empty unless the field need not be there."""
        if name not in self.fields and not optional:
            self._missing(name)
            return ""
        if optional and not self.has(name):
            return ""
        return self._text(self.fields[name], name, may_be_empty=optional)

    def prompt(self, name: str) -> list[Turn]:
        """A field that holds a prompt: the user's text, or messages. Not yet checked for order."""
        if isinstance(self.fields.get(name), list):
            turns = self.messages(name)
        else:
            content = self.text(name)
            turns = [Turn(name, Message(USER, content))] if content else []
        return self.with_system(turns)

    def answer(self, name: str) -> list[Turn]:
        """A field that holds an answer: its text, or messages."""
        if name not in self.fields:
            self._missing(name)
            return []
        return self.answer_of(self.fields[name], name)

    def answer_of(self, value: object, name: str) -> list[Turn]:
        """An answer that stands in the field `name`, or in a part of one."""
        if isinstance(value, list):
            return self.messages_of(value, name)
        content = self._text(value, name)
        return [Turn(name, Message(ASSISTANT, content))] if content else []

    def instruction(self) -> list[Turn]:
        """Alpaca's prompt: `system`, the turns of `history`, `instruction` with its `input`."""
        turns = self._history()
        content, about = self.text("instruction"), self.text("input", optional=True)
        if content:
            turns.append(Turn("instruction", Message(USER, content, about)))
        return self.with_system(turns)

    def messages(self, name: str) -> list[Turn]:
        """A list of messages, each with `role` and `content` or with `from` and `value`."""
        if name not in self.fields:
            self._missing(name)
            return []
        return self.messages_of(self.fields[name], name)

    def messages_of(self, value: object, name: str) -> list[Turn]:
        """Messages that stand in the field `name`, or in a part of one."""
        if not isinstance(value, list):
            self._note(name, f"is {kind_of(value)}, not a list of messages")
            return []
        if not value:
            self._note(name, "holds no messages")
        found = [self._message(entry, f"{name}[{place}]") for place, entry in enumerate(value)]
        return [turn for turn in found if turn is not None]

    def with_system(self, turns: list[Turn]) -> list[Turn]:
        """The turns behind the system's message, where the record has one in `system`."""
        if self.fields.get("tools"):
            self._note("tools", "describes tools, which would not be shown to the model")
        system = self.text("system", optional=True)
        if not system:
            return turns
        if turns and turns[0].message.role == SYSTEM:
            self._note("system", f"says what '{turns[0].name}' says too: keep one of them")
            return turns
        return [Turn("system", Message(SYSTEM, system)), *turns]

    def conversation(self, turns: Sequence[Turn], *, answered: bool) -> Conversation:
        """The messages, where all before was well and they come in a possible order."""
        if not self.problems:
            self.problems.extend(order_problems(turns, answered=answered))
        return () if self.problems else tuple(turn.message for turn in turns)

    def _history(self) -> list[Turn]:
        history = self.fields.get("history")
        if history is None:
            return []
        if not isinstance(history, list):
            self._note("history", f"is {kind_of(history)}, not a list of questions with answers")
            return []
        turns = []
        for place, pair in enumerate(history):
            name = f"history[{place}]"
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                self._note(name, "is no pair of a question and its answer")
                continue
            for part, role in enumerate((USER, ASSISTANT)):
                content = self._text(pair[part], f"{name}[{part}]")
                turns.append(Turn(f"{name}[{part}]", Message(role, content)))
        return turns

    def _message(self, entry: object, name: str) -> Turn | None:
        if not isinstance(entry, Mapping):
            self._note(name, f"is {kind_of(entry)}, not a message")
            return None
        said, told = ("from", "value") if "from" in entry else ("role", "content")
        missing = [key for key in (said, told) if key not in entry]
        for key in missing:
            self._note(name, f"has no '{key}' ({_keys(entry)})")
        for key in ("tool_calls", "function_call"):
            if entry.get(key):
                self._note(f"{name}.{key}", "calls tools, and only what stands in its text is read")
        role = ROLE_NAMES.get(str(entry.get(said, "")).strip().lower())
        if missing or role is None:
            if said in entry:
                self._note(f"{name}.{said}", f"is {entry[said]!r:.40}, none of {', '.join(ROLES)}")
            return None
        content = self._content(entry[told], f"{name}.{told}", may_be_empty=role in (SYSTEM, TOOL))
        return Turn(name, Message(role, content))

    def _content(self, value: object, name: str, *, may_be_empty: bool) -> str:
        """The text of a message, which may come as a list of its parts."""
        if not isinstance(value, list):
            return self._text(value, name, may_be_empty=may_be_empty)
        texts, known = [], len(self.problems)
        for place, part in enumerate(value):
            kind = part.get("type", "text") if isinstance(part, Mapping) else kind_of(part)
            if not isinstance(part, Mapping) or kind != "text" or "text" not in part:
                self._note(f"{name}[{place}]", f"is no text but {kind!r:.40}; only text is read")
                continue
            texts.append(self._text(part["text"], f"{name}[{place}].text", may_be_empty=True))
        if len(self.problems) > known:
            return ""
        return self._text("".join(texts), name, may_be_empty=may_be_empty)

    def _text(self, value: object, name: str, *, may_be_empty: bool = False) -> str:
        if value is None:
            self._note(name, "is null")
        elif not isinstance(value, str):
            self._note(name, f"is {kind_of(value)}, not text")
        elif not value.strip() and not may_be_empty:
            self._note(name, "is empty")
        elif problem := text_problem(value):
            self._note(name, problem)
        else:
            return value
        return ""

    def _missing(self, name: str) -> None:
        self.problems.append(f"there is no '{name}' ({_keys(self.fields)})")

    def _note(self, name: str, problem: str) -> None:
        self.problems.append(_NAMED_PROBLEM.format(name, problem))


def order_problems(turns: Sequence[Turn], *, answered: bool) -> list[str]:
    """What is wrong with who speaks after whom; the first thing only, as others follow from it.

    At most one system message comes first, then the user, and answers alternate with what the user
    or a tool says. The last word is the assistant's where `answered`, else it is not.
    """
    before = None
    for name, message in turns:
        if before not in _BEFORE[message.role]:
            return [_NAMED_PROBLEM.format(name, _wrong_place(message.role, before))]
        before = message.role
    if answered and before != ASSISTANT:
        what = "there is no answer" if before is None else f"the {before}'s last word has no answer"
        return [f"{what}: nothing can be learned from it"]
    if not answered and before not in (USER, TOOL):
        last = turns[-1].name if turns else "the prompt"
        return [
            _NAMED_PROBLEM.format(last, "leaves nothing to answer: a prompt ends with the user")
        ]
    return []


def _wrong_place(role: str, before: str | None) -> str:
    if role == SYSTEM:
        return "is a system message, which can only come first"
    if role == before:
        return f"is the {role}'s second message in a row"
    if before in (None, SYSTEM):
        return f"is the {role}'s, and the user must begin"
    return f"is the {role}'s, which cannot follow the {before}'s"


def _keys(fields: Iterable[str]) -> str:
    keys = [repr(str(key)) for key in fields]
    more = ", ..." if len(keys) > _SHOWN_KEYS else ""
    return f"there is {', '.join(keys[:_SHOWN_KEYS]) or 'nothing'}{more}"
