"""Tokens as a reader can see them: white space by signs, bytes that are no character as hex.

Nothing that a terminal would obey, swallow or reorder is passed on as it is: control characters,
zero-width joiners and marks of writing direction are shown by name. So a strange text can be looked
at safely, and every token has a width.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from cloche.text.tokenizer import Tokenizer
from cloche.text.words import WordTokenizer

SPACE, TAB, LINE_FEED, RETURN = "·", "→", "↵", "␍"

Kind = Literal["text", "space", "hex", "special"]

_SIGNS = {" ": SPACE, "\t": TAB, "\n": LINE_FEED, "\r": RETURN}
_CONTROL_PICTURES = 0x2400  # Unicode has a picture for each of the first 32 control characters
_DOTTED_CIRCLE = "\u25cc"
_BAD_BYTES = re.compile("([\udc80-\udcff]+)")


class Part(NamedTuple):
    """A stretch of a token as it is shown."""

    shown: str
    kind: Kind
    """text as it is; space: white space or another invisible character, by a sign; hex: bytes
    that are no whole character; special: the name of a special token."""


class TokenReader:
    """Shows the tokens of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._names = {number: name for name, number in tokenizer.special_tokens.items()}

    def is_special(self, token_id: int) -> bool:
        """Whether it stands for no text but for a role, such as the end of a text."""
        return token_id in self._names

    def data(self, token_id: int) -> bytes:
        """The bytes that the token stands for: of a special token, those of its name.

        No bytes where no token has this id: some vocabularies have holes.
        """
        name = self._names.get(token_id)
        return self.tokenizer.token_bytes(token_id) if name is None else name.encode("utf-8")

    def is_whole(self, token_id: int) -> bool:
        """Whether the token is text by itself; else it holds a part of a character."""
        try:
            self.data(token_id).decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    def text(self, token_id: int) -> str:
        """Its text as it is, or its special name; bytes that are no whole character as hex."""
        return readable(self.data(token_id))

    def parts(self, token_id: int) -> list[Part]:
        """The same with all white space visible."""
        parts = visible_bytes(self.data(token_id))
        if self.is_special(token_id):
            return [Part("".join(part.shown for part in parts), "special")]
        return parts

    def together(self, ids: Sequence[int]) -> str:
        """The text of several tokens, as `decode` has it.

        Unlike there, special tokens are shown by name, and what begins or ends in half a character
        as hex.
        """
        if isinstance(self.tokenizer, WordTokenizer):  # which knows what a space belongs before
            return self.tokenizer.decode_with_special(ids)
        shown, run = [], []
        for token_id in ids:
            name = self._names.get(token_id)
            if name is None:
                run.append(token_id)
                continue
            shown += [self._ordinary(run), name]
            run = []
        return "".join([*shown, self._ordinary(run)])

    def _ordinary(self, ids: Sequence[int]) -> str:
        """Of ordinary tokens: as decoded, since bytes alone do not tell where spaces belong."""
        data = b"".join(map(self.tokenizer.token_bytes, ids))
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            return readable(data)
        return self.tokenizer.decode(ids)


def readable(data: bytes) -> str:
    """The text of `data` as it is; bytes that form no whole character as hex, such as `<E9 BE>`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(shown for shown, _ in _stretches(data))


def visible_bytes(data: bytes) -> list[Part]:
    """Bytes as they are shown: their text with all white space visible, hex where they are none."""
    parts: list[Part] = []
    for shown, kind in _stretches(data):
        parts += visible_parts(shown) if kind == "text" else [Part(shown, kind)]
    return parts


def visible_parts(text: str) -> list[Part]:
    """Text as it is shown: each invisible character by a sign or by its number, such as U+200D."""
    parts: list[Part] = []
    for index, character in enumerate(text):
        shown, kind = _visible_character(character, first=index == 0)
        if parts and parts[-1].kind == kind:
            shown = parts.pop().shown + shown
        parts.append(Part(shown, kind))
    return parts


def visible(text: str) -> str:
    """Text with every invisible character made visible."""
    return "".join(part.shown for part in visible_parts(text))


def one_line(text: str) -> str:
    """Text with every invisible character but the space made visible: it stays on one line."""
    return " ".join(visible(stretch) for stretch in text.split(" "))


def _visible_character(character: str, *, first: bool) -> Part:
    if character in _SIGNS:
        return Part(_SIGNS[character], "space")
    code = ord(character)
    if code < 0x20:
        return Part(chr(_CONTROL_PICTURES + code), "space")
    if not character.isprintable():  # controls, joiners, unusual spaces, what has no character yet
        return Part(f"<U+{code:04X}>", "space")
    if first and unicodedata.combining(character):
        return Part(_DOTTED_CIRCLE + character, "text")  # else it would sit on what stands before
    return Part(character, "text")


def _stretches(data: bytes) -> Iterator[Part]:
    """Text and hex in turn. A bad byte becomes a lone surrogate, which no good one does."""
    for stretch in _BAD_BYTES.split(data.decode("utf-8", "surrogateescape")):
        if _BAD_BYTES.match(stretch):
            raw = stretch.encode("utf-8", "surrogateescape")
            yield Part(f"<{raw.hex(' ').upper()}>", "hex")
        elif stretch:
            yield Part(stretch, "text")
