"""How surprising each token of a text is to a model: bits, rank, and what it expected instead.

A token may hold a part of a character, as Chinese characters in a byte-level vocabulary do. So a
token tells which characters of the text it touches, and tokens that share one are told together as
well: whole characters with the sum of their tokens' bits.

Source: surprisal, -log2 of the probability given all before, Hale 2001,
https://aclanthology.org/N01-1021
"""

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from cloche.errors import SettingError
from cloche.evaluation.likelihood import ScoredTokens, scored_tokens
from cloche.evaluation.measure import Passage, beginning, default_stride
from cloche.evaluation.offsets import TokenBytes, byte_ends
from cloche.evaluation.report import require_numbers
from cloche.run import LM
from cloche.text.visible import TokenReader
from cloche.weights.durable import temporary_beside


@dataclass(frozen=True)
class Alternative:
    """A token that could have stood there."""

    id: int
    text: str
    bits: float


@dataclass(frozen=True)
class TokenSurprisal:
    """A token of a document, and what the model thought of it."""

    id: int
    text: str
    """As it is; bytes that are no whole character as hex, such as `<E6 98>`."""
    start: int
    """The first character of the document that it has a part of."""
    end: int
    """The one behind the last."""
    bits: float | None
    """None for a document's first token, where the model knows nothing that could stand before."""
    rank: int | None
    """1 where it was the likeliest."""
    alternatives: tuple[Alternative, ...]
    """The likeliest tokens in its place, the likeliest first."""


@dataclass(frozen=True)
class Group:
    """Whole characters, and the tokens that hold them."""

    text: str
    tokens: tuple[TokenSurprisal, ...]

    @property
    def start(self) -> int:
        """The first of its characters."""
        return self.tokens[0].start

    @property
    def end(self) -> int:
        """The character behind its last one."""
        return max(token.end for token in self.tokens)

    @property
    def bits(self) -> float | None:
        """Of all its tokens; None where one of them has none."""
        found = [token.bits for token in self.tokens]
        return None if None in found else sum(bits for bits in found if bits is not None)


@dataclass(frozen=True)
class SurprisalSettings:
    """What is told of each token, and of how many."""

    stride: int | None = None
    """Tokens from window to window; half the context when None."""
    alternatives: int = 5
    """Likeliest tokens told for each."""
    limit: int | None = None
    """Most tokens, over all documents; all of them when None."""


@dataclass(frozen=True, eq=False)
class DocumentSurprisal:
    """One document; its groups are made while they are read, once."""

    name: str
    text: str
    groups: Iterator[Group]


class Surprisals:
    """The documents of a text, each with the surprisal of its tokens in groups of whole characters.

    Read once, in order: memory holds one document and what is scored just now. Joined, the groups'
    texts are the document. Raises CheckpointError where the model gives no numbers.
    """

    def __init__(
        self, lm: LM, passages: Iterable[Passage], settings: SurprisalSettings | None = None
    ) -> None:
        self.tokens = 0
        """How many were told so far."""
        self.limited = False
        """Whether the limit left any out."""
        self._lm, self._passages = lm, passages
        self._settings = settings or SurprisalSettings()

    def __iter__(self) -> Iterator[DocumentSurprisal]:
        for passage in self._passages:
            text = "".join(piece for piece, _ in passage.pieces)
            if len(passage.tokens.tokens):
                yield DocumentSurprisal(passage.name, text, self._groups(passage, text))
            if self.limited:
                return

    def _groups(self, passage: Passage, text: str) -> Iterator[Group]:
        limit = self._settings.limit
        for tokens in _joined(_tokens(self._lm, passage, self._settings)):
            if limit is not None and self.tokens + len(tokens) > limit:
                self.limited = True
                return
            self.tokens += len(tokens)
            end = max(token.end for token in tokens)
            yield Group(text[tokens[0].start : end], tuple(tokens))


def write_json(path: Path, surprisals: Surprisals, *, heading: dict[str, Any]) -> None:
    """Write the surprisal of documents as one JSON object that begins with `heading`.

    Each document has `tokens`, whose `start` and `end` are counted in characters of its `text`, and
    `groups`: tokens that share characters, as places in `tokens`, with their sum. The file appears
    whole or not at all.
    """
    with writing_whole(path) as file:
        file.write(json.dumps(heading, ensure_ascii=False, indent=1).removesuffix("\n}"))
        file.write(',\n "documents": [')
        for number, document in enumerate(surprisals):
            file.write("," if number else "")
            _write_document(file, document)
        file.write(f'\n ],\n "limited": {json.dumps(surprisals.limited)}\n}}\n')


