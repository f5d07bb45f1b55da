"""Reward: is the answer exactly the right one?"""

from collections.abc import Mapping
from typing import Any

from cloche.alignment.reward_functions.reading import RewardFunction, field_of
from cloche.errors import DataError


def reward_exact(option: str | None) -> RewardFunction:
    """1 where the answer is what the record's field `answer` says, or one of what it lists.

    Spaces at the ends do not count, and those within count as one. `option` is another field.
    """
    field = option or "answer"

    def exact(prompt: str, answer: str, record: Mapping[str, Any]) -> float:  # noqa: ARG001
        right = field_of(record, field)
        several = right if isinstance(right, list | tuple) else [right]
        if not several or any(not isinstance(each, str | int | float) for each in several):
            raise DataError(
                f"the field {field!r} must hold the right answer, or a list of right ones, "
                f"got {right!r:.80}"
            )
        return float(_plain(answer) in {_plain(str(each)) for each in several})

    return exact


def _plain(text: str) -> str:
    return " ".join(text.split())
