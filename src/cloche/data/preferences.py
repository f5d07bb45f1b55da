"""What people prefer, from files of any usual form; which one is found out, not declared.

| form | a record has |
| --- | --- |
| pairs | a prompt, `chosen`, `rejected` |
| rankings | a prompt, `answers`, the best first; or in any order with `ranks` or `scores` |
| votes | a prompt, `completion` or `answer`, and `label` or `vote`: good or bad |

A prompt is `prompt`, text or messages, or the fields of Alpaca. `chosen` and `rejected` may also be
whole conversations: what they begin with alike is the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cloche.data.conversation_fields import FieldReader
from cloche.data.conversation_forms import RecordForm, detect_form, read_each
from cloche.data.preference_fields import (
    ranked_pairs,
    read_answered,
    read_chosen_rejected,
    read_prompt,
    read_vote,
)
from cloche.data.records import Record, read_records
from cloche.errors import TextError
from cloche.text.messages import Conversation

PreferenceForm = Literal["pairs", "rankings", "votes"]

_SHOWN = 3
_PAIRS = RecordForm("pairs", "chosen, rejected", (("chosen",), ("rejected",)))
_RANKINGS = RecordForm("rankings", "answers", (("answers",),), excluded=("chosen",))
_VOTES = RecordForm(
    "votes", "completion, label", (("completion", "answer"), ("label", "vote")),
    excluded=("chosen", "answers"),
)  # fmt: skip
_PROMPTS = (
    RecordForm("prompt", "prompt", (("prompt",),)),
    RecordForm("alpaca", "instruction, input", (("instruction",),)),
    RecordForm("messages", "messages (role, content)", (("messages",),), excluded=("prompt",)),
)
_PROMPT_FIELDS = {
    "prompt": ("prompt", "system"),
    "alpaca": ("instruction", "input", "history", "system"),
    "messages": ("messages", "system"),
}


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one prompt, and which is better."""

    place: str
    prompt: Conversation
    """Ends with what the user (or a tool) says."""
    chosen: Conversation
    """The better answer: what follows the prompt, mostly one message of the assistant."""
    rejected: Conversation
    number: int
    """Of the record among all of the files, from 0. Pairs of one ranking share it."""

    @property
    def group(self) -> int:
        """The number of the ranking that the pair is of, the same for all its pairs."""
        return self.number


@dataclass(frozen=True)
class Vote:
    """One answer to a prompt, found good or bad."""

    place: str
    prompt: Conversation
    answer: Conversation
    good: bool
    number: int
    """Of the record among all of the files, from 0."""


@dataclass(frozen=True)
class PromptRecord:
    """A prompt to answer, with whatever else its record holds."""

    place: str
    conversation: Conversation
    fields: dict[str, Any]
    """All fields but those of the prompt: what rewards compare answers with."""
    number: int
    """Of the record among all of the files, from 0."""


@dataclass
class Preferences:
    """Pairs or votes in the order of their files, and what was noticed on the way."""

    form: PreferenceForm
    records: int
    pairs: list[PreferencePair] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    identical: list[str] = field(default_factory=list)
    """Places of pairs whose answers are the same, which say nothing and are left out."""
    tied: list[str] = field(default_factory=list)
    """Places of rankings in which answers tie; pairs of these are left out."""
    repeated: list[tuple[str, str]] = field(default_factory=list)
    """Places of pairs and votes that came before, and where. All are kept."""
    contradicting: list[tuple[str, str]] = field(default_factory=list)
    """Places of pairs and votes that contradict an earlier one, and where. All are kept."""

    def describe(self) -> list[str]:
        """What they are, in lines for the screen."""
        good = sum(vote.good for vote in self.votes)
        found = {
            "pairs": f"{len(self.pairs):,} pairs of a better and a worse answer.",
            "rankings": f"{len(self.pairs):,} pairs of answers from {self.records:,} rankings.",
            "votes": f"{len(self.votes):,} votes, {good:,} of them good.",
        }[self.form]
        lines = [found]
        told = {
            "Pairs left out, as both answers are the same": self.identical,
            "Rankings with ties, whose tied pairs are left out": self.tied,
            "Said before": _both(self.repeated),
            "Contrary to what was said before": _both(self.contradicting),
        }
        lines += [_told(what, places) for what, places in told.items() if places]
        return lines


