"""Choices as files to learn from: pairs, and votes, as `data.preferences` reads them.

A best answer gives a pair with each of the others. All bad gives a bad vote to each answer. A best
answer is a good vote, too, so that the votes hold both kinds. Ties and skipped prompts give
nothing: that two answers are as good as each other does not say that they are good.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloche.alignment.collect_store import StoredChoice
from cloche.errors import RunError


@dataclass(frozen=True)
class Exported:
    """What was written where."""

    pairs: int
    pairs_file: Path
    votes: int
    votes_file: Path
    ties: int
    """Choices of which nothing is exported."""
    blank: int
    """Answers without a letter, which nothing can be learned from: they are left out."""


def export_choices(choices: Iterable[StoredChoice], path: Path) -> Exported:
    """Write the pairs to `path`, the votes beside it as NAME.votes.jsonl; each whole or not at all.

    Identical answers make no pair. Raises RunError where the disk refuses.
    """
    made = list(choices)
    pairs = [row for choice in made for row in pairs_of(choice)]
    votes = [row for choice in made for row in votes_of(choice)]
    votes_path = path.with_name(f"{path.stem}.votes{path.suffix or '.jsonl'}")
    for place, rows in ((path, pairs), (votes_path, votes)):
        _write(place, rows)
    ties = sum(choice.verdict == "tie" for choice in made)
    blank = sum(not answer.text.strip() for choice in made for answer in choice.round.answers)
    return Exported(len(pairs), path, len(votes), votes_path, ties, blank)


def pairs_of(choice: StoredChoice) -> list[dict[str, Any]]:
    """The records of a choice: the best answer with each other one."""
    if choice.best is None:
        return []
    texts = [answer.text for answer in choice.round.answers]
    best = texts[choice.best]
    return [
        {**choice.round.prompt, "chosen": best, "rejected": text, **_origin(choice)}
        for text in dict.fromkeys(texts)
        if text != best and text.strip() and best.strip()
    ]


def votes_of(choice: StoredChoice) -> list[dict[str, Any]]:
    """The records of a choice: all answers bad, or the best one good."""
    texts = [answer.text for answer in choice.round.answers]
    if choice.verdict == "all_bad":
        voted = [(text, False) for text in dict.fromkeys(texts)]
    else:
        voted = [] if choice.best is None else [(texts[choice.best], True)]
    return [
        {**choice.round.prompt, "completion": text, "label": good, **_origin(choice)}
        for text, good in voted
        if text.strip()
    ]


def _origin(choice: StoredChoice) -> dict[str, Any]:
    return {"model_hash": choice.round.model_hash, "chosen_at": choice.chosen_at}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise RunError(f"{path} cannot be written: {exc.strerror}; name another file") from exc
