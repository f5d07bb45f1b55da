"""Bytes to text, strictly: every byte becomes the character that was meant, or an error says where.

Text is decoded block by block, so a file of any size, and a single line of any length, is read in
bounded memory. Nothing is normalised: line ends stay as they are, and only a leading byte order
mark, which is not part of the text, is left out. Which encoding a file has: `detection.py`.
"""

import codecs
import contextlib
import difflib
import encodings.aliases
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cloche.errors import TextError

BLOCK_BYTES = 1 << 19
"""Bytes decoded at a time; a block gives at most as many characters and a few more."""

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# A name of a family is decoded by its largest member, as browsers do: files labelled by the smaller
# name hold the larger one's characters more often than not, and what both know reads the same.
# https://encoding.spec.whatwg.org/#names-and-labels
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@runtime_checkable
class ByteStream(Protocol):
    """What is read from: an open binary file, plain or decompressed on the way."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...

    def __enter__(self) -> "ByteStream": ...

    def __exit__(self, *exc_info: object) -> None: ...


def decoder_name(encoding: str) -> str:
    """Name of the Python codec that decodes `encoding`, a superset where a family has one.

    Raises TextError where Python knows no such encoding of text, naming the nearest one.
    """
    try:
        name = codecs.lookup(encoding).name
        with contextlib.suppress(UnicodeDecodeError):  # some need more than a byte: they are text
            b"a".decode(name)  # refuses codecs that are no encodings of text, such as rot13
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError) as exc:
        aliases = encodings.aliases.aliases
        names = sorted({*aliases, *aliases.values()})
        near = difflib.get_close_matches(encoding.lower().replace("-", "_"), names, n=1)
        meant = f"did you mean {near[0]}?" if near else "try utf-8, utf-16, gb18030 or big5"
        raise TextError(
            f"text.encoding {encoding!r} is no known encoding of text; {meant}"
        ) from exc
    return _SUPERSETS.get(name, name)


@dataclass(frozen=True)
class Place:
    """Where in a source a stretch of it begins."""

    byte: int = 0
    """From 0."""
    line: int = 1


SOURCE_START = Place()


def decode_blocks(
    stream: ByteStream, encoding: str, *, name: str, start: Place = SOURCE_START
) -> Iterator[str]:
    """The text of `stream`, block by block, none of them empty.

    `name` is the source as messages should call it, `start` the place in it where the stream
    begins: elsewhere than at its beginning there is no byte order mark, and `encoding` must say
    the order. Raises TextError with the line (from 1) and the byte offset (from 0) in the source of
    bytes that are no text in `encoding`, of a NUL, or of half a surrogate pair.
    """
    block = _first_block(stream)
    codec, mark = decoder_name(encoding), ""
    if start.byte == 0:
        codec = with_byte_order(codec, block, name=name)
        mark = "\ufeff" if codec.startswith(("utf-", "gb18030")) else ""
    reader = _StrictReader(codec, encoding=encoding, name=name, start=start)
    while True:
        text = reader.read(block)
        if text:
            shown, mark = text.removeprefix(mark), ""
            if shown:
                yield shown
        if not block:
            return
        block = stream.read(BLOCK_BYTES)


def no_text(name: str, *, line: int, offset: int, problem: str) -> TextError:
    """The error for bytes that cannot be text: where they are, and what to do about it."""
    return TextError(
        f"{name}: line {line}, byte {offset}: {problem}. Mend the file there, or, if it is in "
        f"another encoding, name it with --text.encoding (such as gb18030, big5 or utf-16)"
    )


def nul_error(name: str, *, line: int, offset: int) -> TextError:
    """The error for a NUL byte, which no text holds."""
    return TextError(
        f"{name}: line {line}, byte {offset}: a NUL byte, which text never holds. Is this a binary "
        f"file? If it is UTF-16 without a byte order mark, use --text.encoding utf-16-le (or -be)"
    )


def surrogate_error(name: str, *, line: int, character: str) -> TextError:
    """The error for half a surrogate pair, which is no character and cannot be written as UTF-8."""
    return TextError(
        f"{name}: line {line}: the lone surrogate U+{ord(character):04X} is half a character; "
        f"mend the text there"
    )


def find_lone_surrogate(text: str) -> re.Match[str] | None:
    """The first half of a surrogate pair in `text`, or None."""
    return None if text.isascii() else _LONE_SURROGATE.search(text)


class _StrictReader:
    """An incremental decoder that knows where it is, to say where it fails."""

    def __init__(self, codec: str, *, encoding: str, name: str, start: Place) -> None:
        self._decoder = codecs.getincrementaldecoder(codec)("strict")
        self._codec = codec
        self._encoding = encoding
        self._name = name
        self._bytes_read = start.byte
        self._line = start.line

    def read(self, block: bytes) -> str:
        """Text that `block` completes; an empty block ends the stream."""
        state = self._decoder.getstate()
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as exc:
            raise self._undecodable(exc, block, state) from exc
        except UnicodeError as exc:  # codecs that know no position
            problem = f"not {self._encoding}: {exc}"
            raise no_text(
                self._name, line=self._line, offset=self._bytes_read, problem=problem
            ) from exc
        if "\0" in text:
            raise self._nul(text, block, pending=len(state[0]))
        if half := find_lone_surrogate(text):
            line = self._line + text.count("\n", 0, half.start())
            raise surrogate_error(self._name, line=line, character=half[0])
        self._bytes_read += len(block)
        self._line += text.count("\n")
        return text

    def _undecodable(
        self, exc: UnicodeDecodeError, block: bytes, state: tuple[bytes, int]
    ) -> TextError:
        # exc.object is what was held back of the last block, followed by this block.
        start_in_block = len(block) - len(exc.object) + exc.start
        self._decoder.setstate(state)
        before = self._decoder.decode(block[: max(0, start_in_block)])
        # A codec may report one byte of a longer broken sequence; up to four show what is there.
        shown = exc.object[exc.start : max(exc.end, exc.start + 1)][:4].hex(" ").upper()
        return no_text(
            self._name,
            line=self._line + before.count("\n"),
            offset=self._bytes_read + start_in_block,
            problem=f"{shown} is no text in {self._encoding} ({exc.reason})",
        )

    def _nul(self, text: str, block: bytes, *, pending: int) -> TextError:
        index = text.index("\0")
        if self._codec.startswith(("utf-16", "utf-32")):
            unit_bytes = len(text[:index].encode(self._codec))
            offset = self._bytes_read - pending + unit_bytes
        else:
            offset = self._bytes_read + block.index(0)
        line = self._line + text.count("\n", 0, index)
        return nul_error(self._name, line=line, offset=offset)


def _first_block(stream: ByteStream) -> bytes:
    """The first bytes, enough of them for any byte order mark where the stream has so many."""
    block = b""
    while len(block) < len(codecs.BOM_UTF32_LE) and (more := stream.read(BLOCK_BYTES)):
        block += more
    return block


def with_byte_order(codec: str, head: bytes, *, name: str) -> str:
    """`codec` with its byte order, which for plain utf-16 and utf-32 the first bytes must tell."""
    if codec not in ("utf-16", "utf-32"):
        return "utf-8" if codec == "utf-8-sig" else codec
    for order in ("le", "be"):
        if head.startswith("\ufeff".encode(f"{codec}-{order}")):
            return f"{codec}-{order}"
    raise TextError(
        f"{name}: {codec} text begins with a byte order mark, and this does not; say which order "
        f"it has with --text.encoding {codec}-le or {codec}-be"
    )
