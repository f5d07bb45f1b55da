"""How fast this machine reads memory, which decoding is held against. A process of its own.

No single operation reaches what the memory can do on every machine: several are tried, and the
best one counts.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping

import torch

from cloche.bench.processes import Answer, answer_on_standard_output
from cloche.training.machine import find_device

_REPEATS = 3
_ROW = 4096  # numbers in a row of the matrix

Ways = Mapping[str, tuple[Callable[[], object], int]]
"""What reads the memory, and how many bytes of it."""


def ways_to_read(size: int, device: str) -> Ways:
    """Operations over an array of `size` bytes (a multiple of 32 KiB); a copy reads and writes."""
    # ones: pages that were never written are all one page
    whole = torch.ones(size // 8, dtype=torch.int64, device=device)
    numbers = whole.view(torch.float32)
    matrix, vector = numbers.view(-1, _ROW), torch.ones(_ROW, device=device)
    first, second = whole.chunk(2)
    return {
        "sum of int64": (whole.sum, size),
        "sum of float32": (numbers.sum, size),
        "float32 with itself": (lambda: torch.dot(numbers, numbers), size),
        "matrix times vector": (lambda: torch.mv(matrix, vector), size),
        "copy": (lambda: second.copy_(first), size),
    }


def bytes_per_second(ways: Ways, device: str) -> dict[str, float]:
    """Bytes a second of each way, at its best of three."""
    found = {}
    for name, (read, size) in ways.items():
        read()
        found[name] = size / min(_seconds(read, device) for _ in range(_REPEATS))
    return found


def serve(requests: Iterator[str], answer: Answer) -> None:
    """Answer each request with the speed of each way, on the device and threads of the first line.

    Raises SettingError where there is no such device.
    """
    setup = json.loads(next(requests))
    torch.set_num_threads(setup["threads"])
    device = find_device(setup["device"])
    ways = ways_to_read(setup["bytes"], device)
    answer({"device": device, "threads": torch.get_num_threads(), "bytes": setup["bytes"]})
    for _ in requests:
        answer(bytes_per_second(ways, device))


def _seconds(read: Callable[[], object], device: str) -> float:
    began = time.perf_counter()
    read()
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    answer_on_standard_output(serve)
