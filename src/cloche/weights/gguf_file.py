"""A GGUF file written: keys first, then one tensor after the other, never all in memory.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import (
    GGML_QUANT_SIZES,
    GGML_QUANT_VERSION,
    GGMLQuantizationType,
    GGUFValueType,
    GGUFWriter,
    LlamaFileType,
)
from torch import Tensor

from cloche.weights.durable import sync
from cloche.weights.gguf_architecture import Expressed
from cloche.weights.gguf_config import to_keys
from cloche.weights.gguf_names import ROPE_FACTORS, Place, is_kept_exact, tensor_places
from cloche.weights.gguf_rope import rope_factors
from cloche.weights.gguf_tensors import StoredType, stored_type, to_stored

_FILE_TYPES: Mapping[StoredType, LlamaFileType] = {
    "F32": LlamaFileType.ALL_F32,
    "F16": LlamaFileType.MOSTLY_F16,
    "BF16": LlamaFileType.MOSTLY_BF16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
}


@dataclass(frozen=True, eq=False)
class _Planned:
    """A tensor that is going to be written."""

    place: Place
    parts: Sequence[Tensor]
    type: GGMLQuantizationType
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """In bytes, as stored."""
        block, block_bytes = GGML_QUANT_SIZES[self.type]
        return math.prod(self.shape) // block * block_bytes


def write_gguf(
    path: Path, expressed: Expressed, *, kind: StoredType, keys: Mapping[str, Any]
) -> None:
    """Write a model; `keys` are those that describe no weights. The disk holds it afterwards.

    Raises OSError where the disk refuses, CheckpointError for numbers that the type cannot hold.
    """
    writer = GGUFWriter(path, expressed.architecture)
    writer.add_file_type(_FILE_TYPES[kind])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    described = to_keys(expressed.config, expressed.architecture)
    for key, value in {**described, **keys}.items():
        _add(writer, key, value)
    planned = list(_plan(expressed, kind))
    for tensor in planned:  # sizes come first in a file; the numbers are made one by one
        writer.add_tensor_info(
            tensor.place.stored,
            tensor.shape,
            np.dtype(np.float32),
            tensor.size,
            raw_dtype=tensor.type,
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in planned:
            joined = tensor.place.join([part.detach().cpu() for part in tensor.parts])
            writer.write_tensor_data(to_stored(joined, tensor.type, name=tensor.place.stored))
    finally:
        writer.close()
    sync(path)


def _plan(expressed: Expressed, kind: StoredType) -> Iterator[_Planned]:
    for place in tensor_places(expressed.config, expressed.architecture):
        parts = [expressed.weights[name] for name in place.names]
        shape = place.join([torch.empty(part.shape, device="meta") for part in parts]).shape
        exact = is_kept_exact(place.stored)
        stored = GGMLQuantizationType.F32 if exact else stored_type(shape, kind)
        yield _Planned(place, parts, stored, tuple(shape))
    factors = rope_factors(expressed.config)
    if factors is not None:
        whole = Place(ROPE_FACTORS, (), lambda parts: parts[0], lambda whole: (whole,))
        yield _Planned(whole, [factors], GGMLQuantizationType.F32, tuple(factors.shape))


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    """A key of the type that llama.cpp reads it as."""
    types = {bool: GGUFValueType.BOOL, str: GGUFValueType.STRING, int: GGUFValueType.UINT32}
    if not isinstance(value, list):
        writer.add_key_value(key, value, types.get(type(value), GGUFValueType.FLOAT32))
        return
    inner = {str: GGUFValueType.STRING, int: GGUFValueType.INT32}
    of = inner.get(type(value[0]), GGUFValueType.FLOAT32)
    writer.add_key_value(key, value, GGUFValueType.ARRAY, sub_type=of)
