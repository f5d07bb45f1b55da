"""Which encoding a source is in, found from all of its bytes.

In this order: a byte order mark; strict UTF-8; then each encoding below that decodes the whole
source strictly, judged by how much of the outcome is characters people really use. Text read in
the wrong one of these encodings is made of rare characters, so even a few words are enough. Where
no reading is plausible the user is asked: a guess that happens to decode would corrupt the text.

`charset-normalizer` gives the hint in that error. It does not decide: it takes short Chinese texts
for Korean, and finds no reading at all for the poems of the Tang.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass, field

import charset_normalizer
import numpy as np
from numpy.typing import NDArray

from cloche.errors import TextError
from cloche.text.encodings import (
    BLOCK_BYTES,
    BYTE_ORDER_MARKS,
    ByteStream,
    nul_error,
)
from cloche.text.frequent import FREQUENT_CHARACTERS

OpenBytes = Callable[[], ByteStream]

# The smaller name of a family comes first: it is reported where it suffices. "gbk" says that every
# character is one of GBK's; "gb18030" that some need its four-byte forms or its private area.
_CANDIDATES = (
    "gbk",
    "gb18030",
    "big5",
    "big5hkscs",
    "cp932",
    "euc_jp",
    "cp949",
    "utf-16-le",
    "utf-16-be",
)
_PLAUSIBLE_SHARE = 0.25  # wrong encodings give 0.1 to 0.2, the poems of the Tang 0.6
_PLAUSIBLE_SHARE_UTF16 = 0.5  # counts ASCII too
_ENOUGH_CHARACTERS = 300_000  # judged; all the rest is still decoded strictly
_ENOUGH_IF_DAMAGED = 16  # characters judged before a reading that fails later is believed
_SURELY_UTF8 = 8  # characters of several bytes: other encodings give so many in a row by no chance
_SAMPLE_BYTES = 1 << 16


def detect_encoding(open_bytes: OpenBytes, *, name: str) -> str:
    """Name of the encoding of the whole source, as `--text.encoding` takes it.

    One of utf-8, utf-8-sig (with its mark), utf-16 (with its mark), utf-16-le, utf-16-be, utf-32,
    gbk, gb18030, big5, big5hkscs, cp949, cp932, euc_jp. A source that is plainly in one of them but
    damaged gets that name too, and decoding it tells the place. `open_bytes` opens the source from
    its beginning, every time; it is read in blocks, up to twice.

    Raises TextError where no encoding is plausible, and for a NUL byte in what is not UTF-16.
    """
    with open_bytes() as stream:
        head = stream.read(4)
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    utf8 = _scan_utf8(open_bytes)
    if utf8.whole or (utf8.wide_characters >= _SURELY_UTF8 and not utf8.nul):
        return "utf-8"
    readings = _read_all(open_bytes)
    found = _choose(readings)
    if found is not None:
        return found
    if utf8.nul:
        raise nul_error(name, line=utf8.line, offset=utf8.offset)
    raise _unknown(utf8, open_bytes, name=name)


@dataclass
class _Utf8Scan:
    """How far a source is UTF-8: up to its end, a NUL byte, or bytes that are not UTF-8."""

    wide_characters: int = 0
    line: int = 1
    offset: int = 0
    nul: bool = False
    problem: str | None = None

    @property
    def whole(self) -> bool:
        return not self.nul and self.problem is None


def _scan_utf8(open_bytes: OpenBytes) -> _Utf8Scan:
    scan = _Utf8Scan()
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    with open_bytes() as stream:
        while scan.whole:
            block = stream.read(BLOCK_BYTES)
            if not block:
                break
            before_nul, scan.nul = block.partition(b"\0")[0], b"\0" in block
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(before_nul)
                scan.offset += len(before_nul)
            except UnicodeDecodeError as exc:
                text = exc.object[: exc.start].decode("utf-8")
                scan.offset += exc.start - pending
                scan.problem = f"{exc.object[exc.start]:02X} is not UTF-8 ({exc.reason})"
            scan.line += text.count("\n")
            scan.wide_characters += len(text) - len(text.encode("ascii", "ignore"))
    if scan.whole and (pending := len(decoder.getstate()[0])):
        scan.offset -= pending
        scan.problem = "the file ends within a UTF-8 character"
    return scan


@dataclass
class _Reading:
    """A source read in one encoding: how far that went, and how plausible the text is."""

    encoding: str
    decoder: codecs.IncrementalDecoder = field(init=False)
    alive: bool = True
    judged: int = 0
    frequent: int = 0

    def __post_init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder(self.encoding)("strict")

    @property
    def share(self) -> float:
        return self.frequent / max(1, self.judged)

    @property
    def plausible(self) -> bool:
        utf16 = self.encoding.startswith("utf-16")
        return self.share >= (_PLAUSIBLE_SHARE_UTF16 if utf16 else _PLAUSIBLE_SHARE)

    def read(self, block: bytes, *, frequent: NDArray[np.bool_]) -> None:
        """Decode one more block and judge it; an empty block ends the source."""
        try:
            text = self.decoder.decode(block, final=not block)
        except UnicodeDecodeError as exc:
            self.alive = False
            text = exc.object[: exc.start].decode(self.encoding, "ignore")
        if "\0" in text:
            self.alive = False
        if self.judged < _ENOUGH_CHARACTERS:
            self._judge(text, frequent)

    def _judge(self, text: str, frequent: NDArray[np.bool_]) -> None:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        if not self.encoding.startswith("utf-16"):
            codes = codes[codes > 127]  # ASCII reads the same in all, so it tells nothing
        self.judged += len(codes)
        self.frequent += int(frequent[codes].sum())


def _read_all(open_bytes: OpenBytes) -> list[_Reading]:
    """The source read in every encoding at once, each until it fails."""
    frequent = np.zeros(0x110000, dtype=np.bool_)
    frequent[[ord(character) for character in FREQUENT_CHARACTERS]] = True
    frequent[32:127] = frequent[9:14] = True  # ASCII counts in UTF-16 alone
    with_alphabets = frequent.copy()
    with_alphabets[0xA1:0x600] = True  # Latin, Greek, Cyrillic, Hebrew: few bytes of chance here
    readings = [_Reading(encoding) for encoding in _CANDIDATES]
    with open_bytes() as stream:
        block = b"start"
        while block:
            block = stream.read(BLOCK_BYTES)
            for reading in readings:
                if reading.alive:
                    utf16 = reading.encoding.startswith("utf-16")
                    reading.read(block, frequent=with_alphabets if utf16 else frequent)
    return readings


def _choose(readings: list[_Reading]) -> str | None:
    """The most plausible reading; a whole one goes before one that failed on the way."""
    whole = [r for r in readings if r.plausible and r.alive]
    damaged = [r for r in readings if r.plausible and r.judged >= _ENOUGH_IF_DAMAGED]
    candidates = whole or damaged
    if not candidates:
        return None
    # Of equals (a few characters at most), the first of the table: Chinese before the others.
    return max(candidates, key=lambda r: round(r.share, 2)).encoding


def _unknown(utf8: _Utf8Scan, open_bytes: OpenBytes, *, name: str) -> TextError:
    """The error of a source in no known encoding: where UTF-8 fails, and what it might be."""
    with open_bytes() as stream:
        hint = charset_normalizer.from_bytes(stream.read(_SAMPLE_BYTES)).best()
    guess = f"charset-normalizer would say {hint.encoding}" if hint else "it may be no text at all"
    return TextError(
        f"{name}: line {utf8.line}, byte {utf8.offset}: {utf8.problem}, and the source is not "
        f"plausible as UTF-16, GBK, GB18030, Big5, Shift-JIS, EUC-JP or Korean either; {guess}. "
        f"Name the right encoding with --text.encoding (such as cp1252)"
    )
