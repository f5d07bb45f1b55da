"""Named tensors in safetensors files: written, read back and compared, with errors for people.

Format: https://huggingface.co/docs/safetensors. A file is a pure function of its tensors.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cloche.errors import CheckpointError

GROUP_BYTES = 1 << 26
"""Of the tensors that are looked at together."""
PICKLES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"})


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, as its header describes it."""

    path: Path
    dtype: str
    """As safetensors calls it: F32, BF16, I64, ..."""
    shape: tuple[int, ...]
    name: str


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write `tensors` to `path`, then compare what the file holds with them, bit by bit.

    Raises OSError where the disk refuses, CheckpointError where it kept something else.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        # One metadata key only: the order of several is not settled, and so not the bytes.
        save_file(on_cpu, path, metadata={"format": "pt"})
    except SafetensorError as exc:
        raise OSError(str(exc)) from exc
    if read_headers(path).keys() != on_cpu.keys():
        raise CheckpointError(f"{path} does not hold the tensors just written to it")
    for names in _in_groups(on_cpu):
        for name, kept in _read_some(path, names):
            if not same_bits(kept, on_cpu[name]):
                raise CheckpointError(f"{path} does not hold {name} as just written to it")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name; CheckpointError where it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dict
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} is missing") from exc
    except (SafetensorError, OSError) as exc:
        raise CheckpointError(f"{path} is damaged or is no safetensors file: {exc}") from exc


def read_headers(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name, without reading them; CheckpointError where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no dict
            return {
                name: StoredTensor(path, part.get_dtype(), tuple(part.get_shape()), name)
                for name, part in slices.items()
            }
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} is missing") from exc
    except (SafetensorError, OSError) as exc:
        raise CheckpointError(f"{path} is damaged or is no safetensors file: {exc}") from exc


def read_each(tensors: Iterable[StoredTensor]) -> Iterator[tuple[str, Tensor]]:
    """The tensors with their names, read one by one; CheckpointError where one cannot be read."""
    by_file: dict[Path, list[str]] = {}
    for stored in tensors:
        by_file.setdefault(stored.path, []).append(stored.name)
    for path, names in by_file.items():
        yield from _read_some(path, names)


def refuse_pickle(path: Path) -> None:
    """CheckpointError for a file that may run code when opened; nothing is opened here."""
    if path.suffix.lower() in PICKLES:
        raise CheckpointError(
            f"{path} may be a Python pickle, which can run any code when opened: refused. "
            "Give a run, or a Hugging Face model folder whose weights are safetensors; or, where "
            "you trust it, convert it first: cloche import SOURCE --out RUN --pickle-ok"
        )


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Equal in shape, dtype and every bit (NaN equals itself here)."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8))


def _read_some(path: Path, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """These tensors of a file. What was read stays in memory until the file is closed, here."""
    try:
        with safe_open(path, framework="pt") as file:
            for name in names:
                yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as exc:
        raise CheckpointError(f"{path} is damaged or is no safetensors file: {exc}") from exc


def _in_groups(tensors: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """The names, in groups of which each but for its last takes less than GROUP_BYTES."""
    found: list[str] = []
    held = 0
    for name, tensor in tensors.items():
        found.append(name)
        held += tensor.nbytes
        if held >= GROUP_BYTES:
            yield found
            found, held = [], 0
    if found:
        yield found
