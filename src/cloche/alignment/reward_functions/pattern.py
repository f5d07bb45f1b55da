"""Reward: has the answer the wanted form?"""

import re
from collections.abc import Mapping
from typing import Any

from cloche.alignment.reward_functions.reading import RewardFunction, field_of
from cloche.errors import DataError, SettingError


def reward_format(option: str | None) -> RewardFunction:
    """1 where the whole answer matches a regular expression: `option`, or the record's `format`.

    A point matches line breaks, too; spaces at the answer's ends do not count.
    """
    wanted = None if option is None else _compiled(option)

    def matches(prompt: str, answer: str, record: Mapping[str, Any]) -> float:  # noqa: ARG001
        if wanted is not None:
            return float(wanted.fullmatch(answer.strip()) is not None)
        given = field_of(record, "format")
        if not isinstance(given, str):
            raise DataError(f"the field 'format' must hold a regular expression, got {given!r:.80}")
        return float(_compiled(given).fullmatch(answer.strip()) is not None)

    return matches


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.DOTALL)
    except re.error as exc:
        raise SettingError(f"{text!r} is no regular expression: {exc}") from exc
