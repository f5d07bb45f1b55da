"""Bytes of tokens to text: whole characters only, and one sign for bytes that are none.

Bytes that can never become part of a character are shown as one replacement sign (U+FFFD) at the
end of their run, in `decode` and in the stream alike.
"""

import re

REPLACEMENT = "\ufffd"

_BAD_BYTES = re.compile("[\udc80-\udcff]+")
_LONGEST_INCOMPLETE = 3  # bytes; a UTF-8 character has at most four


def decode_bytes(data: bytes) -> str:
    """Text of `data`, with one replacement sign for each run of bytes that are no text."""
    # Each bad byte first becomes a lone surrogate, which no good byte does: signs that are really
    # in the text stay as many as they are.
    return _BAD_BYTES.sub(REPLACEMENT, data.decode("utf-8", "surrogateescape"))


class ByteTextStream:
    """Bytes in, text out; all that comes out joined is `decode_bytes` of all that went in."""

    def __init__(self) -> None:
        self._held = b""  # after the last whole character: bad, or the beginning of one
        self._bad_before = False  # whether more bad bytes stood before those held

    def push(self, data: bytes) -> str:
        """The text up to the last whole character that `data` completes."""
        text = (self._held + data).decode("utf-8", "surrogateescape")
        whole = len(text)
        while whole and "\udc80" <= text[whole - 1] <= "\udcff":
            whole -= 1
        bad_first = self._bad_before and whole > 0
        held = text[whole:].encode("utf-8", "surrogateescape")
        self._bad_before = (self._bad_before and not whole) or len(held) > _LONGEST_INCOMPLETE
        self._held = held[-_LONGEST_INCOMPLETE:]
        shown = _BAD_BYTES.sub(REPLACEMENT, text[:whole])
        if bad_first and not "\udc80" <= text[0] <= "\udcff":
            return REPLACEMENT + shown
        return shown

    def close(self) -> str:
        """One replacement sign where bytes were held back, which now become nothing more."""
        left = self._bad_before or bool(self._held)
        self._held, self._bad_before = b"", False
        return REPLACEMENT if left else ""
