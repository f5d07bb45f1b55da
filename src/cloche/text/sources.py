"""Names on the command line to files: files, folders, patterns, standard input; in fixed order."""

import difflib
import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloche.errors import TextError
from cloche.text.binary import HEAD_BYTES, binary_reason, known_binary
from cloche.text.compression import Compression, open_range, open_unpacked
from cloche.text.encodings import ByteStream

Format = Literal["text", "jsonl", "html", "epub", "pdf", "docx", "csv", "parquet"]

STANDARD_INPUT = "-"
FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".epub": "epub",
    ".pdf": "pdf",
    ".docx": "docx",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
"""What a folder is searched for, by ending; what has an encoding also with .gz or .zst behind."""

_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_WITH_ENCODING = ("text", "jsonl", "html", "csv")
_BINARY_ENDINGS = (
    *(".7z", ".arrow", ".avi", ".azw3", ".bin", ".bmp", ".bz2", ".ckpt", ".db", ".dll", ".doc"),
    *(".exe", ".flac", ".gguf", ".gif", ".h5", ".jpeg", ".jpg", ".m4a", ".mkv", ".mobi", ".mov"),
    *(".mp3", ".mp4", ".npy", ".npz", ".odt", ".ogg", ".onnx", ".pickle", ".pkl", ".png", ".ppt"),
    *(".pptx", ".pt", ".pth", ".pyc", ".rar", ".safetensors", ".so", ".sqlite", ".tar", ".tgz"),
    *(".tif", ".tiff", ".wav", ".webm", ".webp", ".whl", ".xls", ".xlsx", ".xz", ".zip"),
)


@dataclass(frozen=True)
class SourceFile:
    """One file that holds text, and how to read it."""

    name: str
    """As messages call it."""
    path: Path
    """Where its bytes are."""
    format: Format = "text"
    """What its content is, once unpacked."""
    compression: Compression = "none"
    """What it has to be unpacked from."""

    @property
    def rows(self) -> bool:
        """Whether each line is a JSON object with a `text`."""
        return self.format == "jsonl"

    @property
    def compressed(self) -> bool:
        """Whether it has to be unpacked."""
        return self.compression != "none"

    @property
    def has_encoding(self) -> bool:
        """Whether its bytes are text in an encoding that must be known to read it."""
        return self.format in _WITH_ENCODING

    @property
    def splittable(self) -> bool:
        """Whether reading may begin at any byte: lines of text or of rows, as they lie."""
        return self.format in ("text", "jsonl") and not self.compressed

    def open_bytes(self, start: int = 0, stop: int | None = None) -> ByteStream:
        """The content from byte `start` up to `stop` (the end where None), unpacked on the way.

        What goes wrong while opening or reading becomes a TextError with the source's name. Raises
        ValueError for a range of a compressed file, whose content can only be read from its start.
        """
        if not self.compressed:
            return open_range(self.path, start, stop=stop, name=self.name)
        if start or stop is not None:
            raise ValueError(f"{self.name} is compressed: it has no ranges of bytes")
        return open_unpacked(self.path, self.compression, name=self.name)


@dataclass(frozen=True)
class SkippedFile:
    """A file of a folder or a pattern that is left out, because it holds no text."""

    path: Path
    reason: str
    """What it is instead."""


@dataclass(frozen=True)
class FoundSources:
    """What names on the command line lead to."""

    files: tuple[SourceFile, ...]
    skipped: tuple[SkippedFile, ...]


def find_sources(names: Sequence[str], *, stdin_file: Path | None = None) -> tuple[SourceFile, ...]:
    """The files meant by `names`: those of `find_with_skipped`, without those left out."""
    return find_with_skipped(names, stdin_file=stdin_file).files


def find_with_skipped(names: Sequence[str], *, stdin_file: Path | None = None) -> FoundSources:
    """The files meant by `names`, each once, in the order of the names, and those left out.

    A name is a file, a folder (searched to any depth for the endings of FORMATS; hidden files are
    passed over; in the order of their paths), a pattern such as `books/*.txt`, or `-`, for which
    `stdin_file` holds what came in on standard input. A file named outright may have any ending but
    those of binary formats. What turns out to be binary in a folder or behind a pattern is left out
    and listed; raises TextError where it is named outright, and where a name leads to no text.
    """
    if not names:
        raise TextError("no text was named; give a file, a folder, a pattern or -")
    files: dict[str, SourceFile] = {}
    skipped: dict[str, SkippedFile] = {}
    for name in names:
        for found in _found_by(name, stdin_file=stdin_file):
            place = os.path.realpath(found.path)
            if isinstance(found, SourceFile):
                files.setdefault(place, found)
            else:
                skipped.setdefault(place, found)
    return FoundSources(tuple(files.values()), tuple(skipped.values()))


