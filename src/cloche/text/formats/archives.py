"""Zip archives that hold a document, opened with care: they come from anywhere."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from cloche.errors import TextError

MEMBER_BYTES = 256_000_000
"""Most of one file in an archive, unpacked; a few kilobytes can be packed to unpack to more."""

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


def _require_readable(member: zipfile.ZipInfo, *, name: str) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise TextError(f"{name} is locked with a password ({member.filename}); unlock it first")
    if member.file_size > MEMBER_BYTES:
        raise TextError(
            f"{name}: {member.filename} would be {member.file_size:,} bytes unpacked, more than "
            f"{MEMBER_BYTES:,}; such files are not opened"
        )
