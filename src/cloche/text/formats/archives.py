"""Zip archives that hold a document, opened with care: they come from anywhere."""

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from cloche.errors import TextError

MEMBER_BYTES = 256_000_000
"""Most of one file in an archive, unpacked; a few kilobytes can be packed to unpack to more."""

TOTAL_BYTES = 256_000_000
"""Most of all files in an archive that are held in memory at once, unpacked."""

_OLE = b"\xd0\xcf\x11\xe0"  # what Office locks documents in, and wrote before 2007
_ENCRYPTED = 1  # bit of a member's flags


@contextlib.contextmanager
def open_archive(path: Path, *, name: str, kind: str) -> Iterator[zipfile.ZipFile]:
    """The archive that a `kind` (such as "an EPUB") is.

    Raises TextError where it is none, is damaged or locked, or holds a file over MEMBER_BYTES.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_OLE)) == _OLE:
                raise TextError(
                    f"{name} is not {kind} that can be read: it is locked with a password, or an "
                    f"old Office file; save a copy as .docx without a password"
                )
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    _require_readable(member, name=name)
                yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as exc:
        raise TextError(f"{name} is damaged, or is not {kind} ({exc}); fetch it again") from exc
    except OSError as exc:
        raise TextError(f"{name} cannot be read: {exc}") from exc


def small_copy(archive: zipfile.ZipFile, *, endings: tuple[str, ...], name: str) -> io.BytesIO:
    """The archive in memory, with the files of these endings; all others (pictures) are empty.

    Raises TextError where the files to keep are over TOTAL_BYTES together.
    """
    members = {member.filename: member for member in archive.infolist()}  # of two, the last counts
    kept = [member for member in members.values() if member.filename.lower().endswith(endings)]
    total = sum(member.file_size for member in kept)
    if total > TOTAL_BYTES:
        raise TextError(
            f"{name}: its {len(kept)} text parts would be {total:,} bytes unpacked, more than "
            f"{TOTAL_BYTES:,}; such files are not opened"
        )
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as small:
        for member in members.values():
            keep = member.filename.lower().endswith(endings)
            small.writestr(member.filename, _content(archive, member) if keep else b"")
    copy.seek(0)
    return copy


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        return file.read(member.file_size)  # never more, where the archive lies about its size


def _require_readable(member: zipfile.ZipInfo, *, name: str) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise TextError(f"{name} is locked with a password ({member.filename}); unlock it first")
    if member.file_size > MEMBER_BYTES:
        raise TextError(
            f"{name}: {member.filename} would be {member.file_size:,} bytes unpacked, more than "
            f"{MEMBER_BYTES:,}; such files are not opened"
        )
