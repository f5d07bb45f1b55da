"""How text is read and turned into tokens: the options of the `text` section."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloche.errors import TokenizerError
from cloche.text.kinds import MADE, PUBLISHED, Rule
from cloche.text.patterns import PATTERNS, find_separator

TOKENIZERS = ("auto", *MADE, *PUBLISHED)
"""The names that stand for no path."""

_SMALLEST_VOCAB = 257  # the 256 bytes and the end-of-text token
_DEFAULT_PATTERN = "colons"


@dataclass(frozen=True)
class TextOptions:
    """Reading text, and its tokenizer."""

    encoding: str | None = None
    """Encoding of the sources, such as utf-8, gb18030 or big5; detected when not given."""
    tokenizer: str = "auto"
    """characters: one token a character. words: words and marks. bpe: byte-level BPE trained on the
    training part. gpt2, cl100k_base, o200k_base: as published. Or the path of a tokenizer.json, of
    a SentencePiece model, of a Hugging Face folder or of a run, whose tokenizer is taken."""
    vocab_size: int | None = None
    """Size of a trained BPE vocabulary, special tokens included; from the text when not given."""
    rule: Rule | None = None
    """How a trained BPE splits text before merging, by llama.cpp's name; from the text when not
    given."""
    pattern: str = _DEFAULT_PATTERN
    """What parts words: colons, no-colons, or a regular expression; in parentheses, what it matches
    is a word, too. White space always parts them."""
    unknown: Literal["auto", "on", "off"] = "auto"
    """characters and words: whether one token stands for all that the training part lacks. auto:
    for words always, for characters where the validation part needs it."""
    column: str | None = None
    """What holds the text in rows of .jsonl, .csv and .parquet; text when not given."""
    skip_bad: bool = False
    """Count and skip rows that cannot be read, instead of stopping at the first."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = [*self._name_problems(), *self._contradictions()]
        if self.vocab_size is not None and self.vocab_size < _SMALLEST_VOCAB:
            found.append(
                f"text.vocab-size must be at least {_SMALLEST_VOCAB} (256 bytes and the "
                f"end-of-text token), got {self.vocab_size}"
            )
        try:
            find_separator(self.pattern)
        except TokenizerError as exc:
            found.append(f"text.pattern: {exc}")
        return found

    def _name_problems(self) -> list[str]:
        """A name that is none, but nearly one; any other may be a path, and is tried in its turn:
        a run goes on where its tokenizer was, also when that is gone."""
        if not self.tokenizer:
            return [f"text.tokenizer is empty; it may be {', '.join(TOKENIZERS)}, or a path"]
        near = difflib.get_close_matches(self.tokenizer.lower(), TOKENIZERS, n=1, cutoff=0.75)
        if self.tokenizer in TOKENIZERS or not near or Path(self.tokenizer).exists():
            return []
        return [
            f"text.tokenizer {self.tokenizer!r} is neither a tokenizer's name nor a path that "
            f"exists; did you mean {near[0]}?"
        ]

    def _contradictions(self) -> list[str]:
        kind = self.tokenizer
        given = (
            ("vocab-size", self.vocab_size is not None, ("auto", "bpe"), "bpe"),
            ("rule", self.rule is not None, ("auto", "bpe"), "bpe"),
            ("pattern", self.pattern != _DEFAULT_PATTERN, ("words",), "words"),
            ("unknown", self.unknown != "auto", ("characters", "words"), "characters or words"),
        )
        return [
            f"text.{option} has no meaning with text.tokenizer {kind}{_reason(option, kind)}; "
            f"leave it out, or use text.tokenizer {other}"
            for option, is_given, kinds, other in given
            if is_given and kind not in kinds
        ]


def _reason(option: str, kind: str) -> str:
    if option == "vocab-size" and kind in ("characters", "words"):
        return f": the {kind} of the text are the vocabulary"
    if option == "pattern":
        return f" (known patterns: {', '.join(PATTERNS)})"
    return ""
