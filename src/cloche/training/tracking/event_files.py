"""TensorBoard's event files: rows as its own messages, framed as TFRecords.

The messages (`tensorboard.compat.proto`) load in 0.02 s; the writers that come with tensorboard
and torch load cloud file systems, and TensorFlow where it is installed, and take eight times the
time for each step (docs/watching.md). So the frame is written here: length, checksum of the
length, message, checksum of the message. Source:
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import tomli_w

from cloche.config import nest
from cloche.training.tracking.rows import Figures, Row, TrackedRun

FOLDER = "events"
FIRST_MESSAGE = "brain.Event:2"  # the version of the format; readers refuse files without it


class EventFiles:
    """Writes a run's rows into RUN/events; one file for each sitting."""

    def __init__(self, run: TrackedRun) -> None:
        self._events: Any = import_module("tensorboard.compat.proto.event_pb2")
        self._summaries: Any = import_module("tensorboard.compat.proto.summary_pb2")
        self._tensors: Any = import_module("tensorboard.compat.proto.tensor_pb2")
        folder = run.folder / FOLDER
        folder.mkdir(exist_ok=True)
        # a run from step 0 begins anew: its own step 0 counts, not an earlier one's
        cut_event_files(folder, beyond=run.from_step if run.from_step else -1)
        now = time.time()
        # readers take the files of a folder in the order of their names
        name = f"events.out.tfevents.{now:017.6f}.{socket.gethostname()}"
        self._file = open(folder / name, "xb", buffering=0)  # noqa: SIM115  closed by close
        self._waiting = bytearray()
        self._write(self._events.Event(wall_time=now, file_version=FIRST_MESSAGE))
        if run.from_step:
            self._forget_beyond(run.from_step, now)
        self._add_text("config", as_code(tomli_w.dumps(nest(run.options))), run.from_step, now)
        self.flush()

    def add(self, row: Row) -> None:
        """Take the row as one event; `flush` writes it."""
        if not isinstance(row, Figures):
            self._add_text("sample", as_code(row.prompt + row.text), row.step, row.time)
            return
        value = self._summaries.Summary.Value
        values = [value(tag=tag, simple_value=number) for tag, number in row.values.items()]
        self._add_values(values, row.step, row.time)

    def flush(self) -> None:
        """Hand what was added to the system, in one piece. OSError where the disk is full."""
        written = self._file.write(self._waiting) if self._waiting else 0
        if written != len(self._waiting):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
        self._waiting.clear()

    def close(self, *, finished: bool) -> None:  # noqa: ARG002  event files know no end
        """Close the file."""
        self.flush()
        self._file.close()

    def abandon(self) -> None:
        """Nothing to let go of: the thread ends with the process."""

    def _forget_beyond(self, step: int, at: float) -> None:
        """Have a TensorBoard that is open drop what it read beyond the step."""
        log = self._events.SessionLog
        start = log(status=log.START)
        self._write(self._events.Event(wall_time=at, step=step + 1, session_log=start))

    def _add_text(self, tag: str, text: str, step: int, at: float) -> None:
        kind = self._summaries.SummaryMetadata(
            plugin_data=self._summaries.SummaryMetadata.PluginData(plugin_name="text")
        )
        tensor = self._tensors.TensorProto(dtype="DT_STRING", string_val=[text.encode()])
        value = self._summaries.Summary.Value(tag=tag, metadata=kind, tensor=tensor)
        self._add_values([value], step, at)

    def _add_values(self, values: list[Any], step: int, at: float) -> None:
        summary = self._summaries.Summary(value=values)
        self._write(self._events.Event(wall_time=at, step=step, summary=summary))

    def _write(self, event: Any) -> None:
        self._waiting += framed(event.SerializeToString())


def as_code(text: str) -> str:
    """The text as a block of code in Markdown, which TensorBoard shows as it stands."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def cut_event_files(folder: Path, *, beyond: int) -> None:
    """Cut each event file before its first event of a step after `beyond`, or at a torn end."""
    events: Any = import_module("tensorboard.compat.proto.event_pb2")
    for path in sorted(folder.glob("events.out.tfevents.*")):
        kept = 0
        for end, data in read_records(path):
            if events.Event.FromString(data).step > beyond:
                break
            kept = end
        if kept == 0:
            path.unlink()
        elif kept < path.stat().st_size:
            with open(path, "r+b") as file:
                file.truncate(kept)


def read_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each whole record of a file: where it ends, and its data. Stops at a torn one."""
    size, end = path.stat().st_size, 0
    with open(path, "rb") as file:
        while len(head := file.read(12)) == 12:
            (length,) = struct.unpack_from("<Q", head)
            end += 12 + length + 4
            if end > size or struct.pack("<I", masked_checksum(head[:8])) != head[8:]:
                return
            yield end, file.read(length)
            file.seek(end)


def framed(data: bytes) -> bytes:
    """The data as one TFRecord."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            struct.pack("<I", masked_checksum(length)),
            data,
            struct.pack("<I", masked_checksum(data)),
        )
    )


def masked_checksum(data: bytes) -> int:
    """CRC-32C of the data, rotated and shifted as TFRecords have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    """CRC-32C of each byte: the Castagnoli polynomial, bits reversed."""
    found = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        found.append(crc)
    return tuple(found)


TABLE = _table()
