"""The tokenizer contract: text to ids and back, special tokens by role, text streamed safely."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unk|>"


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens by role; None where a tokenizer has no such token."""

    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    unk: int | None = None


@runtime_checkable
class TextStream(Protocol):
    """Turns ids into text piece by piece; the pieces joined are `decode` of all the ids."""

    def push(self, token_id: int) -> str:
        """The text that this id completes; empty while a character is still incomplete."""
        ...

    def close(self) -> str:
        """What is left: a replacement sign where bytes never became a character."""
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included: ids are 0 .. vocab_size - 1."""
        ...

    @property
    def special_ids(self) -> SpecialIds:
        """Ids of the special tokens by role."""
        ...

    @property
    def kind(self) -> str:
        """What it is, in one word: `characters`, `words`, `bpe`, `gpt2`, ..., as in the options."""
        ...

    @property
    def special_tokens(self) -> dict[str, int]:
        """Names of the special tokens and their ids."""
        ...

    @property
    def joinable(self) -> bool:
        """Whether text may be cut where `cutting.safe_pieces` does: the ids of the pieces, joined,
        are those of the whole. Where not, a document is encoded whole."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its `tokenizer.json`; equal fingerprints give equal ids."""
        ...

    def encode(self, text: str, *, allowed_special: Collection[str] = ()) -> list[int]:
        """Ids of `text`. Special tokens typed in it are plain text unless allowed by name.

        Raises TokenizerError where the text holds what the vocabulary cannot express.
        """
        ...

    def encode_training(self, text: str) -> list[int]:
        """Ids of `text` for measuring or training: what is unknown becomes the unk token."""
        ...

    def encode_array(self, text: str) -> NDArray[np.integer[Any]]:
        """`encode_training` as an array, for much text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; bytes that form no character become the replacement sign."""
        ...

    def stream(self) -> TextStream:
        """A new streaming decoder."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes that a token stands for; none for a special token."""
        ...

    def token_text(self, token_id: int) -> str:
        """How one token reads on a screen: its text, or its bytes as hex where it is no text."""
        ...

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` into `folder`."""
        ...
