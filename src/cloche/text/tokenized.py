"""A text seen as tokens: how often each occurs, some of them in order, and what they stand for.

The text goes by once, in pieces, wherever the tokenizer allows it to be cut: only the tokens asked
for are kept.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloche.errors import TextError
from cloche.text.cutting import safe_pieces
from cloche.text.encodings import find_lone_surrogate
from cloche.text.specials import split_special
from cloche.text.tokenizer import Tokenizer

Documents = Iterable[Iterable[str]]
"""The text of each document in pieces."""


_MOST_CHARACTERS = 50_000_000  # kept whole where a text has no safe place to be cut at


@dataclass(frozen=True)
class TokenizedText:
    """What a text is as tokens."""

    counts: NDArray[np.int64]
    """How often each id occurs, by id."""
    kept: NDArray[np.int64]
    """The ids of the range that was asked for, in order."""
    characters: int
    utf8_bytes: int

    @property
    def tokens(self) -> int:
        """Number of tokens of the whole text."""
        return int(self.counts.sum())

    @property
    def bytes_per_token(self) -> float:
        """How much text a token stands for on average, in bytes of UTF-8."""
        return self.utf8_bytes / self.tokens

    @property
    def characters_per_token(self) -> float:
        """How many characters a token stands for on average."""
        return self.characters / self.tokens


@dataclass(frozen=True)
class Kept:
    """Which tokens to keep, counted from 0: `start`, `start` + 1, ... before `stop`."""

    start: int = 0
    stop: int | None = None
    """All to the end when None."""

    def within(self, begin: int, end: int) -> slice:
        """The slice of tokens `begin` .. `end` that is to be kept."""
        stop = end if self.stop is None else min(end, self.stop)
        return slice(max(0, self.start - begin), max(0, stop - begin))


NOTHING = Kept(0, 0)


def tokenize_text(
    tokenizer: Tokenizer,
    documents: Documents,
    *,
    allowed_special: Collection[str] = (),
    keep: Kept = NOTHING,
) -> TokenizedText:
    """The text as tokens; between documents stands the end-of-text token, as in training.

    What is unknown becomes the unk token. Special tokens in the text are plain text unless allowed
    by name. Raises TextError where there is no text, TokenizerError for what cannot be expressed.
    """
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    kept: list[NDArray[np.integer[Any]]] = []
    characters = utf8_bytes = position = 0
    for ids, text in _encoded(tokenizer, documents, allowed_special):
        counts += np.bincount(ids, minlength=len(counts))
        kept.append(ids[keep.within(position, position + len(ids))])
        position += len(ids)
        characters += len(text)
        utf8_bytes += len(text.encode("utf-8"))
    if not characters:
        raise TextError("there is no text to tokenize: it is empty")
    if not position:
        raise TextError("the text leaves no token: this tokenizer passes over all that is in it")
    return TokenizedText(counts, np.concatenate(kept, dtype=np.int64), characters, utf8_bytes)


def _encoded(
    tokenizer: Tokenizer, documents: Documents, allowed: Collection[str]
) -> Iterator[tuple[NDArray[np.integer[Any]], str]]:
    """Ids, and the text they stand for, piece by piece."""
    end = tokenizer.special_ids.eos
    for number, document in enumerate(documents):
        if number and end is not None:
            yield np.array([end]), ""
        for text in _pieces(tokenizer, document, allowed):
            if half := find_lone_surrogate(text):
                raise TextError(
                    f"the text holds the lone surrogate U+{ord(half[0]):04X}, which is half a "
                    f"character: type it again, or give it as UTF-8"
                )
            yield _encode(tokenizer, text, allowed), text


def _encode(tokenizer: Tokenizer, text: str, allowed: Collection[str]) -> NDArray[np.integer[Any]]:
    if not allowed:
        return tokenizer.encode_array(text)
    parts = split_special(text, ids=tokenizer.special_tokens, allowed=allowed)
    arrays = [
        np.array([part]) if isinstance(part, int) else tokenizer.encode_array(part)
        for part in parts
    ]
    return np.concatenate(arrays, dtype=np.int64)


def _pieces(
    tokenizer: Tokenizer, document: Iterable[str], allowed: Collection[str]
) -> Iterator[str]:
    """The document in pieces with the ids of the whole; whole where it may not be cut."""
    if tokenizer.joinable and not any(map(_may_be_cut, allowed)):
        yield from safe_pieces(document, most=_MOST_CHARACTERS)
    else:
        yield from filter(None, ["".join(document)])


def _may_be_cut(special: str) -> bool:
    """Whether a special token holds a place where text is cut into pieces."""
    return len(list(safe_pieces([special], size=1, most=None))) > 1
