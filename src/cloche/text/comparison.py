"""How much text a token of each tokenizer carries, side by side."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from cloche.text.tokenized import Documents, TokenizedText, tokenize_text
from cloche.text.tokenizer import Tokenizer
from cloche.text.visible import TokenReader


@dataclass(frozen=True)
class Compression:
    """What one tokenizer makes of a text."""

    tokenizer: str
    vocab_size: int
    tokens: int
    bytes_per_token: float
    characters_per_token: float
    split_share: float
    """Share of the tokens that hold a part of a character, from 0 to 1."""
    used: int
    """How many entries of the vocabulary the text uses."""
    unknown: int
    """Tokens that stand for what the tokenizer cannot express."""


def measure_compression(
    name: str,
    tokenizer: Tokenizer,
    documents: Documents,
    *,
    allowed_special: Collection[str] = (),
) -> Compression:
    """What `tokenizer`, called `name`, makes of the text. Raises as `tokenize_text` does."""
    found = tokenize_text(tokenizer, documents, allowed_special=allowed_special)
    return Compression(
        tokenizer=name,
        vocab_size=tokenizer.vocab_size,
        tokens=found.tokens,
        bytes_per_token=found.bytes_per_token,
        characters_per_token=found.characters_per_token,
        split_share=split_tokens(tokenizer, found) / found.tokens,
        used=int(np.count_nonzero(found.counts)),
        unknown=unknown_tokens(tokenizer, found),
    )


def split_tokens(tokenizer: Tokenizer, text: TokenizedText) -> int:
    """How many tokens of the text hold a part of a character."""
    reader = TokenReader(tokenizer)
    used = np.flatnonzero(text.counts).tolist()
    return sum(int(text.counts[number]) for number in used if not reader.is_whole(number))


def unknown_tokens(tokenizer: Tokenizer, text: TokenizedText) -> int:
    """How many tokens of the text are the unknown token."""
    unknown = tokenizer.special_ids.unk
    if unknown is None or unknown == tokenizer.special_ids.eos:
        return 0  # GPT-2's configuration names its end-of-text token for this role, too
    return int(text.counts[unknown])
