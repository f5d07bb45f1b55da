"""The head of a GGUF file: its keys, its values, and where each tensor lies.

Files come from anywhere, so every length is held against the size of the file before anything is
read or reserved: a damaged or hostile file is an error, never a traceback or a full memory. (The
reader of the `gguf` package trusts the counts it finds.)

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from numpy.typing import NDArray

from cloche.errors import CheckpointError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT_KEY = "general.alignment"
_ALIGNMENT = 32
_MOST_DIMENSIONS = 4
_LONGEST_NAME = 65_535
_SMALLEST_ENTRY = {"keys": 8 + 4 + 1, "tensors": 8 + 4 + 4 + 8}  # bytes that one takes at least
_SCALARS = {
    GGUFValueType.UINT8: "<B",
    GGUFValueType.INT8: "<b",
    GGUFValueType.UINT16: "<H",
    GGUFValueType.INT16: "<h",
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<?",
    GGUFValueType.UINT64: "<Q",
    GGUFValueType.INT64: "<q",
    GGUFValueType.FLOAT64: "<d",
}


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies and how it is stored."""

    name: str
    type: GGMLQuantizationType
    shape: tuple[int, ...]
    """The outermost dimension first, as in PyTorch; the file has them the other way round."""
    offset: int
    """Of its first byte, from the beginning of the file."""
    size: int
    """In bytes."""


