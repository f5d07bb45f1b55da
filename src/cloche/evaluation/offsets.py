"""Where in a text each token ends.

A byte-level or character vocabulary says it itself: its tokens' bytes, joined, are the text. Others
change the text before they cut it (spaces dropped, letters made small, forms composed) or do not
know a word. There the tokens are looked for in the text, one after the other; those that cannot be
found share evenly what lies between their neighbours.
"""

import numpy as np

from cloche.text.tokenizer import Tokenizer

_SEARCHED_BYTES = 64  # beyond the place where a token should be


class TokenBytes:
    """The bytes of a tokenizer's tokens, each asked for once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = set(tokenizer.special_tokens.values())
        self._known: dict[int, bytes] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    def data(self, ids: np.ndarray) -> list[bytes]:
        """Of each id; a special token has none."""
        return [self._bytes_of(token_id) for token_id in ids.tolist()]

    def sizes(self, ids: np.ndarray) -> np.ndarray:
        """(tokens, 2) float64: bytes, and the characters that begin in them."""
        found, places = np.unique(ids, return_inverse=True)
        table = [self._size_of(token_id) for token_id in found.tolist()]
        return np.asarray(table, dtype=np.float64).reshape(-1, 2)[places.reshape(-1)]

    def _bytes_of(self, token_id: int) -> bytes:
        if token_id not in self._known:
            special = token_id in self._special
            self._known[token_id] = b"" if special else self._tokenizer.token_bytes(token_id)
        return self._known[token_id]

    def _size_of(self, token_id: int) -> tuple[int, int]:
        if token_id not in self._sizes:
            data = self._bytes_of(token_id)
            self._sizes[token_id] = (len(data), count_characters(data))
        return self._sizes[token_id]


def byte_ends(known: TokenBytes, ids: np.ndarray, text: str) -> np.ndarray:
    """(tokens,) int64: where in the UTF-8 of `text` each of its tokens ends, the last at its end.

    Every byte belongs to one token: what was dropped before a token counts to it.
    """
    data, pieces = text.encode("utf-8"), known.data(ids)
    if b"".join(pieces) == data:
        return np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    return _found_ends(data, pieces)


def sizes_between(ends: np.ndarray, text: str) -> np.ndarray:
    """(tokens, 2) float64: bytes and characters of tokens that end there."""
    data = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
    begun = np.concatenate([[0], np.cumsum(_begins_character(data))])
    places = np.concatenate([[0], ends])
    return np.stack([np.diff(places), np.diff(begun[places])], axis=1).astype(np.float64)


def count_characters(data: bytes) -> int:
    """How many characters begin in some UTF-8."""
    return int(_begins_character(np.frombuffer(data, dtype=np.uint8)).sum())


def _begins_character(data: np.ndarray) -> np.ndarray:
    return (data & 0b1100_0000) != 0b1000_0000


def _found_ends(data: bytes, pieces: list[bytes]) -> np.ndarray:
    """Ends of tokens that are looked for; letters of ASCII count as equal in either case."""
    text = data.lower()
    anchors, places = [-1], [0]  # tokens that were found, and where each ends
    for number, piece in enumerate(pieces):
        wanted = piece.strip().lower() or piece
        if not wanted:
            continue
        # each token since the last that was found may stand for about a word
        reach = _SEARCHED_BYTES * (number - anchors[-1]) + len(wanted)
        begin = text.find(wanted, places[-1], places[-1] + reach)
        if begin >= 0:
            anchors.append(number)
            places.append(begin + len(wanted))
    if not len(pieces):
        return np.zeros(0, np.int64)
    if anchors[-1] == len(pieces) - 1:
        places[-1] = len(data)
    else:
        anchors.append(len(pieces) - 1)
        places.append(len(data))
    return np.interp(np.arange(len(pieces)), anchors, places).astype(np.int64)
