"""Tokens on disk: memory-mapped integers, document ends, and where they came from.

A shard is a folder with `tokens.ds` (uint16 or uint32, little-endian), `tokens.ds.index`
(uint64 ends of documents, counted in tokens) and `tokens.ds.metadata` (JSON). It appears whole or
not at all: it is written beside its place and renamed.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloche.errors import DataError

TOKENS = "tokens.ds"
INDEX = "tokens.ds.index"
METADATA = "tokens.ds.metadata"
FORMAT = 1


@dataclass(frozen=True)
class ShardMetadata:
    """What a shard holds and what it was made from."""

    tokenizer: str
    """Fingerprint of the tokenizer (SHA-256 of its tokenizer.json)."""
    sources: tuple[dict[str, Any], ...]
    """Fingerprints of the source texts, in order."""
    dtype: str
    count: int
    """Number of tokens."""
    documents: int
    characters: int
    """Unicode characters of the text that the tokens stand for."""
    utf8_bytes: int
    """Length of that text in UTF-8."""
    separated: bool
    """Whether each document's last token is an end-of-text token."""
    format: int = FORMAT


class Shard:
    """A shard open for reading: `tokens` is a memory map, `ends` the document ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata = read_metadata(folder)
        dtype = np.dtype(self.metadata.dtype).newbyteorder("<")
        _check_size(folder / TOKENS, self.metadata.count * dtype.itemsize)
        _check_size(folder / INDEX, self.metadata.documents * 8)
        if self.metadata.count:
            self.tokens = np.memmap(folder / TOKENS, dtype=dtype, mode="r")
        else:
            self.tokens = np.zeros(0, dtype)  # an empty file cannot be mapped
        self.ends = np.fromfile(folder / INDEX, dtype="<u8").astype(np.int64)

    def __reduce__(self) -> tuple[type["Shard"], tuple[Path]]:
        return Shard, (self.folder,)  # another process maps the file, instead of being sent it

    @property
    def separated(self) -> bool:
        """Whether each document's last token is an end-of-text token."""
        return self.metadata.separated

    def __len__(self) -> int:
        return self.metadata.count


class ShardWriter:
    """Writes a shard document by document; nothing appears at `folder` before `finish`."""

    def __init__(self, folder: Path, *, vocab_size: int, tokenizer: str) -> None:
        self.folder = folder
        self.tokenizer = tokenizer
        self.dtype = dtype_of(vocab_size)
        self.count = 0
        self.ends: list[int] = []
        self._temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        self._file = open(self._temporary / TOKENS, "wb")  # noqa: SIM115  closed by finish or discard

    def append(self, ids: Iterable[int] | np.ndarray) -> None:
        """Add tokens to the document being written."""
        array = np.asarray(ids).astype(self.dtype)
        self._file.write(np.ascontiguousarray(array).data)  # tofile hides why a disk refuses
        self.count += len(array)

    def end_document(self) -> None:
        """Close the document being written."""
        self.ends.append(self.count)

    def finish(
        self,
        *,
        sources: Iterable[dict[str, Any]],
        characters: int,
        utf8_bytes: int,
        separated: bool,
    ) -> Shard:
        """Write index and metadata, flush all to disk, and put the shard in its place."""
        metadata = ShardMetadata(
            tokenizer=self.tokenizer,
            sources=tuple(sources),
            dtype=self.dtype.name,
            count=self.count,
            documents=len(self.ends),
            characters=characters,
            utf8_bytes=utf8_bytes,
            separated=separated,
        )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        _write_synced(self._temporary / INDEX, np.asarray(self.ends, dtype="<u8").tobytes())
        text = json.dumps(asdict(metadata), indent=2, ensure_ascii=False) + "\n"
        _write_synced(self._temporary / METADATA, text.encode())
        shutil.rmtree(self.folder, ignore_errors=True)
        os.replace(self._temporary, self.folder)
        return Shard(self.folder)

    def discard(self) -> None:
        """Remove what was written, after an error."""
        self._file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


def dtype_of(vocab_size: int) -> np.dtype:
    """The smallest type of a shard that holds all ids."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def read_metadata(folder: Path) -> ShardMetadata:
    """The metadata of the shard at `folder`; DataError where it is absent or malformed."""
    path = folder / METADATA
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        metadata = ShardMetadata(**{**values, "sources": tuple(values["sources"])})
    except FileNotFoundError as exc:
        raise DataError(f"there is no token data at {folder}: {METADATA} is missing") from exc
    except (ValueError, TypeError, KeyError) as exc:
        raise DataError(f"{path} is damaged ({exc}); delete {folder} to have it made anew") from exc
    if metadata.format != FORMAT:
        raise DataError(f"{path} has format {metadata.format}, this cloche reads {FORMAT}")
    return metadata


def _check_size(path: Path, expected: int) -> None:
    size = path.stat().st_size if path.exists() else 0
    if size != expected:
        raise DataError(
            f"{path} has {size} bytes instead of {expected}; "
            f"delete {path.parent} to have it made anew"
        )


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
