"""What a conversation is: messages, each with the role of who says it."""

from dataclasses import dataclass

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
