"""The optimizers' state on disk in shards: each process writes its own, any number reads them.

Written by torch.distributed.checkpoint as safetensors, and read back before it counts. Its other
format keeps a pickle (`.metadata`), and this one takes nested states and single numbers without a
word and loses them: it is given flat names and true tensors alone; numbers go to state.json.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from cloche.errors import CheckpointError
from cloche.training.distributed import World
from cloche.training.launch import FirstProcessError
from cloche.training.shards import local, whole
from cloche.weights.tensors import read_headers, read_tensors


def split_numbers(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """True tensors, and what are single numbers (steps done)."""
    numbers = {name: float(whole(value)) for name, value in tensors.items() if value.ndim == 0}
    return {name: value for name, value in tensors.items() if name not in numbers}, numbers


def write_shards(folder: Path, tensors: Mapping[str, Tensor], *, world: World) -> None:
    """Write this process's shards below `folder`, which all processes see, and read them back.

    All processes take part, and all come back only when every shard is written. Raises
    CheckpointError, in all of them, where a disk refuses or kept something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = HuggingFaceStorageWriter(path=str(folder), save_distributed=True)
    problem: Exception | None = None
    try:
        save(dict(tensors), storage_writer=writer)
        _require_as_written(folder, tensors, number=world.rank + 1)
    except CheckpointException as exc:  # the same in all processes
        raise CheckpointError(f"{folder} cannot be written: {_cause(exc)}") from exc
    except (CheckpointError, OSError) as exc:
        problem = exc
    if world.largest(int(problem is not None)):
        raise CheckpointError(f"{folder} cannot be written: {problem or 'see another process'}")
    try:
        world.first_text(lambda: require_whole(folder, tensors))
    except FirstProcessError as exc:
        raise CheckpointError(str(exc)) from exc


def require_whole(folder: Path, tensors: Mapping[str, Tensor]) -> str:
    """How many tensors lie in the folder; CheckpointError where shards of these are missing."""
    found: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, stored in read_headers(path).items():
            numbers = torch.Size(stored.shape).numel()
            found[name] = found.get(name, 0) + numbers
    for name, tensor in tensors.items():
        if found.get(name) != tensor.numel():
            raise CheckpointError(
                f"{folder} holds {found.get(name, 0)} of the {tensor.numel()} numbers of {name}"
            )
    return f"{len(found)} tensors"


def read_shards(
    folder: Path, numbers: Mapping[str, float], *, parameter_of: Callable[[str], Tensor]
) -> dict[str, Tensor]:
    """The whole state by name, each tensor cut as the parameter that `parameter_of` its name gives.

    However many processes wrote it and read it, each reads what it needs. Raises CheckpointError
    where the files do not fit this model.
    """
    try:
        names = {name for path in folder.glob("*.safetensors") for name in read_headers(path)}
        found: dict[str, Any] = {name: torch.zeros_like(parameter_of(name)) for name in names}
        reader = HuggingFaceStorageReader(path=str(folder))
        with warnings.catch_warnings():
            # each process reads for itself, which is what it warns of
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(found, storage_reader=reader, no_dist=True)
    except (CheckpointException, ValueError, AssertionError) as exc:
        raise CheckpointError(f"{folder} does not fit this run: {_cause(exc)}") from exc
    return {**found, **{name: torch.tensor(value) for name, value in numbers.items()}}


def _require_as_written(folder: Path, tensors: Mapping[str, Tensor], *, number: int) -> None:
    """CheckpointError where this process's file does not hold its shards, bit by bit."""
    for path in folder.glob(f"shard-{number:05}-*.safetensors"):
        for name, stored in read_tensors(path).items():
            own = local(tensors[name]).detach().cpu()
            if not torch.equal(stored.view(torch.uint8), own.contiguous().view(torch.uint8)):
                raise CheckpointError(f"{path} does not hold {name} as just written to it")


def _cause(exc: BaseException) -> str:
    failures = getattr(exc, "failures", None)
    return "; ".join(str(failure) for failure in failures.values()) if failures else str(exc)
