"""The conversations that both sides of a comparison tune on, and in which order. Loads no torch."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from cloche.data.conversation_split import split_records
from cloche.data.conversations import read_conversations
from cloche.data.stories.conversations import stories_to_converse
from cloche.text.messages import Conversation, Message

SPLIT = (0.9, 0.1)
"""Shares of training and validation, of which the latter is never looked at."""
SEED = 1337
STORIES = 1000


def write_records(path: Path, sources: Sequence[str]) -> str:
    """Write the conversations of some files, or of built-in stories, as JSON lines of messages.

    What an instruction is about stands behind it, as templates without a place of its own for it
    show it, so that every library reads the same. Returns what they are, for the screen. Raises
    ClocheError for files that hold no conversations.
    """
    if sources:
        found = read_conversations(sources)
        said = ", ".join(Path(source).name for source in sources)
    else:
        found = stories_to_converse(STORIES, seed=SEED, language="en")
        said = "built-in stories"
    lines = [
        json.dumps({"messages": [_shown(message) for message in record.conversation]})
        for record in found.records
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{len(lines):,} conversations ({said})"


def training_records(path: Path) -> list[Conversation]:
    """The conversations of such a file that are trained on, in the file's order."""
    found = read_conversations([str(path)]).records
    places = split_records(len(found), split=SPLIT, seed=SEED).train
    return [found[place].conversation for place in places]


def step_sums(lengths: Sequence[int], batch: int) -> list[int]:
    """The sums of each `batch` of lengths in turn."""
    each = iter(lengths)
    return [sum(islice(each, batch)) for _ in range(len(lengths) // batch)]


def _shown(message: Message) -> dict[str, str]:
    content = "\n\n".join(filter(None, (message.content, message.input)))
    return {"role": message.role, "content": content}
