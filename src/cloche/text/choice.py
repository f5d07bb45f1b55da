"""Which tokenizer suits a text, by its size and script, and why; and its making.

Characters suit a small text in a small alphabet: there are too few examples of anything longer.
Otherwise byte-level BPE, with a vocabulary that grows with the text, so that every entry is seen
often enough to be learned.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from cloche.text.bpe import SMALLEST_VOCAB, train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.options import TextOptions
from cloche.text.splitting import Rule
from cloche.text.statistics import TextStatistics
from cloche.text.tokenizer import Tokenizer

_CJK_SHARE = 0.30  # from here on a text counts as Chinese, Japanese or Korean
_SMALL_ALPHABET = 256
_SMALL_TEXT = 4_000_000  # characters
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


def choose_tokenizer(
    options: TextOptions, *, training: TextStatistics, validation: TextStatistics
) -> TokenizerChoice:
    """The tokenizer for a text, given its training part and the part kept for validation.

    What the options say is done; what they leave open follows from the text.
    """
    lacking = validation.alphabet - training.alphabet
    if options.tokenizer == "characters":
        return _characters(training, lacking, why="as asked")
    if options.tokenizer == "bpe" or options.vocab_size is not None:
        return _bpe(training, vocab_size=options.vocab_size, why="as asked")
    if training.cjk_share > _CJK_SHARE:
        share = f"{training.cjk_share:.0%} of the text is Chinese, Japanese or Korean"
        return _bpe(training, vocab_size=None, why=share)
    if len(training.alphabet) > _SMALL_ALPHABET:
        return _bpe(training, vocab_size=None, why=f"{len(training.alphabet):,} characters differ")
    if training.characters >= _SMALL_TEXT:
        size = f"{training.characters:,} characters are enough to learn longer tokens from"
        return _bpe(training, vocab_size=None, why=size)
    if lacking:
        count = f"the validation part has {len(lacking)} characters that the training part lacks"
        return _bpe(training, vocab_size=None, why=count)
    return _characters(training, lacking, why="a small text in a small alphabet")


def make_tokenizer(
    choice: TokenizerChoice, pieces: Iterable[str], *, training: TextStatistics
) -> Tokenizer:
    """The chosen tokenizer, from the training part: its pieces and their statistics.

    `pieces` are read for a BPE only, as `safe_pieces` cuts them, document by document. Of a large
    text, a sample spread evenly over it is used.
    """
    if choice.kind == "characters":
        return CharacterTokenizer(training.alphabet, with_unknown=choice.with_unknown)
    rule = choice.rule or _rule(training)
    most = _SAMPLE_BYTES_CJK if rule == "deepseek-v3" else _SAMPLE_BYTES
    sample = spread_sample(pieces, share=most / max(1, training.utf8_bytes))
    return train_bpe(sample, vocab_size=choice.vocab_size or _vocab_size(training), rule=rule)


def spread_sample(pieces: Iterable[str], *, share: float) -> Iterator[str]:
    """About `share` of the text of `pieces`, spread evenly over them; all of it from 1 on."""
    seen = taken = 0
    for piece in pieces:
        seen += len(piece)
        if taken < share * seen:
            taken += len(piece)
            yield piece


def _characters(training: TextStatistics, lacking: frozenset[str], *, why: str) -> TokenizerChoice:
    reason = f"one token for each of {len(training.alphabet)} characters ({why})"
    if lacking:
        reason += (
            f"; {len(lacking)} more in the validation part become the unknown token, "
            f"such as {min(lacking)!r}"
        )
    return TokenizerChoice("characters", reason, with_unknown=bool(lacking))


def _bpe(training: TextStatistics, *, vocab_size: int | None, why: str) -> TokenizerChoice:
    size = vocab_size or _vocab_size(training)
    rule = _rule(training)
    reason = f"byte-level BPE of up to {size:,} tokens under the {rule} rule ({why})"
    return TokenizerChoice("bpe", reason, vocab_size=size, rule=rule)


def _rule(training: TextStatistics) -> Rule:
    return "deepseek-v3" if training.cjk_share > _CJK_SHARE else "gpt-2"


def _vocab_size(training: TextStatistics) -> int:
    """A vocabulary that the text can fill: about 50 tokens of it for each entry, or more."""
    if training.cjk_share > _CJK_SHARE:
        wished = max(2048, 1.2 * len(training.alphabet))  # most characters, and common words
        tokens = training.characters / 1.2
    else:
        # 2,048 for a million characters, four times as many for each ten times as much text
        wished = 2048 * 4 ** math.log10(max(1, training.characters) / 1e6)
        tokens = training.characters / 3
    size = min(wished, tokens / _TOKENS_PER_ENTRY, _LARGEST_CHOICE)
    return max(_SMALLEST_CHOICE, SMALLEST_VOCAB, 256 * math.ceil(size / 256))
