"""Guesses at the next tokens, of which the model then reads several at once.

A guess costs little, and reading a few more tokens costs hardly more than reading one: the weights
are read once. Each guessed token is compared with the one that the answer draws in its place, with
the same number of its generator as without guesses. So the text is the same, guessed or not; only
the time differs.

Source: Leviathan et al. 2022, https://arxiv.org/abs/2211.17192; Chen et al. 2023,
https://arxiv.org/abs/2302.01318; guesses from the text itself: Saxena 2023,
https://github.com/apoorvumang/prompt-lookup-decoding
"""

from collections.abc import Mapping
from itertools import takewhile
from typing import NamedTuple, Protocol, runtime_checkable

from cloche.errors import SettingError
from cloche.generation.answers import Answer
from cloche.generation.forward import Forward, Place

MOST_GUESSES = 7
LONGEST_KEY = 3


class Writing(NamedTuple):
    """An answer that goes on, and how many tokens may be guessed for it."""

    answer: Answer
    most: int


@runtime_checkable
class Guesser(Protocol):
    """Whoever guesses what answers will draw next."""

    def guess(self, writing: Mapping[int, Writing]) -> dict[int, list[int]]:
        """The next tokens of the answers in these rows; none where there is no good guess."""
        ...


class PromptLookup:
    """Guesses that what followed the last few tokens before will follow them again.

    It fits answers that repeat their prompt: summaries, corrections, code.
    """

    def __init__(self, *, most: int = MOST_GUESSES, longest_key: int = LONGEST_KEY) -> None:
        if not 1 <= most <= MOST_GUESSES or longest_key < 1:
            raise SettingError(
                f"1 to {MOST_GUESSES} tokens are guessed from at least 1, got {most} and "
                f"{longest_key}"
            )
        self._most, self._longest_key = most, longest_key
        self._seen: dict[int, _Seen] = {}

    def guess(self, writing: Mapping[int, Writing]) -> dict[int, list[int]]:
        """For each row, what followed the same tokens the last time."""
        found = {}
        for row, (answer, most) in writing.items():
            seen = self._seen.get(row)
            if seen is None or seen.answer is not answer or len(answer.tokens) < seen.count:
                seen = self._seen[row] = _Seen(answer, self._longest_key)
            found[row] = seen.following(min(most, self._most))
        return found


class _Seen:
    """Where each run of tokens of one answer, prompt included, was seen last."""

    def __init__(self, answer: Answer, longest_key: int) -> None:
        self.answer, self.count = answer, 0
        self._places: dict[tuple[int, ...], int] = {}
        self._longest_key = longest_key
        self._last: list[int] = []
        self._size = 1

    def following(self, most: int) -> list[int]:
        """What followed the newest tokens before: the more, the better the last guess was."""
        tokens = self.answer.tokens
        if self._last:
            pairs = zip(self._last, tokens[self.count :], strict=False)
            right = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            self._size = 2 * self._size + 1 if right == len(self._last) else max(1, right)
        for end in range(max(self.count, 1), len(tokens)):
            for length in range(1, min(self._longest_key, end) + 1):
                self._places[tuple(tokens[end - length : end])] = end
        self.count = len(tokens)
        self._size = min(self._size, most)
        self._last = self._after_the_same()[: self._size]
        return self._last

    def _after_the_same(self) -> list[int]:
        tokens = self.answer.tokens
        for length in range(min(self._longest_key, len(tokens)), 0, -1):
            place = self._places.get(tuple(tokens[-length:]))
            if place is not None:
                return tokens[place : place + MOST_GUESSES]
        return []


class DraftModel:
    """Guesses with a smaller model of the same tokenizer, which writes ahead.

    It draws with the answer's own numbers, so the nearer its probabilities are to the model's, the
    more of its guesses are right.
    """

    def __init__(self, forward: Forward, *, most: int = 4) -> None:
        if most < 1:
            raise SettingError(f"at least 1 token is guessed at a time, got {most}")
        self._forward, self._most = forward, most
        self._held: dict[int, list[int]] = {}
        self._reached: dict[int, int] = {}

    def guess(self, writing: Mapping[int, Writing]) -> dict[int, list[int]]:
        """For each row, what the smaller model draws after what stands there."""
        room = self._forward.capacity
        wanted = {
            row: min(most, self._most, room - len(answer.tokens))
            for row, (answer, most) in writing.items()
        }
        guesses: dict[int, list[int]] = {row: [] for row in writing}
        going_on = [row for row, count in wanted.items() if count > 0]
        for row in going_on:
            self._catch_up(row, writing[row].answer.tokens)
        while going_on:
            places = []
            for row in going_on:
                tokens = writing[row].answer.tokens
                newest = guesses[row][-1] if guesses[row] else tokens[-1]
                places.append(Place(row, len(tokens) - 1 + len(guesses[row]), newest))
            logits = self._forward.head(self._forward.hidden(places))
            for row, few in zip(going_on, logits, strict=True):
                answer = writing[row].answer
                guesses[row].append(answer.draft_draw(few, ahead=len(guesses[row])))
            going_on = [row for row in going_on if len(guesses[row]) < wanted[row]]
        return guesses

    def _catch_up(self, row: int, tokens: list[int]) -> None:
        """Have the smaller model's row hold all tokens but the newest."""
        before, needed = self._held.get(row, []), tokens[:-1]
        most = min(len(before), len(needed))
        same = most
        if before[:most] != needed[:most]:
            same = next(place for place in range(most) if before[place] != needed[place])
        reached = self._reached.get(row, 0)
        if not self._forward.can_go_back(reached=reached, to=same):
            same, reached = 0, 0
        if same < len(needed):
            self._forward.read(row, needed[same:], start=same)
        self._held[row] = needed
        self._reached[row] = max(reached, len(needed) + self._most)
