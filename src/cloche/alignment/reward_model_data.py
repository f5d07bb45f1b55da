"""The choices that a reward model learns from: read, split, and made into groups of tokens."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cloche.alignment.preference_data import read_held_preferences
from cloche.alignment.scoring import RankedGroup
from cloche.data.conversation_checks import find_prompt_leaks
from cloche.data.conversation_split import length_report, split_groups
from cloche.data.preferences import PreferencePair
from cloche.errors import ClocheError, DataError, SettingError, TextError
from cloche.text.chat import ChatTemplate
from cloche.text.messages import Conversation
from cloche.text.tokenizer import Tokenizer
from cloche.tuning.classify_scoring import scored_example
from cloche.tuning.options import TuneDataOptions
from cloche.tuning.session import Telling

_NAMED = 10


@dataclass(frozen=True)
class ScoredText:
    """How prompts and answers become tokens: the whole conversation, as the template writes it."""

    template: ChatTemplate
    tokenizer: Tokenizer

    def ids(self, conversation: Conversation) -> tuple[int, ...]:
        """All tokens of a conversation that ends with an answer."""
        return tuple(self.template.encode(conversation, self.tokenizer).ids)


@dataclass(frozen=True)
class HeldGroups:
    """The groups of each part of the records."""

    train: tuple[RankedGroup, ...]
    validation: tuple[RankedGroup, ...]
    test: tuple[RankedGroup, ...]
    lengths: tuple[int, ...]
    """Tokens of every answer with its prompt."""
    too_long: tuple[str, ...]
    """Places of the groups that were left out, as one of their answers is too long."""

    @property
    def hash(self) -> str:
        """SHA-256 of the training and validation groups."""
        found = hashlib.sha256()
        for group in (*self.train, *self.validation):
            found.update(repr(group.pairs).encode())
            for example in group.examples:
                found.update(example.ids.tobytes())
        return found.hexdigest()

    def describe(self, context: int) -> list[str]:
        """How many there are and how long, in sentences for the screen."""
        parts = (self.train, self.validation, self.test)
        counts = [sum(len(group.pairs) for group in part) for part in parts]
        lines = [
            f"Choices: {counts[0]:,} pairs in {len(self.train):,} groups to train on, "
            f"{counts[1]:,} pairs to validate on, {counts[2]:,} to test with.",
            *length_report(self.lengths, context),
        ]
        if self.too_long:
            more = f" and {len(self.too_long) - _NAMED:,} more" if self.too_long[_NAMED:] else ""
            lines.append(
                f"Left out: {len(self.too_long):,} groups with an answer beyond {context} tokens: "
                f"{', '.join(self.too_long[:_NAMED])}{more}."
            )
        return lines


def read_groups(
    sources: Sequence[str],
    data: TuneDataOptions,
    writer: ScoredText,
    *,
    context: int,
    seed: int,
    telling: Telling,
) -> HeldGroups:
    """The preferences in the files, in groups of the answers to one prompt, split and encoded.

    Raises ClocheError for records that cannot be used, naming each.
    """
    found = read_held_preferences(sources, data, telling=telling)
    if not found.pairs:
        raise SettingError(
            "a reward model learns from pairs and rankings, and the files hold single votes: learn "
            "from these with cloche align dpo"
        )
    numbers = [pair.group for pair in found.pairs]
    order = "shuffled" if data.shuffle else "kept"
    split = split_groups(numbers, split=data.split, seed=seed, order=order)
    places, prompts = [p.place for p in found.pairs], [p.prompt for p in found.pairs]
    for line in find_prompt_leaks(places, prompts, split).lines():
        telling.warn(line)
    lengths: list[int] = []
    too_long: list[str] = []
    parts = [
        _fitting(
            encode_groups([found.pairs[number] for number in part], writer),
            context=context,
            lengths=lengths,
            too_long=too_long,
        )
        for part in (split.train, split.validation, split.test)
    ]
    for part, name in zip(parts[:2], ("training", "validation"), strict=True):
        if not part:
            raise DataError(
                f"the {name} part holds no pair within {context} tokens, of {len(found.pairs):,} "
                "in all: give more, another --data.split, or a larger --align.context"
            )
    return HeldGroups(parts[0], parts[1], parts[2], tuple(lengths), tuple(too_long))


def encode_groups(pairs: Sequence[PreferencePair], writer: ScoredText) -> list[RankedGroup]:
    """The pairs as groups, each answer of a group once.

    Raises TextError with the places of all that cannot be written.
    """
    by_group: dict[int, list[PreferencePair]] = {}
    for pair in pairs:
        by_group.setdefault(pair.group, []).append(pair)
    found, problems = [], []
    for group in by_group.values():
        try:
            found.append(_encode(group, writer))
        except ClocheError as exc:
            problems.append(f"{group[0].place}: {exc}")
    if problems:
        more = [f"and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else []
        heading = f"{len(problems)} of {len(by_group)} records cannot be written:"
        raise TextError("\n  - ".join([heading, *problems[:_NAMED], *more]))
    return found


def _encode(group: Sequence[PreferencePair], writer: ScoredText) -> RankedGroup:
    answers: dict[Conversation, int] = {}
    pairs = []
    for pair in group:
        for answer in (pair.chosen, pair.rejected):
            answers.setdefault((*pair.prompt, *answer), len(answers))
        pairs.append(
            (answers[(*pair.prompt, *pair.chosen)], answers[(*pair.prompt, *pair.rejected)])
        )
    examples = tuple(scored_example(writer.ids(conversation)) for conversation in answers)
    return RankedGroup(examples, tuple(pairs), group[0].place)


def _fitting(
    groups: Sequence[RankedGroup], *, context: int, lengths: list[int], too_long: list[str]
) -> tuple[RankedGroup, ...]:
    """Those of which every answer fits; notes all lengths, and the places of the others."""
    kept = []
    for group in groups:
        tokens = [len(example.ids) - 1 for example in group.examples]
        lengths.extend(tokens)
        if max(tokens) > context:
            too_long.append(group.place)
        else:
            kept.append(group)
    return tuple(kept)
