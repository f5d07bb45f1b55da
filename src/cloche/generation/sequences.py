"""Sequences of tokens that must not come, or not again, and those that must.

Each rule keeps what it needs of the text so far in a form that answers at once which tokens it
concerns next: no step looks through the whole text.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def forbid(logits: Float[Tensor, " vocab"], ids: Iterable[int]) -> Float[Tensor, " vocab"]:
    """Logits in which none of `ids` can be drawn; ids beyond the vocabulary never can."""
    known = [token_id for token_id in ids if token_id < len(logits)]
    if not known:
        return logits
    return logits.index_fill(0, torch.tensor(known, device=logits.device), -torch.inf)


class NoRepeatedNGrams:
    """The rule that no n tokens come in the same order twice, in the prompt and answer together.

    Source: Paulus et al. 2017, https://arxiv.org/abs/1705.04304
    """

    def __init__(self, size: int, *, prompt: Sequence[int]) -> None:
        self._size = size
        self._newest: tuple[int, ...] = ()
        self._followers: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for token_id in prompt:
            self.accept(token_id)

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits without the tokens that would complete an n-gram again."""
        return forbid(logits, self._followers.get(self._newest, ()))

    def accept(self, token_id: int) -> None:
        """Remember the n-gram that this token completes."""
        if len(self._newest) == self._size - 1:
            self._followers[self._newest].add(token_id)
        self._newest = (*self._newest, token_id)[-(self._size - 1) :] if self._size > 1 else ()


class BannedSequences:
    """The rule that certain sequences do not come; the prompt may hold their beginning."""

    def __init__(self, banned: Sequence[Sequence[int]], *, prompt: Sequence[int]) -> None:
        self._alone = [sequence[0] for sequence in banned if len(sequence) == 1]
        self._by_last_before: dict[int, list[tuple[tuple[int, ...], int]]] = defaultdict(list)
        for sequence in banned:
            if len(sequence) > 1:
                self._by_last_before[sequence[-2]].append((tuple(sequence[:-1]), sequence[-1]))
        self._longest = max((len(sequence) - 1 for sequence in banned), default=0)
        self._newest: tuple[int, ...] = tuple(prompt[-self._longest :]) if self._longest else ()

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits without the tokens that would complete a banned sequence."""
        last = self._newest[-1] if self._newest else -1
        ends = [
            end
            for beginning, end in self._by_last_before.get(last, ())
            if self._newest[-len(beginning) :] == beginning
        ]
        return forbid(logits, [*self._alone, *ends])

    def accept(self, token_id: int) -> None:
        """Remember one more token."""
        if self._longest:
            self._newest = (*self._newest, token_id)[-self._longest :]


class MinimumLength:
    """The rule that an answer does not end before it has so many tokens."""

    def __init__(self, tokens: int, *, stop_ids: Iterable[int]) -> None:
        self._missing = tokens
        self._stop_ids = tuple(stop_ids)

    @property
    def must_go_on(self) -> bool:
        """Whether tokens are still missing."""
        return self._missing > 0

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits without the tokens that end an answer, as long as it is too short."""
        return forbid(logits, self._stop_ids) if self.must_go_on else logits

    def accept(self, _token_id: int) -> None:
        """Count one more token."""
        self._missing -= 1


class ForcedWords:
    """The rule that an answer holds each of these sequences of tokens before it may end.

    The model writes freely, and may come upon them by itself, as long as the tokens left would be
    enough for all that are missing even if its next token undid a beginning. From then on they are
    written out, the one that is furthest along first.
    """

    def __init__(
        self, words: Sequence[Sequence[int]], *, max_tokens: int, stop_ids: Iterable[int]
    ) -> None:
        self._missing = [_Search(word) for word in dict.fromkeys(map(tuple, words))]
        self._left = max_tokens
        self._stop_ids = tuple(stop_ids)

    @property
    def must_go_on(self) -> bool:
        """Whether any of the words is still missing."""
        return bool(self._missing)

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits of the next token of a missing word alone where it is time, else of all tokens
        but those that end an answer."""
        if not self._missing:
            return logits
        if self._left - 1 >= sum(len(search.word) for search in self._missing):
            return forbid(logits, self._stop_ids)
        furthest = max(self._missing, key=lambda search: search.found)
        only = torch.full_like(logits, -torch.inf)
        only[furthest.word[furthest.found]] = 0.0  # whatever the model thinks of it
        return only

    def accept(self, token_id: int) -> None:
        """Look whether this token completes a word, or brings it further."""
        self._left -= 1
        for search in self._missing:
            search.push(token_id)
        self._missing = [search for search in self._missing if search.found < len(search.word)]


class _Search:
    """Looks for one sequence in tokens that come one by one, each of them looked at once.

    Source: Knuth, Morris and Pratt 1977, https://doi.org/10.1137/0206024
    """

    def __init__(self, word: tuple[int, ...]) -> None:
        self.word = word
        self.found = 0
        """Length of the longest beginning of the word with which the tokens so far end."""
        self._shorter = _shorter_beginnings(word)

    def push(self, token_id: int) -> None:
        """Take in the next token; a word that was found whole is not looked for again."""
        self.found = _extend(self.word, self._shorter, self.found, token_id)


def _shorter_beginnings(word: tuple[int, ...]) -> list[int]:
    """For each beginning of the word, the longest shorter one with which it ends."""
    shorter = [0, 0]
    for token_id in word[1:]:
        shorter.append(_extend(word, shorter, shorter[-1], token_id))
    return shorter


def _extend(word: tuple[int, ...], shorter: list[int], found: int, token_id: int) -> int:
    while found and word[found] != token_id:
        found = shorter[found]
    return found + (word[found] == token_id)
