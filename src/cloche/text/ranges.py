"""Where a large source may be cut into byte ranges that are read and tokenized by themselves.

Rows are cut behind a line end. Running text is cut at the last safe place of a line, where every
splitting rule splits (`cutting.py`), so that the ids of the ranges, joined, are those of the whole.
Such a place is found by reading a little around it, never the whole source.
"""

import re

from cloche.text.cutting import last_safe_place
from cloche.text.encodings import ByteStream, decoder_name, with_byte_order
from cloche.text.sources import SourceFile

_SEARCH_BYTES = 1 << 16  # read at a time in search of a place
_MOST_SEARCHED_BYTES = 1 << 22  # longer lines are not cut
_LONGEST_MARK = 4  # bytes

# In these a byte 0x0A is always a line end, and what follows does not depend on what came before.
_LINE_ENDS_STAND_ALONE = re.compile(
    "utf-8|ascii|gb18030|big5hkscs|cp949|cp932|euc_jp|iso8859-|latin|cp125|koi8|mac-"
)


def concrete_codec(source: SourceFile, encoding: str) -> str:
    """The codec that decodes any stretch of the source: a byte order is written out in its name.

    Raises TextError where utf-16 or utf-32 text does not begin with a byte order mark.
    """
    with source.open_bytes() as stream:
        head = stream.read(_LONGEST_MARK)
    return with_byte_order(decoder_name(encoding), head, name=source.name)


def cut_places(source: SourceFile, codec: str, *, every_bytes: int) -> list[int]:
    """Byte offsets where `source` may be cut, about `every_bytes` apart, in rising order.

    `codec` is its `concrete_codec`. None where the source is too short, has no line ends, or is in
    an encoding or compression that must be read from the beginning.
    """
    newline = _newline(codec)
    if not source.splittable or newline is None:
        return []
    size = source.path.stat().st_size
    every = -(-every_bytes // len(newline)) * len(newline)  # whole characters of UTF-16 and UTF-32
    places, target = [], every
    while target < size:
        place = _next_place(source, codec, newline, target=target)
        if place is not None and place < size and place > (places[-1] if places else 0):
            places.append(place)
        target += every
        while place is not None and target < place:
            target += every
    return places


def _newline(codec: str) -> bytes | None:
    """The bytes of a line end; None where they cannot be told from others."""
    if codec.startswith(("utf-16", "utf-32")):
        return "\n".encode(codec)
    return b"\n" if _LINE_ENDS_STAND_ALONE.match(codec) else None


def _next_place(source: SourceFile, codec: str, newline: bytes, *, target: int) -> int | None:
    """The first place to cut from `target` on, or None where none is found near it."""
    line, base = None, target  # bytes of the line so far, once its beginning is known
    with source.open_bytes(target, target + _MOST_SEARCHED_BYTES) as stream:
        while block := _whole_units(stream, newline):
            *ended, rest = _lines(block, newline)
            for part in ended:
                end = base + len(part)
                if line is not None and source.rows:
                    return end + len(newline)
                if line is not None:
                    whole = line + part
                    if (place := _last_safe_place(whole, codec)) is not None:
                        return end - len(whole) + place
                line, base = b"", end + len(newline)
            line = None if line is None else line + rest
            base += len(rest)
    return None


def _whole_units(stream: ByteStream, newline: bytes) -> bytes:
    """The next bytes, a whole number of characters of UTF-16 and UTF-32; none at the end."""
    block = stream.read(_SEARCH_BYTES)
    while block and len(block) % len(newline) and (more := stream.read(1)):
        block += more
    return block


def _lines(block: bytes, newline: bytes) -> list[bytes]:
    """`block` split at its line ends, which begin at whole characters only."""
    lines, begin, index = [], 0, block.find(newline)
    while index >= 0:
        if index % len(newline):  # the end of one character and the beginning of the next
            index = block.find(newline, index + 1)
            continue
        lines.append(block[begin:index])
        begin = index + len(newline)
        index = block.find(newline, begin)
    return [*lines, block[begin:]]


def _last_safe_place(line: bytes, codec: str) -> int | None:
    """How many bytes of a line, given from its beginning, come before its last safe place."""
    try:
        text = line.decode(codec)
    except UnicodeDecodeError:
        return None  # whoever reads the text tells what is wrong
    place = last_safe_place(text + "\n")
    before = b"" if place is None else text[:place].encode(codec)
    # a character of an old encoding may have two forms: then its bytes are not known from it
    return len(before) if before and line.startswith(before) else None
