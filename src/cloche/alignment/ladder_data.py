"""What each rung of the ladder learns from, as files; and what all are measured on."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from cloche.data.preferences import PreferencePair, PromptRecord
from cloche.data.stories.conversations import (
    has_hard_plot,
    hasty_conversation,
    is_tangled,
    stories_to_ask,
    stories_to_prefer,
    story_conversation,
    story_preferences,
    story_rankings,
)
from cloche.data.stories.corpus import story
from cloche.data.stories.teller import Language
from cloche.text.messages import Conversation

SEED = 1337
QUESTIONS = 4
"""Of a story, in the rankings."""
ANSWERS = 4
"""To a question, in the rankings; one of them is right."""
HELD_OUT_SEED = 7
FIRST_TANGLED = 10_000_000
FIRST_HARD = 20_000_000
"""Beyond the stories that are taken as they come, and beyond the tangled ones."""


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
    rankings: Path
    """A right answer before several wrong ones; QUESTIONS about a story behind one another."""
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
    hasty: int = 7_000,
    tangled: float = 0.5,
    hard: float = 0.0,
    mixed_up: float = 0.75,
    preferences: int = 6_000,
    rankings: int = 4_000,
    prompts: int = 6_000,
    held_out: int = 500,
) -> LadderData:
    """Write so many stories for each purpose; each purpose has stories of its own.

    `tangled` is the share of stories with questions that are easily answered wrong, see
    `is_tangled`: all others would be answered right long before. `hard` is, of the careful
    conversations and of the rankings, the share with one of the plots that are understood last, see
    `has_hard_plot`; the others are tangled in their own share. What is measured has the stories'
    own mixture.
    The held-out ones are of the part of the stories that no stage is given. `mixed_up` is the share
    of wrong answers where hasty records can be wrong: see `hasty_conversation`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    which: dict[str, Any] = {"seed": SEED, "language": language}
    stories = _Stories(which, tangled=tangled)
    text = folder / "stories.txt"
    told = (story(n, **which).text for n in islice(stories.plain, texts))
    text.write_text("\n\n".join(told) + "\n", encoding="utf-8")
    converse = (story_conversation(n, **which) for n in stories.take(conversations, hard=hard))
    mistaken = (hasty_conversation(n, share=mixed_up, **which) for n in stories.take(hasty))
    prefer = (story_preferences(n, **which) for n in stories.take(preferences))
    ranked = (record for n in stories.take(rankings, hard=hard) for record in _rankings(n, which))
    ask = (record for n in stories.take(prompts) for record in stories_to_ask(1, first=n, **which))
    held: dict[str, Any] = {"seed": HELD_OUT_SEED, "language": language, "part": "held_out"}
    return LadderData(
        language,
        text,
        _written(
            folder / "conversations.jsonl",
            ({"messages": _messages(each)} for each in converse),
        ),
        _written(folder / "hasty.jsonl", ({"messages": _messages(each)} for each in mistaken)),
        _written(folder / "preferences.jsonl", map(_pair, prefer)),
        _written(folder / "rankings.jsonl", ranked),
        _written(folder / "prompts.jsonl", map(_prompt, ask)),
        tuple(stories_to_ask(held_out, **held)),
        tuple(stories_to_prefer(held_out, **held).pairs),
    )


class _Stories:
    """Indices of stories, none given twice."""

    def __init__(self, which: dict[str, Any], *, tangled: float) -> None:
        self.plain = count()
        self._hard = (n for n in count(FIRST_HARD) if has_hard_plot(n, seed=which["seed"]))
        self._tangled = (n for n in count(FIRST_TANGLED) if is_tangled(n, **which))
        self._share = tangled

    def take(self, number: int, *, hard: float = 0.0) -> Iterator[int]:
        """So many, evenly spread among them a share of hard ones, and tangled ones among the others
        in their own share.
        """
        rare = ((hard, self._hard), (self._share * (1.0 - hard), self._tangled))
        due = [0.0 for _ in rare]
        for _ in range(number):
            due = [before + share for before, (share, _) in zip(due, rare, strict=True)]
            chosen = next((place for place, owed in enumerate(due) if owed >= 1.0 - 1e-9), None)
            if chosen is None:
                yield next(self.plain)
            else:
                due[chosen] -= 1.0
                yield next(rare[chosen][1])


def _pair(pair: PreferencePair) -> dict[str, Any]:
    return {
        "prompt": _messages(pair.prompt),
        "chosen": _messages(pair.chosen),
        "rejected": _messages(pair.rejected),
    }


def _rankings(index: int, which: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """So many questions of each story as `align.together` of the reward model expects; none of a
    story that has fewer."""
    found = story_rankings(index, most=ANSWERS, **which)
    if len(found) < QUESTIONS:
        return
    for prompt, answers in found[:QUESTIONS]:
        yield {
            "prompt": _messages(prompt),
            "answers": answers,
            "ranks": [1] + [2] * (len(answers) - 1),
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
