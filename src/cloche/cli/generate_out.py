"""The file that `cloche generate --out` fills: a line of JSON for each row, in the rows' order.

Every line is whole or is cut when the work goes on, and bears a fingerprint of its row, the
settings and the model, so that answers of different settings never come to stand in one file.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cloche.cli.generate_rows import RawRow, row_digest
from cloche.errors import RunError


@dataclass(frozen=True)
class Earlier:
    """What an earlier, interrupted command left."""

    rows: int = 0
    """Whole lines."""
    errors: int = 0
    """Of them, those that are no answers."""
    whole_bytes: int = 0
    """Where the last whole line ends."""
    cut_bytes: int = 0
    """Behind it, of a line that was being written."""
    model: str | None = None
    """The fingerprint of the model that answered; None where there are no lines."""


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """While it lasts, no other command writes to `out`. RunError where one does, or none could."""
    if not out.parent.is_dir():
        raise RunError(f"{out} cannot be written: there is no folder {out.parent}")
    if out.exists() and not out.is_file():
        raise RunError(f"{out} is no file: --out names one, which can be gone on with")
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise RunError(f"another command is writing to {out}: wait for it") from exc
    except OSError as exc:
        raise RunError(f"{out} cannot be written: {exc.strerror}") from exc
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def refuse_existing(out: Path) -> None:
    """Raise RunError where `out` holds something already."""
    if out.exists() and out.stat().st_size:
        raise RunError(
            f"{out} exists already: go on with it by --resume, or name another file with --out"
        )


def earlier_seed(out: Path) -> int | None:
    """The seed that an interrupted command drew; None where `out` holds no whole line."""
    if not out.exists():
        return None
    first = next(_whole_lines(out), None)
    return None if first is None else _value(_parsed(first, out, line=1), "batch_seed", int, out)


def read_earlier(out: Path, raw: Iterator[RawRow], *, settings: str) -> Earlier:
    """What is in `out` already, each line checked to be the answer to the row whose turn it was.

    Takes as many rows from `raw` as have been answered. A last line without its end is no line.
    Raises RunError where a line is of other rows, other settings, or another model than the first.
    """
    if not out.exists():
        return Earlier()
    rows = errors = whole = 0
    model: str | None = None
    for number, data in enumerate(_whole_lines(out), start=1):
        values = _parsed(data, out, line=number)
        asked, _, answered = _value(values, "fingerprint", str, out).partition("-")
        row = next(raw, None)
        if row is None:
            raise RunError(f"{out} has more lines than the input has rows: is it of another input?")
        if asked != row_digest(row, settings=settings):
            raise RunError(
                f"{out}, line {number} does not belong to line {row.line} of the input with these "
                "options: go on with the same input and options as before, or name another --out"
            )
        if model not in (None, answered):
            raise RunError(f"{out}, line {number} was written by another model than the first line")
        model, rows, whole = answered, number, whole + len(data)
        errors += "error" in values
    return Earlier(rows, errors, whole, out.stat().st_size - whole, model)


class OutFile:
    """A file of JSON lines, each written at once and whole."""

    def __init__(self, path: Path, *, earlier: Earlier) -> None:
        """Go on behind the whole lines of before; what follows them is cut off."""
        self._path = path
        self._whole = earlier.whole_bytes
        try:
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115  closed by close
            self._file.truncate(self._whole)
        except OSError as exc:
            raise RunError(f"{path} cannot be written: {exc.strerror}") from exc

    def write(self, values: dict[str, Any]) -> None:
        """Add a line. RunError where the disk does not take it: it is cut off again."""
        text = json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"
        # half a surrogate pair, in an id, can only be written as JSON's own escape for it
        data = text.encode("utf-8", "backslashreplace")
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as exc:
            with contextlib.suppress(OSError):  # then the next --resume cuts it
                self._file.truncate(self._whole)
            raise RunError(
                f"{self._path} cannot be written: {exc.strerror}; what is there is whole: go on "
                "with --resume when that is mended"
            ) from exc
        self._whole += len(data)

    def close(self) -> None:
        """Have the disk hold every line."""
        with self._file:
            os.fsync(self._file.fileno())


def _whole_lines(out: Path) -> Iterator[bytes]:
    """The lines that were written to their end, newline included."""
    try:
        with out.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line
    except OSError as exc:
        raise RunError(f"{out} cannot be read: {exc.strerror}") from exc


def _parsed(data: bytes, out: Path, *, line: int) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except ValueError as exc:
        raise RunError(
            f"{out}, line {line} is no JSON, so the file cannot be gone on with: mend or delete it"
        ) from exc
    if not isinstance(values, dict):
        raise RunError(f"{out}, line {line} is no answer: is it another file? It stays as it is")
    return values


def _value(values: dict[str, Any], name: str, kind: type, out: Path) -> Any:
    found = values.get(name)
    if not isinstance(found, kind):
        raise RunError(f"{out} was not written by cloche generate: it stays as it is")
    return found
