"""The text of a conversation as tokens, each with the number of the answer that it belongs to.

Special tokens that the template has written part the text; between them lies plain text, in which
none is ever found. Where an answer begins, a token ends: what is learned is what a model that was
given the prompt has to write.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cloche.text.chat_answers import Answer, Layout
from cloche.text.chat_stand_ins import StandIns
from cloche.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class EncodedChat:
    """A conversation as tokens."""

    ids: tuple[int, ...]
    answers: tuple[int, ...]
    """For each token the number, from 1, of the answer that it belongs to; 0 for all others."""


@dataclass(frozen=True)
class _Part:
    """A special token of the template, or plain text between two of them."""

    start: int
    end: int
    special: str | None


def encode_layout(
    layout: Layout, tokenizer: Tokenizer, stand_ins: StandIns, *, stop_id: int | None
) -> EncodedChat:
    """The tokens of a conversation; `stop_id` ends the answers that the template does not end."""
    encoder = _Encoder(tokenizer)
    ids: list[int] = []
    numbers: list[int] = []
    ended = {answer.end: n for n, answer in enumerate(layout.answers, 1) if answer.stop is None}
    parts = list(_parts(layout, encoder.names))
    for place, part in enumerate(parts):
        number, cut = _owner(part, layout.answers)
        if part.special is not None:
            found, left = [encoder.special[part.special]], 0
        else:
            before = parts[place - 1].special if place else None
            after = parts[place + 1].special if place + 1 < len(parts) else None
            text = stand_ins.restore(layout.text[part.start : part.end])
            cut_text = stand_ins.restore(layout.text[part.start : cut])
            found, left = encoder.encode(
                text, len(cut_text), before=before, after=after, first=place == 0
            )
        ids += found
        numbers += [0] * left + [number] * (len(found) - left)
        if part.end in ended and stop_id is not None:
            ids.append(stop_id)
            numbers.append(ended[part.end])
    return EncodedChat(tuple(ids), tuple(numbers))


def _parts(layout: Layout, names: Sequence[str]) -> Iterator[_Part]:
    """The parts of the text; where a stop is to be put behind an answer, one ends."""
    pattern = "|".join(map(re.escape, names)) or r"(?!)"
    cuts = sorted(answer.end for answer in layout.answers if answer.stop is None)
    start = 0
    for match in re.finditer(pattern, layout.text):
        yield from _plain(start, match.start(), cuts)
        yield _Part(match.start(), match.end(), match[0])
        start = match.end()
    yield from _plain(start, len(layout.text), cuts)


def _plain(start: int, end: int, cuts: Sequence[int]) -> Iterator[_Part]:
    for cut in (*(cut for cut in cuts if start < cut < end), end):
        if start < cut:
            yield _Part(start, cut, None)
        start = cut


def _owner(part: _Part, answers: Sequence[Answer]) -> tuple[int, int]:
    """The number of the answer that a part belongs to, 0 for none; and where in it that begins."""
    for number, answer in enumerate(answers, 1):
        if answer.start < part.end and part.start < answer.end:
            return number, max(part.start, answer.start)
    return 0, part.start


class _Encoder:
    """Plain text between special tokens, as the tokenizer reads it there.

    Some tokenizers set a space before a text, or take spaces beside special tokens along. So each
    text is encoded together with the special tokens around it, where it does not hold their names.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.special = tokenizer.special_tokens
        self.names = sorted(self.special, key=lambda name: (-len(name), name))
        self._tokenizer = tokenizer
        self._knows_neighbours = tokenizer.kind == "hub"

    def encode(
        self, text: str, cut: int, *, before: str | None, after: str | None, first: bool
    ) -> tuple[list[int], int]:
        """The ids of `text`, and how many of them stand for its first `cut` characters.

        `first` says that nothing stands before it.
        """
        if not self._knows_neighbours:
            left = self._tokenizer.encode(text[:cut]) if cut else []
            whole = self._tokenizer.encode(text)
            if whole[: len(left)] == left:
                return whole, len(left)
            return left + self._tokenizer.encode(text[cut:]), len(left)
        if before is None and not first:
            before = self._stranger(text)
        whole = self._between(text, before, after)
        if not cut:
            return whole, 0
        left = self._between(text[:cut], before, None)
        if whole[: len(left)] == left:
            return whole, len(left)
        right = text[cut:]
        return left + self._between(right, self._stranger(right), after), len(left)

    def _stranger(self, text: str) -> str | None:
        """A special token whose name is not in the text."""
        return next((name for name in self.names if name not in text), None)

    def _between(self, text: str, before: str | None, after: str | None) -> list[int]:
        """The ids of a text between two special tokens."""
        if before is not None and before in text:
            before = self._stranger(text)
        if after is not None and after in text:
            after = None
        around = {name for name in (before, after) if name is not None}
        joined = f"{before or ''}{text}{after or ''}"
        ids = self._tokenizer.encode(joined, allowed_special=around)
        first, last = before is not None, after is not None
        inside = ids[int(first) : len(ids) - int(last)]
        known = (not first or ids[:1] == [self.special[before or ""]]) and (
            not last or ids[-1:] == [self.special[after or ""]]
        )
        if known and not any(self.special[name] in inside for name in around):
            return inside
        return self._tokenizer.encode(text)
