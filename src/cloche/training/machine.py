"""What this machine is and does, measured in a second: device, precision, speed."""

import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from cloche.errors import SettingError

LARGEST_PIECE = 1 << 30  # bytes that are asked for at once, and then kept
ROUNDS = 2
WORTH_IT = 1.3  # how much faster bfloat16 has to be before `auto` takes it


@dataclass(frozen=True)
class Machine:
    """Where a training computes, and how fast its matrix products are."""

    device: str
    precision: str
    flops_per_second: float
    """Matrix-multiply peak in that precision, of all processes together."""
    processes: int = 1
    """Groups that share a batch."""

    def times(self, processes: int, *, tensor_parallel: int) -> "Machine":
        """So many of it, each process on one, in groups that share each sequence."""
        return replace(
            self,
            flops_per_second=processes * self.flops_per_second,
            processes=max(1, processes // tensor_parallel),
        )

    def rows_of(self, batch: int, *, parts: int) -> int:
        """Sequences that are computed at once where each process takes its share in parts."""
        return max(1, -(-batch // (parts * self.processes)))


def find_device(wanted: str) -> str:
    """The device's type. SettingError where the wanted one is not there."""
    available = {"cpu"}
    if torch.cuda.is_available():
        available.add("cuda")
    if torch.backends.mps.is_available():
        available.add("mps")
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if name in available)
    if wanted not in available:
        raise SettingError(
            f"train.device {wanted} is not available here; there is: {', '.join(sorted(available))}"
        )
    return wanted


def measure_machine(device: str, precision: str) -> Machine:
    """The machine with its peak measured; `auto` precision becomes the one that is faster."""
    found = find_device(device)
    if precision != "auto":
        return Machine(found, precision, peak_flops(found, precision)[0])
    exact, half = peak_flops(found, "float32", "bfloat16")
    if half >= WORTH_IT * exact:
        return Machine(found, "bfloat16", half)
    return Machine(found, "float32", exact)


def dtype_of(precision: str) -> torch.dtype:
    """The torch type of a precision's name."""
    return {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }[precision]


def allow_short_products(device: str, precision: str) -> None:
    """On CUDA, let what is left in float32 multiply in TF32, unless all is to be float32."""
    if device == "cuda" and precision != "float32":
        torch.backends.cuda.matmul.fp32_precision = "tf32"


def keep_freed_memory() -> bool:
    """Have this process keep what it frees, and use it again; whether the system can do that.

    A training frees and asks for the same large pieces in every step. The GNU C library gives each
    back at once, and the system has to clear it anew: a twelfth of a step (docs/log.md). The whole
    process is changed, for good, so this is for programs whose business is one training.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    mapped_alone, kept_at_end = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    return bool(set_option(mapped_alone, LARGEST_PIECE)) and bool(set_option(kept_at_end, -1))


def peak_flops(device: str, *precisions: str) -> list[float]:
    """The matrix-multiply peak in each precision, the best of two rounds.

    In turns, so that what else runs here at one moment does not decide between them.
    """
    rounds = [[matmul_flops(device, dtype_of(name)) for name in precisions] for _ in range(ROUNDS)]
    return [max(found) for found in zip(*rounds, strict=True)]


def matmul_flops(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product: the best of several."""
    # a CPU that has no float16 products of its own takes a second for one of 1,024
    size = {torch.float16: 256}.get(dtype, 1024) if device == "cpu" else 4096
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    seconds = _best_seconds(lambda: left @ right, device=device, repeats=4)
    return 2 * size**3 / seconds


def _best_seconds(work: Callable[[], object], *, device: str, repeats: int) -> float:
    work()  # the first call pays for allocation and code generation
    best = float("inf")
    for _ in range(repeats):
        wait_for(device)
        began = time.perf_counter()
        work()
        wait_for(device)
        best = min(best, time.perf_counter() - began)
    return best


def wait_for(device: str) -> None:
    """Let the device finish what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
