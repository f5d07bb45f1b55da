"""Rewards for answers: functions given by name, file or module, and how they are added up.

A reward is written NAME, NAME=OPTION, FILE.py:FUNCTION or package.module:FUNCTION, and may end
with @WEIGHT: `exact`, `length=20..60@0.1`, `my_rewards.py:polite@0.5`.

A reward function takes the prompt, the answer (both as text) and the prompt's record, and gives a
finite number, larger for a better answer. The same three must give the same number: what was
computed once is kept.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cloche.alignment.reward_functions.arithmetic import reward_arithmetic
from cloche.alignment.reward_functions.exact import reward_exact
from cloche.alignment.reward_functions.length import reward_length
from cloche.alignment.reward_functions.pattern import reward_format
from cloche.alignment.reward_functions.reading import RewardFunction
from cloche.alignment.reward_functions.stories import reward_stories
from cloche.alignment.rewards_process import RewardError, RewardProcess
from cloche.alignment.rewards_worker import number_of
from cloche.config import nearest
from cloche.errors import ClocheError, SettingError, join_problems
from cloche.text.messages import Conversation

READY: Mapping[str, Callable[[str | None], RewardFunction]] = {
    "exact": reward_exact,
    "format": reward_format,
    "length": reward_length,
    "stories": reward_stories,
    "arithmetic": reward_arithmetic,
}
"""The rewards that come with cloche, by name; each is made from its option."""
APART = ("format",)
"""Ready ones that run in a process of their own: a regular expression can take for ever."""
KEPT_REWARDS = 1 << 16


@dataclass(frozen=True)
class Answered:
    """An answer to be judged."""

    prompt: str
    answer: str
    record: Mapping[str, Any]
    place: str
    """Where the prompt's record stands, for messages."""
    conversation: Conversation = ()
    """The prompt as messages, for models that judge."""


@dataclass(frozen=True)
class Judged:
    """What answers are worth."""

    totals: tuple[float, ...]
    """One for each answer: all rewards, times their weights, added up."""
    means: Mapping[str, float]
    """The mean of each reward by its label, before its weight."""


@runtime_checkable
class Judge(Protocol):
    """Whatever says what answers are worth: functions, or a reward model."""

    def judge(self, answers: Sequence[Answered]) -> Judged:
        """What they are worth."""
        ...


@dataclass(frozen=True)
class RewardSpec:
    """A reward as it was written."""

    name: str
    """A ready one's, or MODULE:FUNCTION."""
    option: str | None
    weight: float

    @property
    def label(self) -> str:
        """What metrics call it: of a function of one's own, its file without folders, its name."""
        module, colon, function = self.name.rpartition(":")
        if not colon:
            return self.name
        return f"{Path(module).stem if module.endswith('.py') else module}.{function}"

    @property
    def ready(self) -> bool:
        """Whether it is one of READY."""
        return ":" not in self.name


def parse_reward(text: str) -> RewardSpec:
    """The reward that `text` means; SettingError where it can mean none."""
    body, weight = _without_weight(text)
    name, given, option = body.partition("=")
    if name in READY:
        return RewardSpec(name, option if given else None, weight)
    module, colon, function = body.rpartition(":")
    if body == text:
        _refuse_word_as_weight(text)
    if not colon:
        raise SettingError(
            f"there is no reward {name!r}: {nearest(name, READY)}; one of your own is "
            "FILE.py:FUNCTION or package.module:FUNCTION"
        )
    if not module or not function.isidentifier():
        raise SettingError(
            f"the reward {text!r} must be written FILE.py:FUNCTION or package.module:FUNCTION"
        )
    return RewardSpec(body, None, weight)


def reward_problems(texts: Sequence[str]) -> list[str]:
    """What cannot be used of rewards as they are written, one sentence each."""
    found, specs = [], []
    for text in texts:
        try:
            specs.append(parse_reward(text))
        except SettingError as exc:
            found.append(str(exc))
    times = Counter(spec.name for spec in specs)
    return found + [f"the reward {name} is given twice" for name, n in times.items() if n > 1]


