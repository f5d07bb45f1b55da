"""The tasks of a preparation: each turns its pieces of the text into a shard, whole or not at all.

A preparation is a folder:

    spec.json            what is done, complete (`spec.py`)
    tokenizer/           the tokenizer
    tasks/FINGERPRINT/   of the specification: what an earlier one made is never taken for its
      00000/train/       a shard for each task and part that has any tokens (`shards.py`)
    prepared.json        written last: all tasks are done

A task is done when its folder is there. Whoever finds it missing may do it: the same bytes come.
"""

import contextlib
import errno
import os
import re
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cloche.data.place import SPEC, TASKS, TOKENIZER, writing
from cloche.data.shards import METADATA, ShardWriter, read_metadata
from cloche.data.spec import PARTS, Piece, Spec, spec_from_bytes
from cloche.data.stretches import Stretch, stretches
from cloche.errors import DataError
from cloche.text.cutting import joinable_pieces
from cloche.text.ingest import PIECE_CHARACTERS
from cloche.text.saved import load_tokenizer
from cloche.text.tokenizer import Tokenizer

_ABANDONED_SECONDS = 86_400


@dataclass(frozen=True)
class Work:
    """A preparation opened to work on."""

    folder: Path
    spec: Spec
    tokenizer: Tokenizer


def open_work(folder: Path) -> Work:
    """The preparation in `folder`. DataError where none has begun there, or it is damaged."""
    try:
        data = (folder / SPEC).read_bytes()
    except OSError as exc:
        raise DataError(f"no preparation has begun in {folder}: {exc.strerror}") from exc
    spec = spec_from_bytes(data)
    tokenizer = load_tokenizer(folder / TOKENIZER)
    if tokenizer.fingerprint != spec.tokenizer:
        raise DataError(
            f"{folder / TOKENIZER} is the tokenizer {tokenizer.fingerprint[:12]}, the preparation "
            f"began with {spec.tokenizer[:12]}: delete {folder} to have it made anew"
        )
    return Work(folder, spec, tokenizer)


def missing_tasks(folder: Path, spec: Spec) -> list[int]:
    """Numbers of the tasks that are not done yet."""
    return [number for number in range(len(spec.tasks)) if not _is_done(folder, number, spec=spec)]


def tasks_of_rank(spec: Spec, *, rank: int, world_size: int) -> list[int]:
    """Numbers of the tasks of one of `world_size` workers: the same ones every time."""
    if not 0 <= rank < world_size:
        raise DataError(f"the rank must be from 0 to {world_size - 1}, got {rank}")
    return list(range(rank, len(spec.tasks), world_size))


def task_folder(folder: Path, number: int, *, spec: Spec) -> Path:
    """Where the outcome of a task lies."""
    return folder / TASKS / spec.fingerprint[:12] / f"{number:05}"


def run_task(work: Work, number: int) -> bool:
    """Do one task, unless it is done. Whether there was anything to do.

    Raises DataError where a source has changed or the disk is full; nothing half done is left.
    """
    place = task_folder(work.folder, number, spec=work.spec)
    if _is_done(work.folder, number, spec=work.spec):
        return False
    with writing(place):
        if place.exists():  # somebody removed a part of it
            shutil.rmtree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        owner = f".{place.name}.{socket.gethostname()}.{os.getpid()}."
        temporary = Path(tempfile.mkdtemp(prefix=owner, dir=place.parent))
        try:
            _write(work, work.spec.tasks[number], temporary)
            temporary.chmod(0o755)  # mkdtemp's folders are private
            _move(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return True


def sweep(folder: Path) -> None:
    """Remove what killed tasks left: those of this machine at once, others' after a day."""
    for leftover in (folder / TASKS).glob("*/.*"):
        if _is_abandoned(leftover):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_done(folder: Path, number: int, *, spec: Spec) -> bool:
    """Whether the task's tokens are there, for every character it is to read."""
    place = task_folder(folder, number, spec=spec)
    if not place.is_dir():
        return False
    made = sum(
        read_metadata(place / part).characters
        for part in PARTS
        if (place / part / METADATA).exists()
    )
    return made == sum(piece.range.characters for piece in spec.tasks[number])


def _is_abandoned(temporary: Path) -> bool:
    """Whether nobody works in a temporary folder any more."""
    owner = re.fullmatch(r"\.\d+\.(?P<host>.*)\.(?P<pid>\d+)\.[^.]*", temporary.name)
    if owner is not None and owner["host"] == socket.gethostname():
        return not _is_alive(int(owner["pid"]))
    with contextlib.suppress(FileNotFoundError):  # its owner has just finished
        return time.time() - temporary.stat().st_mtime > _ABANDONED_SECONDS
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # where there is no such file, the number is all there is
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"  # dead, but nobody has asked how it ended
    return True


def _move(temporary: Path, place: Path) -> None:
    """Give the finished task its name; another worker may have been faster with the same bytes."""
    try:
        os.rename(temporary, place)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _write(work: Work, pieces: tuple[Piece, ...], folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        writers = {}
        for part in PARTS:
            writers[part] = _PartWriter(folder / part, work)
            stack.callback(writers[part].writer.discard)
        for stretch in stretches(work.spec, pieces):
            writers[stretch.part].write(stretch)
        for writer in writers.values():
            writer.finish(pieces)


class _PartWriter:
    """Tokenizes what belongs to one part into a shard."""

    def __init__(self, folder: Path, work: Work) -> None:
        self.work = work
        self.writer = ShardWriter(
            folder, vocab_size=work.tokenizer.vocab_size, tokenizer=work.tokenizer.fingerprint
        )
        self.characters = 0
        self.utf8_bytes = 0
        self.ended = 0

    def write(self, stretch: Stretch) -> None:
        tokenizer, writer = self.work.tokenizer, self.writer
        for piece in joinable_pieces(tokenizer, stretch.pieces, size=PIECE_CHARACTERS):
            writer.append(tokenizer.encode_array(piece))
            self.characters += len(piece)
            self.utf8_bytes += len(piece.encode("utf-8"))
        eos = tokenizer.special_ids.eos
        if self.work.spec.separated and stretch.ends and eos is not None:
            writer.append([eos])
        if stretch.closes and writer.count > self.ended:
            writer.end_document()
            self.ended = writer.count

    def finish(self, pieces: tuple[Piece, ...]) -> None:
        spec = self.work.spec
        if not self.writer.count:
            return
        cleaned = len(spec.fingerprints) != len(spec.sources)
        numbers = range(len(spec.fingerprints)) if cleaned else sorted({p.source for p in pieces})
        self.writer.finish(
            sources=[spec.fingerprints[number] for number in numbers],
            characters=self.characters,
            utf8_bytes=self.utf8_bytes,
            separated=spec.separated,
        )
