"""Tokens to text by the decoder of any `tokenizer.json`, whole or one token at a time.

Almost all decoders look at one token alone, and at whether it is the first or the last. So what a
token adds is found once, by decoding it between two known neighbours, and kept as bytes: streaming
is then joining bytes. Decoders that look further are served too, but only at the end of a stream.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders

from cloche.text.byte_stream import ByteTextStream
from cloche.text.splitting import byte_of_letter

_NEIGHBOUR = "x"  # a token that every decoder shows as it is
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_LOCAL = {"Replace", "Metaspace", "WordPiece", "BPEDecoder", "Strip"}
"""Decoders that change each token by itself, but for its being the first or last."""


@dataclass(frozen=True)
class _Strip:
    """Up to so many of a character taken from the ends of the whole text."""

    content: str = " "
    start: int = 0
    stop: int = 0


@dataclass(frozen=True)
class _Plan:
    """What a decoder does, as far as it can be done token by token."""

    each: decoders.Decoder | None
    """What is done to every token; None joins them by spaces."""
    byte_tokens: bool
    """Whether tokens such as <0xE4> stand for bytes."""
    knows_last: bool
    """Whether the last token is decoded in another way than the others."""
    strip: _Strip


class TokenDecoder:
    """Decodes tokens, given as the text they have in the vocabulary."""

    def __init__(self, saved: Mapping | None) -> None:
        """By the `decoder` entry of a `tokenizer.json`."""
        steps = _flatten(saved)
        types = [step["type"] for step in steps]
        self.byte_level = [name for name in types if name != "Fuse"] == ["ByteLevel"]
        self._letters = byte_of_letter()
        self._whole = _engine_decoder(saved)
        self._plan = None if self.byte_level else _plan(steps)
        self._spaced = not steps or "WordPiece" in types
        self._pieces: dict[tuple[str, bool, bool], bytes] = {}

    @property
    def streams(self) -> bool:
        """Whether text can be shown token by token; where not, it comes at the end."""
        return self.byte_level or self._plan is not None

    def decode(self, tokens: Sequence[str]) -> str:
        """The text of all tokens; where bytes form no character, one sign for a run of them."""
        if not self.streams:
            return self._engine_text(tokens)
        stream = TokenTextStream(self)
        return "".join(map(stream.push, tokens)) + stream.close()

    def token_bytes(self, token: str) -> bytes:
        """The bytes a token stands for, without the space that decoding may set before it."""
        if not self.streams:
            return token.encode("utf-8")
        data = self.piece(token, first=False, last=False)
        return data.removeprefix(b" ") if self._spaced else data

    def piece(self, token: str, *, first: bool, last: bool) -> bytes:
        """What a token adds to the text at such a place."""
        key = (token, first, last)
        if key not in self._pieces:
            self._pieces[key] = self._find_piece(token, first=first, last=last)
        return self._pieces[key]

    def _find_piece(self, token: str, *, first: bool, last: bool) -> bytes:
        if self._plan is None:
            known = [self._letters.get(letter) for letter in token]
            # An added token with other letters than those of bytes is its own text.
            data = [byte for byte in known if byte is not None]
            return bytes(data) if len(data) == len(known) else token.encode("utf-8")
        byte = _BYTE_TOKEN.fullmatch(token) if self._plan.byte_tokens else None
        if byte:
            return bytes([int(byte[1], base=16)])
        before, after = [] if first else [_NEIGHBOUR], [] if last else [_NEIGHBOUR]
        text = self._each([*before, token, *after])
        ending = self._each([_NEIGHBOUR, *after]).removeprefix(_NEIGHBOUR)
        return text.removeprefix("".join(before)).removesuffix(ending).encode("utf-8")

    def _each(self, tokens: Sequence[str]) -> str:
        each = self._plan.each if self._plan else None
        return " ".join(tokens) if each is None else each.decode(list(tokens))

    def _engine_text(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens) if self._whole is None else self._whole.decode(list(tokens))

    @property
    def knows_last(self) -> bool:
        """Whether a token can be shown only when the next one is known."""
        return self._plan is not None and self._plan.knows_last

    @property
    def strip(self) -> _Strip:
        """What is taken from the ends of the whole text."""
        return self._plan.strip if self._plan else _Strip()


class TokenTextStream:
    """Tokens to text one by one; the pieces joined are the `decode` of them all."""

    def __init__(self, decoder: TokenDecoder) -> None:
        self._decoder = decoder
        self._bytes = ByteTextStream()
        self._tokens: list[str] = []  # not yet shown
        self._first = True
        self._to_strip = decoder.strip.start
        self._ending = ""  # held back, for it may be taken away at the end

    def push(self, token: str) -> str:
        """The text that is now certain."""
        self._tokens.append(token)
        if not self._decoder.streams:
            return ""
        held = 1 if self._decoder.knows_last else 0
        return self._show(len(self._tokens) - held, last=False)

    def close(self) -> str:
        """What is left, with one replacement sign for bytes that never became a character."""
        if not self._decoder.streams:
            tokens, self._tokens = self._tokens, []
            return self._decoder.decode(tokens)
        text = self._show(len(self._tokens), last=True) + self._stripped(self._bytes.close())
        ending, self._ending = self._ending, ""
        return text + ending[: max(0, len(ending) - self._decoder.strip.stop)]

    def _show(self, count: int, *, last: bool) -> str:
        text = ""
        for token in self._tokens[:count]:
            data = self._decoder.piece(token, first=self._first, last=last)
            self._first = False
            text += self._stripped(self._bytes.push(data))
        del self._tokens[:count]
        return text

    def _stripped(self, text: str) -> str:
        """The text without what is stripped at the start, and without what may be at the end."""
        strip = self._decoder.strip
        while text and self._to_strip:
            if text[0] != strip.content:
                self._to_strip = 0
                break
            text, self._to_strip = text[1:], self._to_strip - 1
        if not strip.stop:
            return text
        text = self._ending + text
        shown = text.rstrip(strip.content)
        shown = text[: max(len(shown), len(text) - strip.stop)]
        self._ending = text[len(shown) :]
        return shown


def _flatten(saved: Mapping | None) -> list[Mapping]:
    if saved is None:
        return []
    if saved["type"] == "Sequence":
        return [step for inner in saved["decoders"] for step in _flatten(inner)]
    return [saved]


def _plan(steps: list[Mapping]) -> _Plan | None:
    """How to decode token by token, or None where a step looks at more than one token."""
    types = [step["type"] for step in steps]
    fused = types.index("Fuse") if "Fuse" in types else len(types)
    each = list(steps[:fused])
    byte_tokens = bool(each) and each[-1]["type"] == "ByteFallback"
    if byte_tokens:
        each.pop()
    whole = [step for step in steps[fused:] if step["type"] != "Fuse"]
    strips = len(whole) <= 1 and all(step["type"] == "Strip" for step in whole)
    if not strips or not {step["type"] for step in each} <= _LOCAL:
        return None
    strip = whole[0] if whole else {}
    return _Plan(
        # A decoder that does nothing is not the same as none, which joins by spaces.
        each=_engine_decoder({"type": "Sequence", "decoders": each}) if steps else None,
        byte_tokens=byte_tokens,
        knows_last=any(step["type"] == "BPEDecoder" for step in each),
        strip=_Strip(strip.get("content", " "), strip.get("start", 0), strip.get("stop", 0)),
    )


def _engine_decoder(saved: Mapping | None) -> decoders.Decoder | None:
    """The engine's decoder for a saved entry."""
    model = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    content = {"version": "1.0", "added_tokens": [], "model": model, "decoder": saved}
    return Tokenizer.from_str(json.dumps(content)).decoder