def field_read(spec: RewardSpec) -> str | None:
    """The field that every record must have for a ready reward; None where that is not known."""
    if spec.name == "exact":
        return spec.option or "answer"
    return "format" if spec.name == "format" and spec.option is None else None


class Rewards:
    """Several rewards, ready to judge. Close it: the user's functions run in processes.

    Raises SettingError or RewardError with every reward that cannot be had.
    """

    def __init__(self, texts: Sequence[str], *, seconds: float = 10.0) -> None:
        problems = reward_problems(texts)
        if problems:
            raise SettingError(join_problems(problems))
        self._kept: OrderedDict[tuple[str, str, str, str], float] = OrderedDict()
        self._rewards: list[_Reward] = []
        try:
            for text in texts:
                reward = _Reward(parse_reward(text), seconds)
                self._rewards.append(reward)
                alike = sum(each.spec.label == reward.spec.label for each in self._rewards)
                if alike > 1:
                    reward.label = f"{reward.label}-{alike}"
        except BaseException:
            self.close()
            raise

    def judge(self, answers: Sequence[Answered]) -> Judged:
        """What the answers are worth. RewardError, naming record and function, where one gives
        none.
        """
        totals = [0.0] * len(answers)
        means = {}
        for reward in self._rewards:
            found = [self._one(reward, answered) for answered in answers]
            means[reward.label] = math.fsum(found) / max(1, len(found))
            totals = [
                total + reward.spec.weight * value
                for total, value in zip(totals, found, strict=True)
            ]
        return Judged(tuple(totals), means)

    def __enter__(self) -> "Rewards":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes of the user's functions."""
        for reward in self._rewards:
            reward.close()

    def _one(self, reward: "_Reward", answered: Answered) -> float:
        key = (reward.spec.name, answered.place, answered.prompt, answered.answer)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        value = self._kept[key] = reward(answered)
        if len(self._kept) > KEPT_REWARDS:
            self._kept.popitem(last=False)
        return value


class _Reward:
    """One reward: a ready function in this process, or one in a process of its own."""

    def __init__(self, spec: RewardSpec, seconds: float) -> None:
        self.spec = spec
        self.label = spec.label
        self._process: RewardProcess | None = None
        if not spec.ready:
            module, _, name = spec.name.rpartition(":")
            self._function = self._process = RewardProcess(module, name, seconds=seconds)
            return
        make = READY[spec.name]
        self._function = make(spec.option)  # an option that cannot be used is told here
        if spec.name in APART:
            self._function = self._process = RewardProcess(
                make.__module__, make.__name__, seconds=seconds, made_with=spec.option
            )

    def __call__(self, answered: Answered) -> float:
        try:
            return number_of(self._function(answered.prompt, answered.answer, answered.record))
        except ClocheError as exc:
            raise RewardError(
                f"{answered.place}: the reward {self.spec.name} gave none for the answer "
                f"{answered.answer[:60]!r}: {exc}"
            ) from exc

    def close(self) -> None:
        if self._process is not None:
            self._process.close()


def _without_weight(text: str) -> tuple[str, float]:
    """What stands before @WEIGHT, and the weight; 1 where there is none."""
    body, at, tail = text.rpartition("@")
    if not at:
        return text, 1.0
    try:
        weight = float(tail)
    except ValueError:
        return text, 1.0
    if not math.isfinite(weight):
        raise SettingError(f"the weight of the reward {text!r} must be a finite number, got {tail}")
    if weight == 0.0:
        raise SettingError(
            f"the weight of the reward {text!r} must not be 0, with which it counts for nothing: "
            "leave it out, or give it to --truth to see it alone"
        )
    return body, weight


def _refuse_word_as_weight(text: str) -> None:
    """SettingError where a reward ends with an @ and something that is no number."""
    body, at, tail = text.rpartition("@")
    name, given, _ = body.partition("=")
    own = body.rpartition(":")[2].isidentifier() and ":" in body
    if at and (own or (name in READY and not given)):
        raise SettingError(
            f"the weight of the reward {text!r} must be a number, such as {body}@0.5, got {tail!r}"
        )