@contextmanager
def writing_whole(path: Path) -> Iterator[TextIO]:
    """A file that becomes `path` at the end, and leaves nothing where something fails.

    SettingError where it cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            yield file
        temporary.replace(path)
    except OSError as exc:
        raise SettingError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    finally:
        temporary.unlink(missing_ok=True)


def _write_document(file: TextIO, document: DocumentSurprisal) -> None:
    file.write(f'\n  {{"name": {json.dumps(document.name, ensure_ascii=False)}, "tokens": [')
    groups: list[dict[str, Any]] = []
    count, end = 0, 0
    for group in document.groups:
        for number, token in enumerate(group.tokens, start=count):
            file.write(",\n   " if number else "\n   ")
            file.write(json.dumps(asdict(token), ensure_ascii=False))
        if len(group.tokens) > 1:
            places = list(range(count, count + len(group.tokens)))
            values = {"start": group.start, "end": group.end, "text": group.text}
            groups.append({**values, "bits": group.bits, "tokens": places})
        count, end = count + len(group.tokens), group.end
    shared = json.dumps(groups, ensure_ascii=False)
    text = json.dumps(document.text[:end], ensure_ascii=False)
    file.write(f'\n  ], "groups": {shared}, "text": {text}}}')


def _joined(tokens: Iterable[TokenSurprisal]) -> Iterator[list[TokenSurprisal]]:
    """Tokens that share characters together; one of no characters goes with those before it."""
    held: list[TokenSurprisal] = []
    reached = 0
    for token in tokens:
        if held and token.start >= reached and token.end > token.start:
            yield held
            held = []
        held.append(token)
        reached = max(reached, token.end)
    if held:
        yield held


def _tokens(lm: LM, passage: Passage, settings: SurprisalSettings) -> Iterator[TokenSurprisal]:
    spans = _character_spans(lm, passage)
    reader, bos = _Texts(lm), beginning(lm)
    place = 0
    if bos is None:
        token_id = int(passage.tokens.tokens[:1][0])
        start, end = spans[0].tolist()
        yield TokenSurprisal(token_id, reader.text(token_id), start, end, None, None, ())
        place = 1
    for scored in scored_tokens(
        lm.model,
        passage.tokens,
        bos=bos,
        context=lm.config.context,
        stride=settings.stride or default_stride(lm.config.context),
        alternatives=settings.alternatives,
    ):
        require_numbers(lm, scored)
        for row in range(len(scored)):
            start, end = spans[place + row].tolist()
            yield _token(reader, scored, row, start=start, end=end)
        place += len(scored)


def _token(
    reader: "_Texts", scored: ScoredTokens, row: int, *, start: int, end: int
) -> TokenSurprisal:
    ids = scored.alternatives[row].tolist()
    nats = scored.alternative_nats[row].tolist()
    token_id = int(scored.ids[row])
    return TokenSurprisal(
        token_id,
        reader.text(token_id),
        start,
        end,
        bits=float(scored.nats[row]) / math.log(2),
        rank=int(scored.ranks[row]),
        alternatives=tuple(
            Alternative(other, reader.text(other), cost / math.log(2))
            for other, cost in zip(ids, nats, strict=True)
            if math.isfinite(cost)  # the model takes the others for impossible
        ),
    )


class _Texts:
    """The texts of tokens, each made once."""

    def __init__(self, lm: LM) -> None:
        self._reader = TokenReader(lm.tokenizer)
        self._size = lm.tokenizer.vocab_size
        self._known: dict[int, str] = {}

    def text(self, token_id: int) -> str:
        """As it is, or as hex; of an id that only the model has, nothing."""
        if token_id >= self._size:
            return ""
        if token_id not in self._known:
            self._known[token_id] = self._reader.text(token_id)
        return self._known[token_id]


def _character_spans(lm: LM, passage: Passage) -> np.ndarray:
    """(tokens, 2) int64: the first character of the text that each has a part of, and the end."""
    known, ids = TokenBytes(lm.tokenizer), passage.tokens.tokens
    found, begin, characters = [np.zeros((0, 2), np.int64)], 0, 0
    for text, count in passage.pieces:
        ends = byte_ends(known, ids[begin : begin + count], text)
        spans = _spans_of(ends, text)
        found.append(spans + characters)
        begin, characters = begin + count, characters + len(text)
    return np.concatenate(found)


def _spans_of(ends: np.ndarray, text: str) -> np.ndarray:
    """Characters of tokens that end at these bytes; (n, n) for one of no bytes."""
    data = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
    begun = np.concatenate([[0], np.cumsum((data & 0b1100_0000) != 0b1000_0000)])
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    stops = begun[ends]
    # a token's first byte may be inside of a character, which is then its first one
    firsts = begun[np.minimum(starts + 1, len(data))] - 1
    return np.stack([np.where(starts < ends, firsts, stops), stops], axis=1)
