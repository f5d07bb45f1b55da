"""Tensors of a GGUF file as float32 numbers, and numbers as a GGUF file stores them.

The arithmetic of all quantized types is that of the `gguf` package.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.weights.gguf_header import GGUFFile, TensorPlace

StoredType = Literal["F32", "F16", "BF16", "Q8_0"]
"""What cloche itself writes weights as; norms, biases, routers and positions are always F32."""
STORED_TYPES: tuple[StoredType, ...] = get_args(StoredType)
READ_TYPES = (
    *("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
)
_LARGEST_F16 = 65_504.0


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
        numbers = _dequantized(file.stored(name), place)
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
    return quantize(numbers, kind)


def _dequantized(data: NDArray[np.uint8], place: TensorPlace) -> NDArray[np.float32]:
    """A copy of the tensor's own, never a window into the file."""
    if place.type == GGMLQuantizationType.F32:
        return data.view("<f4").astype(np.float32)
    if place.type == GGMLQuantizationType.F16:
        return data.view("<f2").astype(np.float32)
    return dequantize(data.reshape(-1, place.size // _rows(place)), place.type)


def _rows(place: TensorPlace) -> int:
    rows = 1
    for length in place.shape[:-1]:
        rows *= length
    return rows