def read_preferences(
    paths: str | Path | Sequence[str | Path], *, records: str = "", encoding: str = "auto"
) -> Preferences:
    """The preferences of one or several files, of the records in the slice `records`.

    A ranking becomes all its pairs. Raises TextError where records have different forms, where all
    pairs are identical, and for all records that cannot be used: fields that are missing, null,
    empty or no text, a wrong order of roles, ids that come twice.
    """
    return to_preferences(read_records(paths, records=records, encoding=encoding))


def to_preferences(records: Sequence[Record]) -> Preferences:
    """The preferences of records that are already read; see `read_preferences`."""
    form = detect_form(records, (_PAIRS, _RANKINGS, _VOTES), what="preference")
    name: PreferenceForm = "pairs"
    if form is not _PAIRS:
        name = "rankings" if form is _RANKINGS else "votes"
    found = Preferences(name, len(records))
    add = {"pairs": _add_pair, "rankings": _add_ranking, "votes": _add_vote}[name]

    def read(record: Record) -> list[str]:
        reader = FieldReader(record.fields)
        add(found, record, reader)
        return reader.problems

    read_each(records, read, what="learned from")
    if not found.pairs and not found.votes:
        raise TextError(
            f"none of the {len(records):,} records prefers one answer: all answers are the same or "
            "tie"
        )
    _note_repeated(found)
    return found


def read_prompts(
    paths: str | Path | Sequence[str | Path], *, records: str = "", encoding: str = "auto"
) -> list[PromptRecord]:
    """The prompts of one or several files, of the records in the slice `records`.

    A prompt is `prompt` (text or messages), `instruction` with `input`, or `messages`; all other
    fields are kept beside it. Raises TextError as `read_preferences`.
    """
    return to_prompts(read_records(paths, records=records, encoding=encoding))


def to_prompts(records: Sequence[Record]) -> list[PromptRecord]:
    """The prompts of records that are already read; see `read_prompts`."""
    form = detect_form(records, _PROMPTS, what="prompt")
    found = []

    def read(record: Record) -> list[str]:
        reader = FieldReader(record.fields)
        prompt = read_prompt(reader, form.name)
        others = {k: v for k, v in record.fields.items() if k not in _PROMPT_FIELDS[form.name]}
        found.append(PromptRecord(record.place, prompt, others, record.number))
        return reader.problems

    read_each(records, read, what="answered")
    return found


def _add_pair(found: Preferences, record: Record, reader: FieldReader) -> None:
    prompt, chosen, rejected = read_chosen_rejected(reader)
    if reader.problems:
        return
    if chosen == rejected:
        found.identical.append(record.place)
        return
    found.pairs.append(PreferencePair(record.place, prompt, chosen, rejected, record.number))


def _add_ranking(found: Preferences, record: Record, reader: FieldReader) -> None:
    prompt, answers, ranks = read_answered(reader)
    if reader.problems:
        return
    if len(set(ranks)) < len(ranks):
        found.tied.append(record.place)
    for better, worse in ranked_pairs(ranks):
        chosen, rejected = answers[better], answers[worse]
        place = f"{record.place}, answers {better + 1} and {worse + 1}"
        if chosen == rejected:
            found.identical.append(place)
        else:
            found.pairs.append(PreferencePair(place, prompt, chosen, rejected, record.number))


def _add_vote(found: Preferences, record: Record, reader: FieldReader) -> None:
    prompt, answer, good = read_vote(reader)
    if not reader.problems:
        found.votes.append(Vote(record.place, prompt, answer, good, record.number))


def _note_repeated(found: Preferences) -> None:
    """Note what was said before, and what says the contrary."""
    said: dict[object, str] = {}
    stated = [
        (pair.place, (pair.prompt, pair.chosen, pair.rejected),
         (pair.prompt, pair.rejected, pair.chosen)) for pair in found.pairs
    ]  # fmt: skip
    stated += [
        (
            vote.place,
            (vote.prompt, vote.answer, vote.good),
            (vote.prompt, vote.answer, not vote.good),
        )
        for vote in found.votes
    ]
    for place, statement, contrary in stated:
        before = said.setdefault(statement, place)
        if before != place:
            found.repeated.append((place, before))
        if contrary in said:
            found.contradicting.append((place, said[contrary]))


def _both(places: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{place} after {before}" for place, before in places]


def _told(what: str, places: Sequence[str]) -> str:
    more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
    return f"{what}: {len(places):,} ({', '.join(places[:_SHOWN])}{more})."
