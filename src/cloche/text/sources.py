"""Names on the command line to files: files, folders, patterns, standard input; in fixed order."""

import difflib
import glob
import gzip
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloche.errors import TextError
from cloche.text.encodings import ByteStream

STANDARD_INPUT = "-"
TEXT_ENDINGS = (".txt", ".md", ".jsonl")
"""What a folder is searched for, also with `.gz` behind it."""

_BINARY_ENDINGS = (
    *(".7z", ".arrow", ".avi", ".bin", ".bz2", ".ckpt", ".db", ".dll", ".doc", ".docx", ".epub"),
    *(".exe", ".flac", ".gguf", ".gif", ".h5", ".jpeg", ".jpg", ".mobi", ".mov", ".mp3", ".mp4"),
    *(".npy", ".npz", ".odt", ".ogg", ".onnx", ".parquet", ".pdf", ".pickle", ".pkl", ".png"),
    *(".ppt", ".pptx", ".pt", ".pth", ".pyc", ".rar", ".safetensors", ".so", ".sqlite", ".tar"),
    *(".tgz", ".wav", ".webm", ".webp", ".whl", ".xls", ".xlsx", ".xz", ".zip", ".zst"),
)
_BINARY_BEGINNINGS = (
    (b"PK\x03\x04", "a zip archive (or a .docx, .epub or .pt file, which are zip archives)"),
    (b"%PDF-", "a PDF"),
    (b"\x1f\x8b", "gzip data; name it .txt.gz or .jsonl.gz to have it unpacked"),
)


@dataclass(frozen=True)
class SourceFile:
    """One file of text, and how to read it."""

    name: str
    """As messages call it."""
    path: Path
    """Where its bytes are."""
    rows: bool
    """Whether each line is a JSON object with a `text`."""
    compressed: bool
    """Whether it is gzipped."""

    def open_bytes(self) -> ByteStream:
        """The file from its beginning, unpacked on the way; errors become TextErrors."""
        return _FileStream(self)


def find_sources(names: Sequence[str], *, stdin_file: Path | None = None) -> tuple[SourceFile, ...]:
    """The files meant by `names`, each once, in the order of the names.

    A name is a file, a folder (searched to any depth for .txt, .md and .jsonl, with or without
    .gz; hidden ones are passed over; in the order of their paths), a pattern such as `books/*.txt`,
    or `-`, for which `stdin_file` holds what came in on standard input. A file named outright may
    have any ending but those of binary formats. Raises TextError where a name leads to no text.
    """
    if not names:
        raise TextError("no text was named; give a file, a folder, a pattern or -")
    found: dict[str, SourceFile] = {}
    for name in names:
        for source in _sources_of(name, stdin_file=stdin_file):
            found.setdefault(os.path.realpath(source.path), source)
    return tuple(found.values())


def refuse_binary(source: SourceFile) -> None:
    """Raise TextError where the first bytes are those of a well-known binary format."""
    with source.open_bytes() as stream:
        head = stream.read(8)
    for beginning, what in _BINARY_BEGINNINGS:
        if head.startswith(beginning):
            raise TextError(f"{source.name} is not text: it is {what}")


def _sources_of(name: str, *, stdin_file: Path | None) -> list[SourceFile]:
    if name == STANDARD_INPUT:
        if stdin_file is None:
            raise TextError("- means standard input, which cannot be read here; name a file")
        return [SourceFile(STANDARD_INPUT, stdin_file, rows=False, compressed=False)]
    path = Path(name)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return [_file(path)]
    if glob.has_magic(name):
        return _matches(name)
    raise TextError(_missing(path))


def _folder(folder: Path) -> list[SourceFile]:
    found = [_file(path) for path in _visible_files(folder) if _text_ending(path)]
    if not found:
        endings = ", ".join(TEXT_ENDINGS)
        raise TextError(
            f"the folder {folder} holds no text; files ending in {endings} (or these with .gz) are "
            f"looked for at any depth, and a file with another ending can be named outright"
        )
    return found


def _visible_files(folder: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.parts)


def _matches(pattern: str) -> list[SourceFile]:
    names = sorted(glob.glob(pattern, recursive=True))
    if not names:
        raise TextError(f"no file matches {pattern!r}; put quotes around it or name the folder")
    found = []
    for path in map(Path, names):
        found += _folder(path) if path.is_dir() else [_file(path)]
    return found


def _file(path: Path) -> SourceFile:
    compressed = path.suffix.lower() == ".gz"
    ending = path.with_suffix("").suffix.lower() if compressed else path.suffix.lower()
    if ending in _BINARY_ENDINGS:
        raise TextError(
            f"{path} is not text: {ending} is a binary format. If it holds text, save that as .txt"
        )
    if not path.is_file():
        raise TextError(f"{path} is neither a file nor a folder; use - to read from a pipe")
    return SourceFile(str(path), path, rows=ending == ".jsonl", compressed=compressed)


def _text_ending(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(TEXT_ENDINGS)


def _missing(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path} does not exist, nor does the folder {folder}"
    near = nearest_name(path)
    return f"{path} does not exist" + (f"; did you mean {near}?" if near else f" in {folder}/")


def nearest_name(path: Path) -> Path | None:
    """The file or folder beside the missing `path` whose name is most like it, or None."""
    if not path.parent.is_dir():
        return None
    near = difflib.get_close_matches(path.name, sorted(os.listdir(path.parent)), n=1)
    return path.parent / near[0] if near else None


class _FileStream:
    """An open source; what goes wrong while reading it is said by its name."""

    def __init__(self, source: SourceFile) -> None:
        self._name = source.name
        try:
            self._file = gzip.GzipFile(source.path) if source.compressed else source.path.open("rb")
        except OSError as exc:
            raise TextError(f"{source.name} cannot be read: {exc.strerror}") from exc

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._file.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
            raise TextError(
                f"{self._name} is damaged gzip data ({exc}); make or fetch it again"
            ) from exc
        except OSError as exc:
            raise TextError(f"{self._name} cannot be read: {exc}") from exc

    def __enter__(self) -> "_FileStream":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()
