"""What a conversation is: messages, each with the role of who says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cloche.errors import TextError

SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
ROLES = (SYSTEM, USER, ASSISTANT, TOOL)


@dataclass(frozen=True)
class Message:
    """What one side says."""

    role: str
    """One of ROLES."""
    content: str
    input: str = ""
    """What an instruction is about, as Alpaca's records keep it apart; templates without a place
    for it show it after the content and a blank line."""


Conversation = tuple[Message, ...]
"""Messages in their order; `data.conversations` checks it."""


def to_messages(given: str | Sequence[Message | Mapping[str, str]]) -> Conversation:
    """A conversation of a question, or of messages as dictionaries with `role` and `content`.

    Raises TextError for what is no message.
    """
    if isinstance(given, str):
        return (Message(USER, given),)
    found = []
    for number, each in enumerate(given, start=1):
        if isinstance(each, Message):
            found.append(each)
            continue
        role, content = each.get("role"), each.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise TextError(
                f"message {number} must have a role ({', '.join(ROLES)}) and a content that is "
                f"text, got {dict(each)!r:.80}"
            )
        found.append(Message(role, content))
    return tuple(found)
