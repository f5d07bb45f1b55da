"""Which tokenizer suits a text, by its size and script, and why; and its making.

Characters suit a small text in a small alphabet: there are too few examples of anything longer.
Otherwise byte-level BPE, with a vocabulary that grows with the text, so that every entry is seen
often enough to be learned.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Literal

from cloche.text.bpe import SMALLEST_VOCAB, train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.cutting import safe_pieces
from cloche.text.options import TextOptions
from cloche.text.splitting import Rule
from cloche.text.statistics import TextStatistics, read_statistics
from cloche.text.tokenizer import Tokenizer

__all__ = [
    "TextStatistics",
    "TokenizerChoice",
    "choose_tokenizer",
    "make_tokenizer",
    "read_statistics",
    "spread_sample",
]

_CJK_SHARE = 0.30  # from here on a text counts as Chinese, Japanese or Korean
_SMALL_ALPHABET = 256
_SMALL_TEXT = 300_000  # characters; from here on BPE predicts better in the same time (docs/log.md)
_SMALLEST_CHOICE = 512  # of a vocabulary, however small the text
_LARGEST_CHOICE = 32_768
_TOKENS_PER_ENTRY = 50  # of the training text, on average, for an entry of the vocabulary
# Chinese has few spaces: whole clauses are what the training of a BPE counts, and nearly all are
# different, at half a kilobyte of memory a character. A few million of them tell the pairs well.
_SAMPLE_BYTES = 100_000_000
_SAMPLE_BYTES_CJK = 12_000_000


@dataclass(frozen=True)
class TokenizerChoice:
    """A tokenizer to make."""

    kind: Literal["characters", "bpe"]
    reason: str
    """One sentence for the screen."""
    with_unknown: bool = False
    """characters: whether one token stands for all that the training part lacks."""
    vocab_size: int | None = None
    """bpe: the largest it may be."""
    rule: Rule | None = None
    """bpe: how text is split before merging."""
    sample_share: float = 1.0
    """bpe: how much of the training part it is trained on."""

    def to_values(self) -> dict[str, Any]:
        """Its fields as plain values; `TokenizerChoice(**values)` is the same choice."""
        return asdict(self)


def choose_tokenizer(
    options: TextOptions,
    *,
    train: Callable[[], TextStatistics],
    validation: Callable[[], TextStatistics],
) -> TokenizerChoice:
    """The tokenizer for a text, given its training part and the part kept for validation.

    What the options say is done; what they leave open follows from the text, which is counted only
    where it has to be.
    """
    return _choose(options, train(), validation())


def _choose(
    options: TextOptions, train: TextStatistics, validation: TextStatistics
) -> TokenizerChoice:
    lacking = validation.alphabet - train.alphabet
    if options.tokenizer == "characters":
        return _characters(train, lacking, why="as asked")
    if options.tokenizer == "bpe" or options.vocab_size is not None:
        return _bpe(train, vocab_size=options.vocab_size, why="as asked")
    if train.cjk_share > _CJK_SHARE:
        share = f"{train.cjk_share:.0%} of the text is Chinese, Japanese or Korean"
        return _bpe(train, vocab_size=None, why=share)
    if len(train.alphabet) > _SMALL_ALPHABET:
        return _bpe(train, vocab_size=None, why=f"{len(train.alphabet):,} characters differ")
    if train.characters >= _SMALL_TEXT:
        size = f"{train.characters:,} characters are enough to learn longer tokens from"
        return _bpe(train, vocab_size=None, why=size)
    if lacking:
        count = f"the validation part has {len(lacking)} characters that the training part lacks"
        return _bpe(train, vocab_size=None, why=count)
    return _characters(train, lacking, why="a small text in a small alphabet")


def make_tokenizer(choice: TokenizerChoice, pieces: Iterable[str]) -> Tokenizer:
    """The chosen tokenizer, made from the training part, whose text `pieces` are."""
    if choice.kind == "characters":
        alphabet = read_statistics(pieces).alphabet
        return CharacterTokenizer(alphabet, with_unknown=choice.with_unknown)
    if choice.vocab_size is None or choice.rule is None:
        raise ValueError(f"a choice of bpe has a vocabulary size and a rule, got {choice}")
    small = chain.from_iterable(safe_pieces([piece]) for piece in pieces)
    sample = spread_sample(small, share=choice.sample_share)
    return train_bpe(sample, vocab_size=choice.vocab_size, rule=choice.rule)


def spread_sample(pieces: Iterable[str], *, share: float) -> Iterator[str]:
    """About `share` of the text of `pieces`, spread evenly over them; all of it from 1 on."""
    seen = taken = 0
    for piece in pieces:
        seen += len(piece)
        if taken < share * seen:
            taken += len(piece)
            yield piece


def _characters(train: TextStatistics, lacking: frozenset[str], *, why: str) -> TokenizerChoice:
    reason = f"one token for each of {len(train.alphabet)} characters ({why})"
    if lacking:
        reason += (
            f"; {len(lacking)} more in the validation part become the unknown token, "
            f"such as {min(lacking)!r}"
        )
    return TokenizerChoice("characters", reason, with_unknown=bool(lacking))


def _bpe(train: TextStatistics, *, vocab_size: int | None, why: str) -> TokenizerChoice:
    size = vocab_size or _vocab_size(train)
    rule = _rule(train)
    reason = f"byte-level BPE of up to {size:,} tokens under the {rule} rule ({why})"
    most = _SAMPLE_BYTES_CJK if rule == "deepseek-v3" else _SAMPLE_BYTES
    share = min(1.0, most / max(1, train.utf8_bytes))
    return TokenizerChoice("bpe", reason, vocab_size=size, rule=rule, sample_share=share)


def _rule(train: TextStatistics) -> Rule:
    return "deepseek-v3" if train.cjk_share > _CJK_SHARE else "gpt-2"


def _vocab_size(train: TextStatistics) -> int:
    """A vocabulary that the text can fill: about 50 tokens of it for each entry, or more."""
    if train.cjk_share > _CJK_SHARE:
        # The common characters get a token each, the rare ones two or three bytes (docs/log.md);
        # twice as many for each ten times as much text, for common words.
        growth = 2 ** max(0.0, math.log10(max(1, train.characters) / 1.5e6))
        wished = max(2048, 0.58 * len(train.alphabet)) * growth
        tokens = train.characters / 1.2
    else:
        # 1,024 for a million characters, four times as many for each ten times as much text
        wished = 1024 * 4 ** math.log10(max(1, train.characters) / 1e6)
        tokens = train.characters / 3
    size = min(wished, tokens / _TOKENS_PER_ENTRY, _LARGEST_CHOICE)
    return max(_SMALLEST_CHOICE, SMALLEST_VOCAB, 256 * math.ceil(size / 256))
