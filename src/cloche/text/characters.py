"""The character tokenizer: every character of the training text is a token.

Ids are the ranks of the characters by code point, as in the classic character-level GPTs; behind
them come the special tokens. Saved, it is an ordinary Hugging Face tokenizer: a word-level
vocabulary over text that is split into single characters.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloche.errors import TokenizerError
from cloche.text.files import added_tokens, write_tokenizer
from cloche.text.specials import split_special
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN, SpecialIds

CHARACTER_PATTERN = r"[\s\S]"
"""Any one character: a plain dot would leave out line feeds."""

_CODE_POINTS = 0x110000
_NO_ID = -1


class CharacterTokenizer:
    """One token a character."""

    def __init__(self, characters: Collection[str], *, with_unknown: bool = False) -> None:
        """Over these distinct characters; `with_unknown` adds a token for all others.

        Raises TokenizerError where there is no character, or an entry is not a single one.
        """
        self._characters = tuple(sorted(set(characters)))
        _check(self._characters)
        self._code_points = np.array([ord(c) for c in self._characters], dtype="<u4")
        self._id_of_code_point = np.full(_CODE_POINTS, _NO_ID, dtype=np.int32)
        self._id_of_code_point[self._code_points] = np.arange(len(self._characters))
        names = [END_OF_TEXT, UNKNOWN] if with_unknown else [END_OF_TEXT]
        self._special = {name: len(self._characters) + i for i, name in enumerate(names)}
        self._json = _tokenizer_json(self._characters, self._special)

    @property
    def kind(self) -> str:
        """`characters`."""
        return "characters"

    @property
    def characters(self) -> tuple[str, ...]:
        """The characters in the order of their ids."""
        return self._characters

    @property
    def vocab_size(self) -> int:
        """Number of ids: the characters, and behind them the special tokens."""
        return len(self._characters) + len(self._special)

    @property
    def special_ids(self) -> SpecialIds:
        """The end-of-text token begins and ends texts and pads them."""
        end = self._special[END_OF_TEXT]
        return SpecialIds(bos=end, eos=end, pad=end, unk=self._special.get(UNKNOWN))

    @property
    def special_tokens(self) -> dict[str, int]:
        """The end-of-text token, and the one for unknown characters where there is one."""
        return dict(self._special)

    @property
    def joinable(self) -> bool:
        """Always: characters know no neighbours."""
        return True

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its `tokenizer.json`."""
        return hashlib.sha256(self._json).hexdigest()

    def encode(self, text: str, *, allowed_special: Collection[str] = ()) -> list[int]:
        """Ids of `text`; special tokens in it are plain text unless allowed by name.

        Raises TokenizerError naming the first character that the vocabulary lacks.
        """
        ids: list[int] = []
        for part in split_special(text, ids=self._special, allowed=allowed_special):
            ids += [part] if isinstance(part, int) else self._known(part).tolist()
        return ids

    def encode_training(self, text: str) -> list[int]:
        """Ids of `text`, with the unk token for characters the vocabulary lacks.

        Raises TokenizerError where it has no such token and needs one.
        """
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> NDArray[np.int32]:
        """`encode_training` as an array, for much text."""
        unknown = self._special.get(UNKNOWN)
        if unknown is None:
            return self._known(text)
        ids = self._look_up(text)
        ids[ids == _NO_ID] = unknown
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out. Raises TokenizerError for an id out of range."""
        array = np.asarray(ids, dtype=np.int64)
        outside = array[(array < 0) | (array >= self.vocab_size)]
        if len(outside):
            raise TokenizerError(
                f"{outside[0]} is no id of this tokenizer: they go from 0 to {self.vocab_size - 1}"
            )
        array = array[array < len(self._characters)]
        return self._code_points[array].tobytes().decode("utf-32-le")

    def stream(self) -> "CharacterStream":
        """A new streaming decoder."""
        return CharacterStream(self)

    def token_bytes(self, token_id: int) -> bytes:
        """The character in UTF-8; none for a special token."""
        return self.decode([token_id]).encode("utf-8")

    def token_text(self, token_id: int) -> str:
        """The character, or the name of the special token."""
        names = {number: name for name, number in self._special.items()}
        return names.get(token_id) or self.decode([token_id])

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` into `folder`."""
        special = self.special_ids
        write_tokenizer(folder, self._json, names=self._special, special=special, extra={})

    def _look_up(self, text: str) -> NDArray[np.int32]:
        # A lone surrogate is a code point that no vocabulary holds, so it is found to be unknown.
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        return self._id_of_code_point[code_points]

    def _known(self, text: str) -> NDArray[np.int32]:
        ids = self._look_up(text)
        unknown = np.flatnonzero(ids == _NO_ID)
        if len(unknown):
            raise _unknown_character(text, int(unknown[0]), len(self._characters))
        return ids


class CharacterStream:
    """Ids to text one by one: every token is a whole character."""

    def __init__(self, tokenizer: CharacterTokenizer) -> None:
        self._tokenizer = tokenizer

    def push(self, token_id: int) -> str:
        """The character; nothing for a special token."""
        return self._tokenizer.decode([token_id])

    def close(self) -> str:
        """Nothing: no character is ever held back."""
        return ""


def read_characters(saved: dict, data: bytes) -> CharacterTokenizer:
    """The tokenizer of a saved `tokenizer.json`, given parsed and as bytes.

    Raises TokenizerError where cloche would have saved it otherwise: it would not mean the same.
    """
    vocab: dict[str, int] = saved["model"]["vocab"]
    special = {token["content"] for token in saved["added_tokens"]}
    tokenizer = CharacterTokenizer(set(vocab) - special, with_unknown=UNKNOWN in special)
    if json.loads(tokenizer._json) != saved:
        raise TokenizerError("it is not a character tokenizer as cloche writes it")
    tokenizer._json = data
    return tokenizer


def _check(characters: Iterable[str]) -> None:
    if not characters:
        raise TokenizerError("a character tokenizer needs text to take its characters from")
    for character in characters:
        if len(character) != 1 or "\ud800" <= character <= "\udfff":
            raise TokenizerError(f"{character!r} is not a character; entries must be single ones")


def _unknown_character(text: str, position: int, known: int) -> TokenizerError:
    character = text[position]
    return TokenizerError(
        f"the character {character!r} (U+{ord(character):04X}), number {position + 1} of the text, "
        f"is not among the {known} characters this tokenizer was made from; leave it out or "
        f"replace it"
    )


def _tokenizer_json(characters: Sequence[str], special: dict[str, int]) -> bytes:
    """The Hugging Face form; the same characters give the same bytes."""
    vocab = {character: number for number, character in enumerate(characters)} | special
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(special),
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": CHARACTER_PATTERN},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN},
    }
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode("utf-8")
