"""What each rung of the ladder learns from, as files; and what all are measured on."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from cloche.data.preferences import PreferencePair, PromptRecord
from cloche.data.stories.conversations import (
    hasty_conversation,
    is_tangled,
    stories_to_ask,
    stories_to_prefer,
    story_conversation,
)
from cloche.data.stories.corpus import story
from cloche.data.stories.teller import Language
from cloche.text.messages import Conversation

SEED = 1337
HELD_OUT_SEED = 7


@dataclass(frozen=True)
class LadderData:
    """Files for the stages, and held-out stories to measure with."""

    language: Language
    text: Path
    """Stories to tell."""
    conversations: Path
    """Stories with questions and answers."""
    hasty: Path
    """The same as somebody writes them who often mixes up two people or feelings."""
    preferences: Path
    """A right answer against a wrong one."""
    prompts: Path
    """Questions with the answer that is wanted."""
    asked: tuple[PromptRecord, ...]
    """Held-out questions."""
    pairs: tuple[PreferencePair, ...]
    """Held-out right and wrong answers."""


def write_ladder_data(
    folder: Path,
    language: Language,
    *,
    texts: int = 12_000,
    conversations: int = 10_000,
    tangled: float = 0.5,
    hasty: int = 7_000,
    mixed_up: float = 0.75,
    preferences: int = 6_000,
    prompts: int = 6_000,
    held_out: int = 500,
) -> LadderData:
    """Write so many stories for each purpose; each purpose has stories of its own.

    `tangled` is the share of the conversations whose stories are easily answered wrong, see
    `is_tangled`: all would be right about the others long before.
    The held-out ones are of the part of the stories that no stage is given. `mixed_up` is the share
    of wrong answers where hasty records can be wrong: see `hasty_conversation`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    text = folder / "stories.txt"
    told = (story(n, seed=SEED, language=language).text for n in range(texts))
    text.write_text("\n\n".join(told) + "\n", encoding="utf-8")
    first += texts
    plain = range(first, first + round((1 - tangled) * conversations))
    first += len(plain)
    mistaken = (
        hasty_conversation(n, share=mixed_up, seed=SEED, language=language)
        for n in range(first, first + hasty)
    )
    first += hasty
    prefer = stories_to_prefer(preferences, first=first, seed=SEED, language=language)
    first += preferences
    ask = stories_to_ask(prompts, first=first, seed=SEED, language=language)
    first += prompts
    which: dict[str, Any] = {"seed": SEED, "language": language}
    others = (n for n in count(first) if is_tangled(n, **which))
    told_about = chain(plain, islice(others, conversations - len(plain)))
    converse = (story_conversation(n, **which) for n in told_about)
    held: dict[str, Any] = {"seed": HELD_OUT_SEED, "language": language, "part": "held_out"}
    return LadderData(
        language,
        text,
        _written(
            folder / "conversations.jsonl",
            ({"messages": _messages(each)} for each in converse),
        ),
        _written(folder / "hasty.jsonl", ({"messages": _messages(each)} for each in mistaken)),
        _written(folder / "preferences.jsonl", map(_pair, prefer.pairs)),
        _written(folder / "prompts.jsonl", map(_prompt, ask)),
        tuple(stories_to_ask(held_out, **held)),
        tuple(stories_to_prefer(held_out, **held).pairs),
    )


def _pair(pair: PreferencePair) -> dict[str, Any]:
    return {
        "prompt": _messages(pair.prompt),
        "chosen": _messages(pair.chosen),
        "rejected": _messages(pair.rejected),
    }


def _prompt(record: PromptRecord) -> dict[str, Any]:
    return {"prompt": _messages(record.conversation), **record.fields}


def _messages(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in conversation]


def _written(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path
