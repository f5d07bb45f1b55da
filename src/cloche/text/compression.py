"""The bytes of a file, unpacked on the way; what goes wrong becomes an error that names the file.

gzip and zstd files may consist of several parts one after the other, as `cat` and parallel packers
make them. A file that ends too early is an error in both, never a shorter text.
"""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

from cloche.errors import TextError
from cloche.text.encodings import ByteStream
from cloche.text.extras import missing_library

Compression = Literal["none", "gzip", "zstd"]

_SKIPPABLE = range(0x184D2A50, 0x184D2A60)  # magic numbers of zstd frames that hold no data
_LARGEST_WINDOW = 1 << 31  # bytes; what `zstd --long=31` makes, the most that the library reads
_LONGEST_HEADER = 18  # bytes of a zstd frame before its first block
_CHECKSUM_BYTES = 4


def open_range(path: Path, start: int, *, stop: int | None, name: str) -> ByteStream:
    """The bytes of an uncompressed file from `start` up to `stop` (its end where None)."""
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(f"no range of bytes: {start} to {stop}")
    return _RangeStream(path, start, stop=stop, name=name)


def open_unpacked(path: Path, compression: Compression, *, name: str) -> ByteStream:
    """The content of a file from its beginning, as it was before it was compressed.

    Raises TextError where the file cannot be opened or `zstandard` is not installed; reading raises
    TextError where the data is damaged or ends early.
    """
    if compression == "none":
        return _RangeStream(path, 0, stop=None, name=name)
    return _GzipStream(path, name=name) if compression == "gzip" else _ZstdStream(path, name=name)


class _RangeStream:
    """Part of a file as it lies."""

    def __init__(self, path: Path, start: int, *, stop: int | None, name: str) -> None:
        self._name = name
        self._left = None if stop is None else stop - start
        self._file = _open(path, name=name)
        if start:
            self._file.seek(start)

    def read(self, size: int = -1, /) -> bytes:
        if self._left is not None:
            size = self._left if size < 0 else min(size, self._left)
        try:
            data = self._file.read(size)
        except OSError as exc:
            raise _unreadable(self._name, exc) from exc
        if self._left is not None:
            self._left -= len(data)
        return data

    def __enter__(self) -> "_RangeStream":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()


class _GzipStream:
    """What a gzip file holds."""

    def __init__(self, path: Path, *, name: str) -> None:
        self._name = name
        self._file = _open(path, name=name)
        self._unpacked = gzip.GzipFile(fileobj=self._file)

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._unpacked.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
            raise _damaged(self._name, "gzip", str(exc)) from exc
        except OSError as exc:
            raise _unreadable(self._name, exc) from exc

    def __enter__(self) -> "_GzipStream":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._unpacked.close()
        self._file.close()


class _ZstdStream:
    """What a zstd file holds."""

    def __init__(self, path: Path, *, name: str) -> None:
        try:
            import zstandard
        except ImportError as exc:
            raise missing_library("zstandard", name=name, what="zstd data") from exc
        self._name = name
        self._whole = False  # as far as is known yet
        self._errors = zstandard.ZstdError
        self._header_bytes: Callable[[bytes], int] = zstandard.frame_header_size
        self._has_checksum: Callable[[bytes], bool] = lambda header: bool(
            zstandard.get_frame_parameters(header).has_checksum
        )
        self._file = _open(path, name=name)
        self._unpacked = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).stream_reader(
            self._file, read_across_frames=True, closefd=False
        )

    def read(self, size: int = -1, /) -> bytes:
        try:
            data = self._unpacked.read(size)
            if not self._whole and (size < 0 or len(data) < size):
                self._require_whole()
        except self._errors as exc:
            raise _damaged(self._name, "zstd", str(exc)) from exc
        except OSError as exc:
            raise _unreadable(self._name, exc) from exc
        return data

    def _require_whole(self) -> None:
        """Raise where the file ends within a frame, which zstandard takes for an end like any.

        Goes over the headers alone: https://datatracker.ietf.org/doc/html/rfc8878#section-3.1
        """
        end = self._file.seek(0, 2)
        place = 0
        while place < end:
            place = self._frame_end(place)
        self._file.seek(end)
        if place > end or not end:
            raise _damaged(self._name, "zstd", "it ends before its last frame does")
        self._whole = True

    def _frame_end(self, place: int) -> int:
        """Where the frame that begins at `place` ends, be that beyond the end of the file."""
        self._file.seek(place)
        header = self._file.read(_LONGEST_HEADER)
        if int.from_bytes(header[:4], "little") in _SKIPPABLE:
            return place + 8 + int.from_bytes(header[4:8], "little")
        place += self._header_bytes(header)
        last = False
        while not last:
            self._file.seek(place)
            head = self._file.read(3)
            if len(head) < 3:
                return place + 3
            block = int.from_bytes(head, "little")
            last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            place += 3 + (1 if kind == 1 else size)  # kind 1 is one byte, repeated `size` times
        return place + (_CHECKSUM_BYTES if self._has_checksum(header) else 0)

    def __enter__(self) -> "_ZstdStream":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._unpacked.close()
        self._file.close()


def _open(path: Path, *, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as exc:
        raise TextError(f"{name} cannot be read: {exc.strerror}") from exc


def _damaged(name: str, compression: str, problem: str) -> TextError:
    return TextError(f"{name} is damaged {compression} data ({problem}); make or fetch it again")


def _unreadable(name: str, exc: OSError) -> TextError:
    return TextError(f"{name} cannot be read: {exc}")
