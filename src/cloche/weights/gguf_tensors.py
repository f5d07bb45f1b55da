"""Tensors of a GGUF file as float32 numbers, and numbers as a GGUF file stores them.

The arithmetic of all quantized types is that of the `gguf` package.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.weights.gguf_header import GGUFFile

StoredType = Literal["F32", "F16", "BF16", "Q8_0"]
"""What cloche itself writes weights as; norms, biases, routers and positions are always F32."""
STORED_TYPES: tuple[StoredType, ...] = get_args(StoredType)
READ_TYPES = (
    *("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
)
_LARGEST_F16 = 65_504.0
_BLOCKS = 2**14


def read_tensor(file: GGUFFile, name: str) -> Tensor:
    """A stored tensor in float32. Raises CheckpointError for a type that is not read, and for NaN.

    Only this tensor's part of the file is touched.
    """
    place = file.tensors[name]
    if place.type.name not in READ_TYPES:
        raise CheckpointError(
            f"{file.path}: the tensor {name} is quantized as {place.type.name}, which cloche does "
            f"not read; it reads {', '.join(READ_TYPES)}: get the model in one of these"
        )
    with np.errstate(all="ignore"):  # what is not finite is told below
        numbers = _dequantized(file.stored(name), place.type)
    if not np.isfinite(numbers).all():
        count = int(numbers.size - np.isfinite(numbers).sum())
        raise CheckpointError(
            f"{file.path} is damaged: {count:,} of the numbers in its tensor {name} are NaN or "
            f"infinite; fetch or convert it again"
        )
    return torch.from_numpy(numbers).reshape(place.shape)


def stored_type(shape: Sequence[int], kind: StoredType) -> GGMLQuantizationType:
    """The type in which a weight of that shape is stored when `kind` is asked for.

    Rows that blocks of 32 do not divide are kept in F16, as llama.cpp does.
    """
    if len(shape) < 2:
        return GGMLQuantizationType.F32
    asked = GGMLQuantizationType[kind]
    if shape[-1] % GGML_QUANT_SIZES[asked][0]:
        return GGMLQuantizationType.F16
    return asked


def to_stored(tensor: Tensor, kind: GGMLQuantizationType, *, name: str) -> NDArray[np.generic]:
    """The numbers as the file holds them. Raises CheckpointError where F16 cannot hold one."""
    numbers = tensor.detach().cpu().float().contiguous().numpy()
    if not np.isfinite(numbers).all():
        raise CheckpointError(f"{name} holds NaN or infinite numbers: the model is damaged")
    largest = float(np.abs(numbers).max(initial=0.0))
    if kind == GGMLQuantizationType.F16 and largest > _LARGEST_F16:
        raise CheckpointError(
            f"{name} holds {largest:g}, more than F16 can ({_LARGEST_F16:g}): export as BF16 or F32"
        )
    if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
        return numbers.astype(np.float32 if kind == GGMLQuantizationType.F32 else np.float16)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    stored = np.empty(numbers.size // block * block_bytes, np.uint8)
    for blocks in _slices(numbers.size // block):
        part = numbers.reshape(-1, block)[blocks].reshape(1, -1)
        stored.reshape(-1, block_bytes)[blocks] = quantize(part, kind).reshape(-1, block_bytes)
    return stored


def _dequantized(data: NDArray[np.uint8], kind: GGMLQuantizationType) -> NDArray[np.float32]:
    """A copy of the tensor's own, never a window into the file."""
    if kind == GGMLQuantizationType.F32:
        return data.view("<f4").astype(np.float32)
    if kind == GGMLQuantizationType.F16:
        return data.view("<f2").astype(np.float32)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    numbers = np.empty(data.size // block_bytes * block, np.float32)
    for blocks in _slices(data.size // block_bytes):
        part = data.reshape(-1, block_bytes)[blocks].reshape(1, -1)
        numbers.reshape(-1, block)[blocks] = dequantize(part, kind).reshape(-1, block)
    return numbers


def _slices(blocks: int) -> Iterator[slice]:
    """Blocks a few at a time: the package takes many times their memory, or goes row by row."""
    return (slice(start, start + _BLOCKS) for start in range(0, blocks, _BLOCKS))
