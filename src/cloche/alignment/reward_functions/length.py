"""Reward: is the answer as long as it should be?"""

import re
from collections.abc import Mapping
from typing import Any

from cloche.alignment.reward_functions.reading import RewardFunction
from cloche.errors import SettingError


def reward_length(option: str | None) -> RewardFunction:
    """1 where the answer has so many characters as the range `option`, such as 20..60, allows.

    A shorter one gets its share of the lowest length, a longer one loses as much as it is too
    long: nothing at twice the highest length.
    """
    found = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", option or "")
    low, high = (int(found[1]), int(found[2])) if found else (1, 0)
    if not low <= high or not high:
        raise SettingError(
            f"the reward length needs a range of characters, such as length=20..60, got {option!r}"
        )

    def length(prompt: str, answer: str, record: Mapping[str, Any]) -> float:  # noqa: ARG001
        count = len(answer.strip())
        if count < low:
            return count / low
        return max(0.0, 1.0 - max(0, count - high) / high)

    return length
