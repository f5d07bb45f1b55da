"""Whether the first bytes of a file are those of text, and if not, what they are."""

import io
from collections.abc import Sequence

from cloche.errors import TextError
from cloche.text.detection import detect_encoding
from cloche.text.encodings import BYTE_ORDER_MARKS

HEAD_BYTES = 8192
"""Looked at."""

_ZIP = "a zip archive (as .docx, .epub and .pt files are)"
# No text begins with these in any encoding, or, of %PDF-, by any chance.
_BEGINNINGS = (
    (b"PK\x03\x04", _ZIP),
    (b"%PDF-", "a PDF; name it .pdf to have its text read"),
    (b"\x1f\x8b", "gzip data; name it .txt.gz or .jsonl.gz to have it unpacked"),
    (b"\x28\xb5\x2f\xfd", "zstd data; name it .txt.zst or .jsonl.zst to have it unpacked"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"\x7fELF", "a program"),
    (b"\xd0\xcf\x11\xe0", "an old Office file (.doc, .xls or .ppt)"),
    (b"\xfd7zXZ", "xz data"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
)
# A text may begin with these letters: they only name what is known to be none.
_BEGINNINGS_OF_LETTERS = (
    (b"GIF8", "a picture (GIF)"),
    (b"BM", "a picture (BMP)"),
    (b"RIFF", "sound, a film or a picture (RIFF)"),
    (b"ID3", "sound (MP3)"),
    (b"OggS", "sound (Ogg)"),
    (b"PAR1", "a Parquet file; name it .parquet to have it read"),
    (b"SQLite format 3", "a data base"),
    (b"GGUF", "a model (GGUF)"),
    (b"MZ", "a program"),
    (b"BZh", "bzip2 data"),
)
_MOST_CONTROLS = 0.1  # of text's bytes; programs and pictures have about a quarter


def known_binary(head: bytes) -> str | None:
    """What well-known binary format `head` begins as no text does, or None."""
    return _what(head, _BEGINNINGS)


def binary_reason(head: bytes) -> str | None:
    """What the file that begins with `head` is, where that is not text, or None.

    Give it the first HEAD_BYTES, or the whole of a shorter file. NUL bytes alone decide nothing:
    UTF-16 is full of them, with a byte order mark or without.
    """
    if known := known_binary(head):
        return known
    if any(head.startswith(mark) for mark, _ in BYTE_ORDER_MARKS):
        return None
    controls = sum(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in head)
    if b"\0" not in head and controls <= _MOST_CONTROLS * len(head):
        return None
    # An even number of bytes, so that the cut goes through no unit of UTF-16.
    whole = head[: len(head) // 2 * 2] if len(head) == HEAD_BYTES else head
    try:
        detect_encoding(lambda: io.BytesIO(whole), name="")
    except TextError:
        return _what(head, _BEGINNINGS_OF_LETTERS) or _described(head)
    return None


def _what(head: bytes, beginnings: Sequence[tuple[bytes, str]]) -> str | None:
    return next((what for beginning, what in beginnings if head.startswith(beginning)), None)


def _described(head: bytes) -> str:
    if b"\0" not in head:
        return "binary data (its first bytes are control characters more often than text's)"
    return f"binary data (a NUL byte at {head.index(0)}), and no UTF-16"
