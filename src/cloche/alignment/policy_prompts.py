"""The prompts that a policy answers: read, split, and laid out as its template does."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloche.alignment.policy_options import PolicyOptions
from cloche.alignment.rewards import field_read, parse_reward
from cloche.data.conversation_split import split_records
from cloche.data.conversations import text_of
from cloche.data.preferences import PromptRecord, read_prompts
from cloche.errors import ClocheError, DataError, SettingError, TextError
from cloche.tuning.base import Base
from cloche.tuning.session import Telling
from cloche.tuning.unknown import tell_unknown

_NAMED = 10


@dataclass(frozen=True, eq=False)
class PolicyPrompt:
    """A prompt as text and as tokens."""

    record: PromptRecord
    ids: tuple[int, ...]
    """With the beginning of the answer, ready to be gone on with."""
    text: str
    """What reward functions are given: the messages' texts, a line break between them."""


@dataclass(frozen=True, eq=False)
class HeldPrompts:
    """Prompts to learn with, and others to measure with."""

    train: tuple[PolicyPrompt, ...]
    held_out: tuple[PolicyPrompt, ...]
    hash: str
    """SHA-256 of all of both."""


def read_prompt_records(options: PolicyOptions) -> list[PromptRecord]:
    """The prompts of the options' files. Raises ClocheError for those that cannot be used, and
    where a ready reward would look for a field that some have not.
    """
    if not options.sources:
        raise SettingError("name a file of prompts to answer")
    data = options.data
    records = read_prompts(options.sources, records=data.records, encoding=data.encoding)
    for spec in map(parse_reward, (*options.reward, *options.truth)):
        name = field_read(spec)
        lacking = [each.place for each in records if name and each.fields.get(name) is None]
        if lacking:
            more = f" and {len(lacking) - 1:,} more" if lacking[1:] else ""
            raise DataError(
                f"the reward {spec.name} reads the field {name!r} of each record, which is missing "
                f"in {lacking[0]}{more}"
            )
    if data.drop_duplicates:
        records = list({_identity(record): record for record in reversed(records)}.values())[::-1]
    return records


def hold_prompts(
    records: Sequence[PromptRecord], options: PolicyOptions, base: Base, telling: Telling
) -> HeldPrompts:
    """The prompts, split in two and laid out.

    Those that leave no room for an answer are left out, and told. Raises ClocheError where prompts
    cannot be written with the template, or where a part has none.
    """
    data = options.data
    prompts = _encode(records, base)
    room = base.config.context - options.rollout.max_tokens
    fitting = [prompt for prompt in prompts if len(prompt.ids) <= room]
    if not fitting:
        raise DataError(
            f"no prompt fits: within a context of {base.config.context} tokens, "
            f"{options.rollout.max_tokens} are for the answer (rollout.max-tokens), and the "
            f"shortest of {len(prompts)} has {min(len(prompt.ids) for prompt in prompts)}"
        )
    if len(fitting) < len(prompts):
        first = next(prompt for prompt in prompts if len(prompt.ids) > room)
        telling.warn(
            f"Left out: {len(prompts) - len(fitting):,} of {len(prompts):,} prompts are longer "
            f"than {room} tokens, which leaves no room for an answer, such as {first.record.place}."
        )
    written = [np.array(prompt.ids) for prompt in fitting]
    tell_unknown(written, base.tokenizer, what="the prompts", telling=telling)
    order = "shuffled" if data.shuffle else "kept"
    parts = split_records(len(fitting), split=data.split, seed=options.train.seed, order=order)
    train, held_out = (tuple(fitting[n] for n in part) for part in (parts.train, parts.validation))
    return HeldPrompts(train, held_out, _hash([*train, *held_out]))


def _encode(records: Sequence[PromptRecord], base: Base) -> list[PolicyPrompt]:
    found, problems = [], []
    for record in records:
        try:
            ids = base.template.prompt_ids(record.conversation, base.tokenizer)
        except ClocheError as exc:
            problems.append(f"{record.place}: {exc}")
            continue
        found.append(PolicyPrompt(record, tuple(ids), text_of(record.conversation)))
    if problems:
        more = [f"and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else []
        heading = f"{len(problems)} of {len(records)} prompts cannot be written:"
        raise TextError("\n  - ".join([heading, *problems[:_NAMED], *more]))
    return found


def _identity(record: PromptRecord) -> str:
    return json.dumps([text_of(record.conversation), record.fields], default=str, sort_keys=True)


def _hash(prompts: Sequence[PolicyPrompt]) -> str:
    found = hashlib.sha256()
    for prompt in prompts:
        found.update(_identity(prompt.record).encode())
        found.update(repr(prompt.ids).encode())
    return found.hexdigest()
