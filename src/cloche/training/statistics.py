"""Figures of one step beyond the loss: norms by layer, updates, memory; and where numbers break.

Each function reads tensors and changes none. What a figure means and where it should lie is told
in docs/watching.md.
"""

import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from cloche.training.shards import is_sharded, whole

if sys.platform != "win32":
    import resource

Named = Iterable[tuple[str, Tensor]]
"""Tensors by the names of their parameters, as `named_parameters` gives them."""
ROW, MANY_NUMBERS = 256, 1 << 20
"""Numbers in bfloat16 whose norm is taken by itself, in tensors of so many numbers or more."""
LAYER = re.compile(r"^(?:.*\.)?layers\.\d+")


def statistics_due(step: int, *, every: int, eval_every: int) -> bool:
    """Whether figures by layer are due in the step that is number `step`, counted from 1.

    They are in every `every`-th; with 0, in those that an evaluation follows.
    """
    return step % (every or eval_every) == 0


def layer_of(name: str) -> str:
    """The layer of a parameter: `layers.3` for all of its parameters, else the module's name."""
    found = LAYER.match(name)
    return found[0] if found else name.rpartition(".")[0] or name


@torch.no_grad()
def tensor_norms(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of each tensor, in float32: (len(tensors),), on their device.

    Nothing waits for the device. The norm of this vector is the norm of all tensors together.
    """
    if not tensors:
        return torch.zeros(0)
    if any(map(is_sharded, tensors)):  # then all processes take part, one tensor after the other
        return torch.stack([whole(tensor.norm()).float() for tensor in tensors])
    lengthened = [_of_equal_norm(tensor) for tensor in tensors]
    norms = torch._foreach_norm(lengthened, 2)  # pyright: ignore[reportPrivateImportUsage]
    return torch.stack([norm.float() for norm in norms])


def norms_by_layer(names: Sequence[str], norms: Tensor) -> dict[str, float]:
    """The norm of each layer, from those of its tensors (in the order of `names`)."""
    squares: dict[str, float] = {}
    for name, norm in zip(names, norms.tolist(), strict=True):  # waits once for the device
        layer = layer_of(name)
        squares[layer] = squares.get(layer, 0.0) + norm * norm
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def gradient_metrics(gradients: Named, *, factor: float = 1.0) -> dict[str, float]:
    """`train/grad_norm/LAYER` for each layer. Before clipping, which scales all alike.

    `factor` is what each number is still to be multiplied by, where the loss was scaled.
    """
    named = dict(gradients)
    norms = norms_by_layer(list(named), tensor_norms(list(named.values())))
    return {f"train/grad_norm/{layer}": factor * norm for layer, norm in norms.items()}


@torch.no_grad()
def weights_now(parameters: Named) -> dict[str, Tensor]:
    """A copy of the weights, to be held against those after the optimizer's step.

    As large as the weights. Made after the backward pass, it takes room that activations left.
    """
    return {name: weight.detach().clone() for name, weight in parameters}


@torch.no_grad()
def update_metrics(before: dict[str, Tensor], parameters: Named) -> dict[str, float]:
    """`train/update_ratio/LAYER`: the norm of a step's change over that of the weights before it.

    `before` comes from `weights_now`, and is used up: it holds the changes afterwards. A layer of
    zeros has no ratio and is left out.
    """
    after = dict(parameters)
    names, old = list(before), list(before.values())
    sizes = norms_by_layer(names, tensor_norms(old))
    for name, weight in zip(names, old, strict=True):
        weight.sub_(after[name])
    changes = norms_by_layer(names, tensor_norms(old))
    return {
        f"train/update_ratio/{layer}": changes[layer] / size
        for layer, size in sizes.items()
        if size
    }


def memory_metrics(device: torch.device) -> dict[str, float]:
    """`perf/memory_bytes` and, where it is known, `perf/peak_memory_bytes`.

    On CUDA what tensors hold on the device, on mps likewise without a peak; else what this process
    holds of the machine's memory, and the most it ever held.
    """
    if device.type == "cuda":
        now, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    elif device.type == "mps":
        now, peak = torch.mps.current_allocated_memory(), None
    else:
        now, peak = psutil.Process().memory_info().rss, peak_resident_bytes()
        peak = None if peak is None else max(now, peak)  # Linux may count the peak a little late
    return {
        name: float(value)
        for name, value in (("perf/memory_bytes", now), ("perf/peak_memory_bytes", peak))
        if value is not None
    }


def peak_resident_bytes() -> int | None:
    """The most memory that this process ever held; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; getrusage there may give the peak of the process that started us
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return 1024 * int(found[1]) if found else None
    memory: Any = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return memory.peak_wset
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def first_nonfinite(tensors: Named) -> str | None:
    """The first layer, in the order of the backward pass, with a gradient that is not finite.

    The backward pass goes from the output to the input, and what breaks in one layer breaks all
    below it: the layer nearest to the output is where it began. None where all are finite.
    """
    for name, tensor in reversed(list(tensors)):
        if not torch.isfinite(whole(tensor)).all():
            return layer_of(name)
    return None


@torch.no_grad()
def first_nonfinite_output(model: nn.Module, forward: Callable[[], object]) -> str | None:
    """The first part of the model whose output is not finite while `forward` runs; None if all are.

    For a loss that is not finite. The part is a module's name, the innermost: parts are asked as
    they finish.
    """
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(_module: nn.Module, _inputs: object, output: object) -> None:
            broken = isinstance(output, Tensor) and not torch.isfinite(output).all()
            if broken and not found:
                found.append(name)

        return look

    hooks = [
        module.register_forward_hook(watch(name or type(module).__name__))
        for name, module in model.named_modules()
    ]
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _of_equal_norm(tensor: Tensor) -> Tensor:
    """The tensor in float32, or of a large one in bfloat16 the norms of its rows.

    To lengthen every number takes a CPU five times as long. Each row's norm is rounded to 8 bits,
    up or down as it comes: over thousands of rows that leaves a relative error of some 1e-5.
    """
    if tensor.dtype != torch.bfloat16 or tensor.numel() < MANY_NUMBERS:
        return tensor.float()
    numbers = tensor.flatten()
    in_rows = numbers.numel() // ROW * ROW
    norms = torch.linalg.vector_norm(numbers[:in_rows].view(-1, ROW), dim=1)
    return torch.cat([norms.float(), numbers[in_rows:].float()])