@dataclass(frozen=True, eq=False)
class GGUFFile:
    """An opened file: its tensors stay on the disk until they are asked for."""

    path: Path
    values: dict[str, Any]
    """Numbers, truth values, texts, numpy arrays, and lists of texts, by key."""
    tensors: dict[str, TensorPlace]
    contents: mmap.mmap

    def stored(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor, not copied."""
        place = self.tensors[name]
        return np.frombuffer(self.contents, np.uint8, count=place.size, offset=place.offset)


def open_gguf(path: Path) -> GGUFFile:
    """A GGUF file, its head read and all its tensors found to lie within it.

    Raises CheckpointError where it is missing, cut short, damaged, or of another kind.
    """
    try:
        with path.open("rb") as file:
            contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} is missing") from exc
    except ValueError as exc:  # what mmap says of an empty file
        raise CheckpointError(f"{path} is empty; fetch or convert it again") from exc
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc.strerror}") from exc
    head = _Head(contents, path)
    tensor_count, value_count = head.counts()
    values = head.values(value_count)
    tensors = head.tensors(tensor_count, alignment=_alignment(values, path))
    return GGUFFile(path, values, tensors, contents)


class _Head:
    """Reads from the beginning on, never beyond the end."""

    def __init__(self, contents: mmap.mmap, path: Path) -> None:
        self._contents = contents
        self._path = path
        self._at = 0

    def counts(self) -> tuple[int, int]:
        """How many tensors and keys there are; what comes first in a file."""
        if self._take(4) != MAGIC:
            raise CheckpointError(
                f"{self._path} is no GGUF file: it does not begin with GGUF; fetch it again, or "
                f"give another file"
            )
        version = self._number("<I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
            kind = "big-endian" if swapped else f"of version {version}"
            raise CheckpointError(
                f"{self._path} is a GGUF file {kind}; cloche reads little-endian ones of version "
                f"{VERSIONS[0]} and {VERSIONS[1]}: convert the model again with today's llama.cpp"
            )
        tensors, values = self._number("<Q"), self._number("<Q")
        self._check_count(tensors, _SMALLEST_ENTRY["tensors"], "tensors")
        self._check_count(values, _SMALLEST_ENTRY["keys"], "keys")
        return tensors, values

    def values(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self._name()
            if key in found:
                raise self._damaged(f"it has the key {key} twice")
            found[key] = self._value(self._value_type(key), key)
        return found

    def tensors(self, count: int, *, alignment: int) -> dict[str, TensorPlace]:
        entries = [self._tensor_entry() for _ in range(count)]
        start = -(-self._at // alignment) * alignment
        found: dict[str, TensorPlace] = {}
        end = start
        for name, shape, kind, offset in sorted(entries, key=lambda entry: entry[3]):
            if name in found:
                raise self._damaged(f"it has the tensor {name} twice")
            size = self._bytes_of(name, shape, kind)
            place = TensorPlace(name, kind, shape, start + offset, size)
            if place.offset < end:
                raise self._damaged(f"its tensor {name} lies over another one")
            end = place.offset + size
            if end > len(self._contents):
                raise self._cut_short(f"its tensor {name} ends at byte {end:,}")
            found[name] = place
        return found

    def _tensor_entry(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name = self._name()
        dimensions = self._number("<I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise self._damaged(f"its tensor {name} has {dimensions} dimensions")
        shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
        number = self._number("<I")
        try:
            kind = GGMLQuantizationType(number)
        except ValueError as exc:
            raise CheckpointError(
                f"{self._path}: the tensor {name} is stored in the type {number}, which is not "
                f"known here; export the model as F16, BF16 or Q8_0"
            ) from exc
        return name, shape, kind, self._number("<Q")

    def _bytes_of(self, name: str, shape: Sequence[int], kind: GGMLQuantizationType) -> int:
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if min(shape) < 1 or shape[-1] % block:
            raise self._damaged(f"its tensor {name} of type {kind.name} has the shape {shape}")
        return math.prod(shape) // block * block_bytes  # of whole numbers, so nothing overflows

    def _value_type(self, key: str) -> GGUFValueType:
        number = self._number("<I")
        try:
            return GGUFValueType(number)
        except ValueError as exc:
            raise self._damaged(f"the value of {key} has the type {number}") from exc

    def _value(self, kind: GGUFValueType, key: str) -> Any:
        if kind == GGUFValueType.STRING:
            return self._text(key)
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        of = self._value_type(key)
        count = self._number("<Q")
        if of == GGUFValueType.STRING:
            self._check_count(count, 8, f"texts in {key}")
            return [self._text(key) for _ in range(count)]
        if of not in _SCALARS:
            raise self._damaged(f"{key} holds lists of lists, which no model has")
        dtype = np.dtype(_SCALARS[of])
        self._check_count(count, dtype.itemsize, f"numbers in {key}")
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _name(self) -> str:
        text = self._text("a name")
        if len(text) > _LONGEST_NAME:
            raise self._damaged(f"it has a name of {len(text):,} characters")
        return text

    def _text(self, key: str) -> str:
        size = self._number("<Q")
        data = self._take(size)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise self._damaged(f"{key} is no UTF-8: {data[:40]!r}") from exc

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _take(self, size: int) -> bytes:
        if size > len(self._contents) - self._at:
            raise self._cut_short(f"it speaks of {size:,} bytes more at byte {self._at:,}")
        self._at += size
        return self._contents[self._at - size : self._at]

    def _check_count(self, count: int, entry_bytes: int, what: str) -> None:
        if count * entry_bytes > len(self._contents) - self._at:
            raise self._cut_short(f"it speaks of {count:,} {what}")

    def _damaged(self, how: str) -> CheckpointError:
        return CheckpointError(f"{self._path} is damaged: {how}; fetch or convert it again")

    def _cut_short(self, how: str) -> CheckpointError:
        size = len(self._contents)
        return CheckpointError(
            f"{self._path} is cut short or damaged: {how}, but the file ends at {size:,}; fetch it "
            f"again"
        )


def _alignment(values: dict[str, Any], path: Path) -> int:
    given = values.get(ALIGNMENT_KEY, _ALIGNMENT)
    if not isinstance(given, int) or given < 1 or given & (given - 1):
        raise CheckpointError(f"{path} is damaged: {ALIGNMENT_KEY} is {given}, no power of two")
    return given