def refuse_binary(source: SourceFile) -> None:
    """Raise TextError where a source of text begins as a well-known binary format does."""
    if not source.has_encoding:
        return
    with source.open_bytes() as stream:
        what = known_binary(stream.read(HEAD_BYTES))
    if what is not None:
        raise TextError(f"{source.name} is not text: it is {what}")


def nearest_name(path: Path) -> Path | None:
    """The file or folder beside the missing `path` whose name is most like it, or None."""
    if not path.parent.is_dir():
        return None
    near = difflib.get_close_matches(path.name, sorted(os.listdir(path.parent)), n=1)
    return path.parent / near[0] if near else None


def _found_by(name: str, *, stdin_file: Path | None) -> Sequence[SourceFile | SkippedFile]:
    if name == STANDARD_INPUT:
        if stdin_file is None:
            raise TextError("- means standard input, which cannot be read here; name a file")
        return [SourceFile(STANDARD_INPUT, stdin_file)]
    path = Path(name)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return [_named(path)]
    if glob.has_magic(name):
        return _matches(name)
    raise TextError(_missing(path))


def _named(path: Path) -> SourceFile:
    """A file that was named outright."""
    if (unread := _unread_ending(path)) is not None:
        raise TextError(
            f"{path} is not text: {unread} is a binary format that is not read. If it holds text, "
            f"save that as .txt"
        )
    if not path.is_file():
        raise TextError(f"{path} is neither a file nor a folder; use - to read from a pipe")
    ending, compression = _endings(path)
    return SourceFile(str(path), path, FORMATS.get(ending, "text"), compression)


def _folder(folder: Path) -> list[SourceFile | SkippedFile]:
    found = [
        _file_or_skipped(path)
        for path in _visible_files(folder)
        if _endings(path)[0] in FORMATS or _unread_ending(path) is not None
    ]
    if not any(isinstance(file, SourceFile) for file in found):
        raise TextError(
            f"the folder {folder} holds no text; files ending in {', '.join(FORMATS)} (text also "
            f"with .gz or .zst) are looked for at any depth, and a file with another ending can be "
            f"named outright{_listed(found)}"
        )
    return found


def _matches(pattern: str) -> list[SourceFile | SkippedFile]:
    names = sorted(glob.glob(pattern, recursive=True))
    if not names:
        raise TextError(f"no file matches {pattern!r}; put quotes around it or name the folder")
    found: list[SourceFile | SkippedFile] = []
    for path in map(Path, names):
        found += _folder(path) if path.is_dir() else [_file_or_skipped(path)]
    if not any(isinstance(file, SourceFile) for file in found):
        raise TextError(f"no file that matches {pattern!r} holds text{_listed(found)}")
    return found


def _file_or_skipped(path: Path) -> SourceFile | SkippedFile:
    """A file that was found in a folder or by a pattern, or why it is left out."""
    if path.name.startswith("~$"):
        return SkippedFile(path, "the lock of a document that is open in Office")
    if (unread := _unread_ending(path)) is not None:
        return SkippedFile(path, f"{unread} is a binary format that is not read")
    if not path.is_file():
        return SkippedFile(path, "a link to nothing" if path.is_symlink() else "no ordinary file")
    source = _named(path)
    reason = binary_reason(_head(source)) if source.has_encoding else None
    return source if reason is None else SkippedFile(path, f"not text: {reason}")


def _head(source: SourceFile) -> bytes:
    """The first bytes of its content; none where it cannot be unpacked, which its reader tells."""
    try:
        with source.open_bytes() as stream:
            return stream.read(HEAD_BYTES)
    except TextError:
        if source.compressed:
            return b""
        raise


def _visible_files(folder: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(folder, onerror=_unreadable_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.parts)


def _unreadable_folder(exc: OSError) -> None:
    raise TextError(f"the folder {exc.filename} cannot be read: {exc.strerror}") from exc


def _endings(path: Path) -> tuple[str, Compression]:
    """The ending that tells the format, and what is told by .gz or .zst behind it."""
    compression = _COMPRESSIONS.get(path.suffix.lower(), "none")
    inner = path if compression == "none" else path.with_suffix("")
    return inner.suffix.lower(), compression


def _unread_ending(path: Path) -> str | None:
    """The ending of a binary format that is not read, such as .png or .pdf.gz, or None."""
    ending, compression = _endings(path)
    if ending in _BINARY_ENDINGS:
        return ending
    if compression != "none" and FORMATS.get(ending, "text") not in _WITH_ENCODING:
        return ending + path.suffix.lower()
    return None


def _listed(found: Iterable[SourceFile | SkippedFile]) -> str:
    """The first of the files left out, to end a message with."""
    skipped = [f"{file.path} ({file.reason})" for file in found if isinstance(file, SkippedFile)]
    if not skipped:
        return ""
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return f". Left out: {', '.join(skipped[:3])}{more}"


def _missing(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path} does not exist, nor does the folder {folder}"
    near = nearest_name(path)
    beside = f"; did you mean {near}?" if near else f" in {str(folder).rstrip('/')}/"
    return f"{path} does not exist{beside}"
