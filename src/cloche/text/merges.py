"""How byte-pair encoding came to its tokens: which pair was merged at which rank, step by step.

The rules are read from the tokenizer's own `tokenizer.json`, in which a trained tokenizer, a
published encoding and a downloaded one all say the same thing: how text is split, and which pairs
of tokens are merged, the earliest learned first.

Source: Sennrich et al. 2016, https://arxiv.org/abs/1508.07909
"""

import json
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Engine

from cloche.errors import TokenizerError
from cloche.text.files import TOKENIZER_FILE
from cloche.text.splitting import byte_of_letter
from cloche.text.tokenizer import Tokenizer

MOST_CHARACTERS = 1_000
"""Of a text whose merges are shown: the history grows with the square of a word's length."""


@dataclass(frozen=True)
class MergeStep:
    """Two neighbours became one token."""

    rank: int
    """Of the merge: 0 was learned first. Of all possible merges the one of lowest rank is made."""
    left: bytes
    right: bytes
    token_id: int
    """The id of what they became."""
    pieces: tuple[bytes, ...]
    """The word after the step."""


@dataclass(frozen=True)
class WordMerges:
    """The history of one word, as the splitting rule has it: no merge reaches over its ends."""

    start: tuple[bytes, ...]
    """Its single bytes."""
    steps: tuple[MergeStep, ...]
    taken_whole: int | None = None
    """The id of the whole word, where it is looked up although merges do not lead to it."""

    @property
    def word(self) -> bytes:
        """All of it."""
        return b"".join(self.start)

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The tokens at the end."""
        if self.taken_whole is not None:
            return (self.word,)
        return self.steps[-1].pieces if self.steps else self.start


def merge_history(tokenizer: Tokenizer, text: str) -> list[WordMerges]:
    """The merges of each word of `text`, whose last pieces are the tokenizer's tokens.

    Raises TokenizerError where the tokenizer is no byte-level BPE, and for a text too long to show.
    """
    if len(text) > MOST_CHARACTERS:
        raise TokenizerError(
            f"merges are shown of at most {MOST_CHARACTERS:,} characters, and the text has "
            f"{len(text):,}: give a word or a sentence"
        )
    ids = tokenizer.encode(text)  # refuses what is no text
    rules = _Rules(_tokenizer_json(tokenizer), kind=tokenizer.kind)
    history = [rules.history(word) for word in rules.words(text)]
    if [piece for word in history for piece in word.pieces] != list(
        map(tokenizer.token_bytes, ids)
    ):
        raise TokenizerError(
            f"the merges of this tokenizer ({tokenizer.kind}) alone do not lead to its tokens for "
            f"this text: it has added tokens or steps of its own, so there is no history to show"
        )
    return history


@dataclass(frozen=True)
class _Merge:
    order: int  # as the engine has it: one token may come from several pairs
    rank: int  # as people count: one for each new token


class _Rules:
    """What a `tokenizer.json` says about splitting and merging."""

    def __init__(self, saved: dict[str, Any], *, kind: str) -> None:
        """From the parsed file. Raises TokenizerError where it is no byte-level BPE."""
        model = saved["model"]
        self._byte = byte_of_letter()
        if model.get("type") != "BPE" or set(self._byte) - set(model["vocab"]):
            raise TokenizerError(
                f"merges belong to byte-level BPE, such as gpt2 or one trained by cloche; this "
                f"tokenizer ({kind}) is {model.get('type')}, with no such merges to show"
            )
        self._vocab: dict[str, int] = model["vocab"]
        self._ignore_merges = bool(model.get("ignore_merges"))
        self._merges = _ordered(model["merges"])
        bare = {**model, "vocab": {}, "merges": []}  # splitting needs none, and loads at once
        self._engine = Engine.from_str(json.dumps({**saved, "model": bare, "added_tokens": []}))

    def words(self, text: str) -> list[str]:
        """The words of `text`, each byte written as a letter."""
        if self._engine.normalizer is not None:
            text = self._engine.normalizer.normalize_str(text)
        splitter = self._engine.pre_tokenizer
        return [text] if splitter is None else [word for word, _ in splitter.pre_tokenize_str(text)]

    def history(self, word: str) -> WordMerges:
        """What becomes of one word."""
        pieces = list(word)
        start, steps = self._bytes(pieces), []
        while possible := self._possible(pieces):
            merge, place = min(possible, key=lambda found: (found[0].order, found[1]))
            left, right = pieces[place : place + 2]
            pieces[place : place + 2] = [left + right]
            (left_bytes, right_bytes), after = self._bytes([left, right]), self._bytes(pieces)
            token_id = self._vocab[left + right]
            steps.append(MergeStep(merge.rank, left_bytes, right_bytes, token_id, after))
        looked_up = self._ignore_merges and len(pieces) > 1
        whole = self._vocab.get(word) if looked_up else None
        return WordMerges(start, tuple(steps), whole)

    def _possible(self, pieces: list[str]) -> list[tuple[_Merge, int]]:
        found = ((self._merges.get(pair), place) for place, pair in enumerate(pairwise(pieces)))
        return [(merge, place) for merge, place in found if merge is not None]

    def _bytes(self, pieces: list[str]) -> tuple[bytes, ...]:
        return tuple(bytes(self._byte[letter] for letter in piece) for piece in pieces)


def _ordered(merges: list[Any]) -> dict[tuple[str, str], _Merge]:
    """Every pair that merges, with its place in the order; older files write pairs as `a b`."""
    ranks: dict[str, int] = {}
    found = {}
    for order, pair in enumerate(merges):
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        rank = ranks.setdefault(left + right, len(ranks))
        found[left, right] = _Merge(order, rank)
    return found


def _tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="cloche-") as folder:
        tokenizer.save(Path(folder))
        return json.loads((Path(folder) / TOKENIZER_FILE).read_bytes())
