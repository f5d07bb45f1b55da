"""What drawing takes of a machine's memory, told before anything is loaded.

Weights are exact: the numbers in the files, in the precision they are kept in. The decoder, which
makes pixels of what was denoised, holds the largest numbers of all; how much of them is measured
(docs/image.md). What the libraries take is measured, too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cloche.errors import SettingError
from cloche.image.finding import HubFiles
from cloche.image.folder import HALF, PipelineFolder
from cloche.planning.available import available_memory
from cloche.planning.wording import format_bytes
from cloche.weights.tensors import StoredTensor

NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
STORED_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2}
FLOATS = ("F64", "F32", "F16", "BF16")
DECODER_TENSORS = 6
"""Of the decoder's widest layer at full size, how many are held at once: 3.7 to 6.1, measured."""
LIBRARY_BYTES = 300_000_000
"""What diffusers and transformers add to a process that has torch, measured."""
HALF_MARK = f".{HALF}"


@dataclass(frozen=True)
class Room:
    """What is free, in bytes."""

    host: int
    device: int | None = None
    """Of the GPU; None on a CPU, whose memory is the host's."""


@dataclass(frozen=True)
class DrawingMemory:
    """What a drawing takes, in bytes."""

    weights: int
    decoder: int | None
    """None where the pipeline's decoder or its size is of a kind that cannot be reckoned."""

    @property
    def total(self) -> int:
        """What is reckoned of it, together, on the device."""
        return self.weights + (self.decoder or 0)


def free_room(device: str) -> Room:
    """What this process may take on top of what it has."""
    host = available_memory()
    if device == "cuda":
        return Room(host, torch.cuda.mem_get_info()[0])
    if device == "mps":  # shares the host's memory, and may not take all of it
        limit = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return Room(min(host, limit))
    return Room(host)


def plan_memory(
    folder: PipelineFolder, *, precision: str, size: tuple[int, int] | None, batch: int
) -> DrawingMemory:
    """What drawing `batch` pictures of `size` (width, height) at once takes."""
    headers = folder.headers()
    weights = sum(
        _kept_bytes(tensor, precision) for tensors in headers.values() for tensor in tensors
    )
    return DrawingMemory(
        weights, _decoder_bytes(folder, size=size, batch=batch, precision=precision)
    )


def own_size(folder: PipelineFolder) -> tuple[int, int] | None:
    """Width and height of the pictures that the model makes by itself; None where no file says."""
    scale = cell_side(folder)
    for part in ("unet", "transformer"):
        side = folder.config(part).get("sample_size")
        if scale is not None and isinstance(side, int) and side > 0:
            return side * scale, side * scale
    return None


def cell_side(folder: PipelineFolder) -> int | None:
    """Pixels along a side of what the decoder makes of one cell; None for other decoders."""
    channels = _decoder_channels(folder)
    return None if channels is None else 2 ** (len(channels) - 1)


def require_download_room(files: HubFiles, precision: str, *, room: Room) -> None:
    """SettingError where not even the weights could be loaded, before they are downloaded.

    Files of 16 bits say so in their names; others are taken to hold 32, so this is the least.
    """
    least = sum(
        size * NUMBER_BYTES[precision] // (2 if HALF_MARK in path.rpartition("/")[2] else 4)
        for path, size in files.weights().items()
    )
    require_room(DrawingMemory(least, None), precision, room=room)


def require_room(memory: DrawingMemory, precision: str, *, room: Room) -> None:
    """SettingError, with all figures, where a drawing takes more than there is."""
    needed = describe_memory(memory, precision=precision)
    if room.device is not None and memory.total > room.device:
        raise SettingError(
            f"drawing takes {needed}, and {format_bytes(room.device)} are free on the GPU: free "
            f"some of it, {_milder(memory, precision, room.device)}"
            "or try nevertheless with --anyway"
        )
    on_host = memory.weights if room.device is not None else memory.total
    if on_host + LIBRARY_BYTES > room.host:
        raise SettingError(
            f"drawing takes {needed}, {format_bytes(LIBRARY_BYTES)} more for the libraries, and "
            f"{format_bytes(room.host)} of this machine's memory are free: close other programs, "
            f"{_milder(memory, precision, room.host - LIBRARY_BYTES)}"
            "or try nevertheless with --anyway"
        )


def describe_memory(memory: DrawingMemory, *, precision: str) -> str:
    """The figures as words."""
    told = f"{format_bytes(memory.weights)} for the weights in {precision}"
    if memory.decoder is not None:
        told += f" and about {format_bytes(memory.decoder)} to decode"
    return told


def _milder(memory: DrawingMemory, precision: str, available: int) -> str:
    """What else could be done, where it would do."""
    half = DrawingMemory(memory.weights // 2, (memory.decoder or 0) // 2)
    if precision == "float32" and half.total <= available:
        return f"take precision bfloat16 ({format_bytes(half.total)}), "
    if memory.decoder is not None and memory.weights < available:
        return "draw fewer at once or smaller ones, "
    return "take a smaller model, "


def _kept_bytes(tensor: StoredTensor, precision: str) -> int:
    stored = STORED_BYTES.get(tensor.dtype, 1)
    kept = NUMBER_BYTES[precision] if tensor.dtype in FLOATS else stored
    return math.prod(tensor.shape) * kept


def _decoder_channels(folder: PipelineFolder) -> list[int] | None:
    config: Mapping[str, Any] = folder.config("vae")
    channels = config.get("block_out_channels")
    if config.get("_class_name") != "AutoencoderKL" or not isinstance(channels, list):
        return None
    return channels if channels and all(isinstance(each, int) for each in channels) else None


def _decoder_bytes(
    folder: PipelineFolder, *, size: tuple[int, int] | None, batch: int, precision: str
) -> int | None:
    channels = _decoder_channels(folder)
    size = size or own_size(folder)
    if channels is None or size is None:
        return None
    # the last block but one still has its own channels when it reaches the full size
    widest = channels[min(1, len(channels) - 1)]
    return DECODER_TENSORS * widest * size[0] * size[1] * batch * NUMBER_BYTES[precision]
