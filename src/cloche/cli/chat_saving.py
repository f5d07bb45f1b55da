"""Keeps a conversation as a line of JSON, in the form from which models are tuned."""

import json
from collections.abc import Sequence
from pathlib import Path

from cloche.errors import TextError
from cloche.text.messages import Message

_LONGEST_LINE = 16_000_000  # characters looked at, to see what a file is


def save_conversation(path: Path, messages: Sequence[Message]) -> None:
    """Add the conversation to a file of messages, which is made where there is none.

    Raises TextError where the file holds something else, and OSError where it cannot be written.
    """
    entries = [{"role": message.role, "content": message.content} for message in messages]
    line = json.dumps({"messages": entries}, ensure_ascii=False) + "\n"
    separator = "\n" if _ends_within_line(path) else ""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(separator + line)


def _ends_within_line(path: Path) -> bool:
    """Whether a file's last line has no end. Raises TextError where it holds no JSON Lines."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        first = file.readline(_LONGEST_LINE)
        try:
            known = isinstance(json.loads(first), dict)
        except (ValueError, RecursionError):
            known = False
        if not known:
            raise TextError(f"{path} holds something else than messages; name another file")
        file.seek(-1, 2)
        return file.read(1) != b"\n"
