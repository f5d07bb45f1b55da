"""Tensors of which each process holds a shard: made whole, and cut like others.

A tensor that is whole already stays as it is, so that callers need not know.
"""

from typing import Any

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds a shard of the tensor only (a DTensor)."""
    # asked for by name: importing the class takes most of a second, which a process alone need
    # not wait for
    return hasattr(tensor, "device_mesh")


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor; where it lies in shards, all processes take part."""
    sharded: Any = tensor
    return sharded.full_tensor() if is_sharded(tensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """What of the tensor lies in this process; the same memory."""
    sharded: Any = tensor
    return sharded.to_local() if is_sharded(tensor) else tensor


def like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor cut as the parameter is; one of another shape stays whole.

    No process hears of another: all have the whole.
    """
    if is_sharded(tensor) or not is_sharded(parameter) or tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = parameter
    moved = tensor.to(device=sharded.device_mesh.device_type)
    return distribute_tensor(moved, sharded.device_mesh, sharded.placements, src_data_rank=None)
