"""Which tokenizer suits a text, by its size and script, and why; and its making.

Characters suit a small text in a small alphabet: there are too few examples of anything longer.
Otherwise byte-level BPE, with a vocabulary that grows with the text, so that every entry is seen
often enough to be learned.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, Literal

from cloche.text.bpe import SMALLEST_VOCAB, train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.cutting import safe_pieces
from cloche.text.kinds import Rule
from cloche.text.names import open_tokenizer
from cloche.text.options import TextOptions
from cloche.text.statistics import TextStatistics, read_statistics
from cloche.text.tokenizer import END_OF_TEXT, Tokenizer
from cloche.text.words import SPECIAL_TOKENS, WordTokenizer, distinct_words

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
_COUNTED_CHARACTERS = 4096  # at a time in training a BPE; longer pieces take it longer
# Chinese has few spaces: whole clauses are what the training of a BPE counts, and nearly all are
# different, at half a kilobyte of memory a character. A few million of them tell the pairs well.
_SAMPLE_BYTES = 100_000_000
_SAMPLE_BYTES_CJK = 12_000_000


Read = Callable[[], TextStatistics]
"""Reads a part of the text; it takes a pass over all of it, so it is asked only where needed."""


@dataclass(frozen=True)
class TokenizerChoice:
    """A tokenizer to make."""

    kind: Literal["characters", "words", "bpe", "named"]
    reason: str
    """One sentence for the screen."""
    with_unknown: bool = False
    """characters, words: whether one token stands for all that the training part lacks."""
    vocab_size: int | None = None
    """bpe: the largest it may be."""
    rule: Rule | None = None
    """bpe: how text is split before merging."""
    sample_share: float = 1.0
    """bpe: how much of the training part it is trained on."""
    pattern: str | None = None
    """words: what parts them."""
    name: str | None = None
    """named: of a published encoding, or a path."""

    def to_values(self) -> dict[str, Any]:
        """Its fields as plain values; `TokenizerChoice(**values)` is the same choice."""
        return asdict(self)

    def freeze(self, options: TextOptions) -> TextOptions:
        """The options that lead to this choice whatever the text."""
        unknown = "on" if self.with_unknown else "off"
        return replace(
            options,
            tokenizer=self.name or self.kind,
            vocab_size=self.vocab_size,
            rule=self.rule,
            unknown=unknown if self.kind in ("characters", "words") else "auto",
        )


def choose_tokenizer(options: TextOptions, *, train: Read, validation: Read) -> TokenizerChoice:
    """The tokenizer for a text; `train` and `validation` read its two parts.

    What the options say is done; what they leave open follows from the text. Named tokenizers and
    words need no reading, BPE that of the training part.
    """
    kind = options.tokenizer
    if kind == "words":
        return _words(options)
    if kind == "characters":
        return _characters(options, train(), validation(), why="as asked")
    if kind not in ("auto", "bpe"):
        return TokenizerChoice("named", f"{kind}, as asked", name=kind)
    found = train()
    if kind == "bpe" or options.vocab_size is not None or options.rule is not None:
        return _bpe(options, found, why="as asked")
    if found.cjk_share > _CJK_SHARE:
        share = f"{found.cjk_share:.0%} of the text is Chinese, Japanese or Korean"
        return _bpe(options, found, why=share)
    if len(found.alphabet) > _SMALL_ALPHABET:
        return _bpe(options, found, why=f"{len(found.alphabet):,} characters differ")
    if found.characters >= _SMALL_TEXT:
        size = f"{found.characters:,} characters are enough to learn longer tokens from"
        return _bpe(options, found, why=size)
    kept = validation()
    if lacking := kept.alphabet - found.alphabet:
        count = f"the validation part has {len(lacking)} characters that the training part lacks"
        return _bpe(options, found, why=count)
    return _characters(options, found, kept, why="a small text in a small alphabet")


def make_tokenizer(choice: TokenizerChoice, pieces: Iterable[str]) -> Tokenizer:
    """The chosen tokenizer, made from the training part, whose text `pieces` are.

    An empty piece ends a document: there, a word ends, too. A named tokenizer reads none of them.
    Little text gives a BPE of fewer tokens than the choice allows: `vocab_size` of the outcome is
    the true one. Raises TokenizerError.
    """
    if choice.kind == "characters":
        alphabet = read_statistics(pieces).alphabet
        return CharacterTokenizer(alphabet, with_unknown=choice.with_unknown)
    if choice.kind == "words":
        pattern = choice.pattern or "colons"
        special = SPECIAL_TOKENS if choice.with_unknown else [END_OF_TEXT]
        words = distinct_words(pieces, pattern=pattern)
        return WordTokenizer(words, pattern=pattern, special=special)
    if choice.kind == "named":
        if choice.name is None:
            raise ValueError(f"a choice of a named tokenizer has a name, got {choice}")
        return open_tokenizer(choice.name)
    if choice.vocab_size is None or choice.rule is None:
        raise ValueError(f"a choice of bpe has a vocabulary size and a rule, got {choice}")
    small = chain.from_iterable(safe_pieces([p], size=_COUNTED_CHARACTERS) for p in pieces)
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


def _words(options: TextOptions) -> TokenizerChoice:
    unknown = options.unknown != "off"  # a text nearly always has words that another lacks
    others = "others become the unknown token" if unknown else "others are errors"
    reason = f"one token for each word and mark, parted by {options.pattern} (as asked); {others}"
    return TokenizerChoice("words", reason, with_unknown=unknown, pattern=options.pattern)


def _characters(
    options: TextOptions, train: TextStatistics, validation: TextStatistics, *, why: str
) -> TokenizerChoice:
    lacking = validation.alphabet - train.alphabet
    unknown = options.unknown == "on" or (options.unknown == "auto" and bool(lacking))
    reason = f"one token for each of {len(train.alphabet)} characters ({why})"
    if lacking:
        fate = "become the unknown token" if unknown else "are errors"
        reason += f"; {len(lacking)} more in the validation part {fate}, such as {min(lacking)!r}"
    return TokenizerChoice("characters", reason, with_unknown=unknown)


def _bpe(options: TextOptions, train: TextStatistics, *, why: str) -> TokenizerChoice:
    size = options.vocab_size or _vocab_size(train)
    rule = options.rule or _rule(train)
    reason = f"byte-level BPE of up to {size:,} tokens under the {rule} rule ({why})"
    # Rules that keep runs of Chinese whole need so much memory, whichever of them it is.
    most = _SAMPLE_BYTES_CJK if train.cjk_share > _CJK_SHARE else _SAMPLE_BYTES
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
