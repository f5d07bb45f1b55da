"""How text is read and turned into tokens: the options of the `text` section."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TextOptions:
    """Reading text, and its tokenizer."""

    encoding: str | None = None
    """Encoding of the sources, such as utf-8, gb18030 or big5; detected when not given."""
    tokenizer: Literal["auto", "characters", "bpe"] = "auto"
    """characters: one token a character. bpe: byte-level BPE trained on the training part."""
    vocab_size: int | None = None
    """Size of a trained BPE vocabulary, special tokens included; from the text when not given."""
    column: str | None = None
    """What holds the text in rows of .jsonl, .csv and .parquet; text when not given."""
    skip_bad: bool = False
    """Count and skip rows that cannot be read, instead of stopping at the first."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if self.vocab_size is not None and self.vocab_size < 257:
            found.append(
                f"text.vocab-size must be at least 257 (256 bytes and the end-of-text token), "
                f"got {self.vocab_size}"
            )
        if self.vocab_size is not None and self.tokenizer == "characters":
            found.append(
                "text.vocab-size has no meaning with text.tokenizer characters: the characters of "
                "the text are the vocabulary; leave it out, or use text.tokenizer bpe"
            )
        return found
