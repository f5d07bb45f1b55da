"""The tensors of a model folder, held against the model they are for, and read into it.

Names, shapes and dtypes are compared from the headers of the files first; then the tensors are
read one by one, so that no more than the model and one tensor is ever in memory.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cloche.errors import CheckpointError
from cloche.model.config import ModelConfig
from cloche.weights.folder import CONFIG, WEIGHTS, WEIGHTS_INDEX, read_json
from cloche.weights.layouts.layout import HEAD, Names
from cloche.weights.tensors import StoredTensor, read_each, read_headers, refuse_pickle, same_bits

EMBEDDING = "embed_tokens.weight"
FLOATS = ("F64", "F32", "F16", "BF16")
MOST_NAMED = 20
TellBroken = Callable[[str], None]
"""Hears of numbers that are none."""


@dataclass(frozen=True)
class Weights:
    """The files that hold a model's tensors, with their headers."""

    source: Path
    """What messages call them."""
    headers: dict[str, StoredTensor]
    """By stored name."""

    def dtypes(self) -> tuple[str, ...]:
        """The kinds of numbers that are stored, the commonest first: `BF16`."""
        sizes: dict[str, int] = {}
        for header in self.headers.values():
            sizes[header.dtype] = sizes.get(header.dtype, 0) + math.prod(header.shape)
        return tuple(sorted(sizes, key=lambda dtype: -sizes[dtype]))


def find_weights(folder: Path) -> Weights:
    """The weights of a model folder, from one safetensors file or from those its index lists.

    Raises CheckpointError where there are none, or where an index leads astray.
    """
    if (folder / WEIGHTS).exists():
        return open_weights(folder, [folder / WEIGHTS])
    if (folder / WEIGHTS_INDEX).exists():
        return _find_shards(folder)
    for path in sorted(folder.iterdir()):
        refuse_pickle(path)
    raise CheckpointError(f"{folder} holds no weights: there is no {WEIGHTS} in it")


def open_weights(source: Path, files: Sequence[Path]) -> Weights:
    """The weights in these safetensors files; CheckpointError where a tensor lies in two."""
    headers: dict[str, StoredTensor] = {}
    for path in files:
        found = read_headers(path)
        twice = sorted(found.keys() & headers.keys())
        if twice:
            raise CheckpointError(
                f"{source} holds {listed(twice)} twice: in {headers[twice[0]].path.name} and in "
                f"{path.name}"
            )
        headers |= found
    return Weights(source, headers)


def shard_files(folder: Path, index: str) -> dict[str, Path]:
    """Where each tensor lies that an index lists. Raises CheckpointError for a bad index.

    The files must lie in the folder itself; names with a path in them are refused, and so are
    links that lead out of it (but for those of Hugging Face's own cache, into its blobs).
    """
    places = read_json(folder / index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{folder / index} is damaged: it lists no tensors (weight_map)")
    for name in dict.fromkeys(map(str, places.values())):
        _check_shard(folder, name, index=index)
    return {tensor: folder / name for tensor, name in places.items()}


def read_into(
    model: nn.Module,
    config: ModelConfig,
    names: Names,
    weights: Weights,
    *,
    dtype: torch.dtype,
    broken: TellBroken | None = None,
) -> None:
    """Fill a model that has no memory yet with the weights.

    What is learned is kept in `dtype`. Raises CheckpointError naming all tensors that are missing,
    unknown, of another shape, not finite, or tied to another and yet different. `broken`, where it
    is given, is told of those that are not finite instead, and they are kept as they are.
    """
    wanted = model.state_dict()
    _check_fit(names.to_stored(wanted, config), names, weights, tied=config.tied)
    learned = {
        name
        for name, value in model.named_parameters(remove_duplicate=False)
        if value.requires_grad
    }
    filled: dict[str, Tensor] = {}
    unusable = []
    for name, tensor in read_each(weights.headers.values()):
        canonical = names.canonical(name)
        for ours, value in names.from_stored(canonical, tensor).items() if canonical else ():
            # counts and their tables are exact or wrong: only what was learned is rounded
            kept = dtype if ours in learned else wanted[ours].dtype
            filled[ours] = value.to(kept, copy=True, memory_format=torch.contiguous_format)
            if ours in learned and not _is_finite(filled[ours]):
                unusable.append(name)
    if unusable:
        said = (
            f"{weights.source} holds numbers that are none (NaN or infinite): in "
            f"{listed(unusable)}. Its training went wrong, or the file is damaged"
        )
        if broken is None:
            raise CheckpointError(f"{said}; take another")
        broken(said)
    if config.tied:
        _tie(filled, weights, embedding=names.embedding)
    for name in wanted.keys() - filled.keys():  # what files of this kind leave out is zero
        filled[name] = torch.zeros(wanted[name].shape, dtype=dtype)
    model.load_state_dict(filled, assign=True)


def listed(names: Sequence[str]) -> str:
    """The names; of very many, the first and how many more there are."""
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"


def require_enough_tensors(config: ModelConfig, weights: Weights) -> None:
    """CheckpointError where a config.json asks for many more layers than the weights can fill.

    Called before such a model is built, which would take all memory.
    """
    asked = config.layers * max(1, config.experts) + config.encoder_layers
    if asked > len(weights.headers):
        raise CheckpointError(
            f"{weights.source} is not whole, or its {CONFIG} is wrong: {config.layers} layers are "
            f"asked for{f' of {config.experts} experts' if config.experts else ''}, and there are "
            f"{len(weights.headers)} tensors"
        )


def _find_shards(folder: Path) -> Weights:
    places = shard_files(folder, WEIGHTS_INDEX)
    files = sorted(set(places.values()))
    weights = open_weights(folder, files)
    absent = sorted(
        tensor
        for tensor, path in places.items()
        if tensor not in weights.headers or weights.headers[tensor].path != path
    )
    if absent:
        raise CheckpointError(
            f"{folder / WEIGHTS_INDEX} lists tensors that are not in the files it names: "
            f"{listed(absent)}. Fetch the folder again"
        )
    return weights


def _check_shard(folder: Path, name: str, *, index: str) -> None:
    path = folder / name
    if name in ("", ".", "..") or "\0" in name or Path(name).name != name or "\\" in name:
        raise CheckpointError(
            f"{folder / index} names {name!r:.120}, which is no file of this folder: refused. "
            "Take another copy of the model"
        )
    if not path.is_file():
        raise CheckpointError(f"{path} is missing, which {index} names; fetch it, too")
    home, real = folder.resolve(), path.resolve()
    if real.parent not in (home, home.parent.parent / "blobs"):
        raise CheckpointError(
            f"{path} is a link to {real}, out of its folder: refused. Put the file itself there"
        )


def _check_fit(expected: dict[str, Tensor], names: Names, weights: Weights, *, tied: bool) -> None:
    """CheckpointError with all that is missing, unknown, of another shape or kind."""
    found: dict[str, StoredTensor] = {}
    for name, header in weights.headers.items():
        canonical = names.canonical(name)
        if canonical in found:
            raise CheckpointError(f"{weights.source} holds {canonical} twice, the other as {name}")
        if canonical is not None:
            found[canonical] = header
    if tied and HEAD in found:
        expected = expected | {HEAD: expected[names.embedding]}
        if names.embedding not in found:  # the one stored stands for both
            expected.pop(names.embedding)
    problems = []
    if missing := sorted(expected.keys() - found.keys()):
        problems.append(f"missing are {listed(missing)}")
    if unknown := sorted(found.keys() - expected.keys()):
        problems.append(f"unknown are {listed([found[name].name for name in unknown])}")
    problems += _unfit(expected, found)
    if problems:
        raise CheckpointError(
            f"the weights in {weights.source} are not those of the model in its {CONFIG}: "
            + "; ".join(problems)
        )


def _unfit(expected: dict[str, Tensor], found: dict[str, StoredTensor]) -> list[str]:
    shapes, kinds = [], []
    for name in sorted(expected.keys() & found.keys()):
        header, wanted = found[name], expected[name]
        if header.shape != tuple(wanted.shape):
            shapes.append(f"{name} has the shape {header.shape} instead of {tuple(wanted.shape)}")
        elif (header.dtype in FLOATS) != wanted.is_floating_point():
            kinds.append(f"{name} is stored as {header.dtype}")
    return [listed(problems) for problems in (shapes, kinds) if problems]


def _tie(filled: dict[str, Tensor], weights: Weights, *, embedding: str) -> None:
    """Make head and embedding one; CheckpointError where both are stored and differ."""
    head = filled.pop(HEAD, None)
    if EMBEDDING not in filled and head is not None:
        filled[EMBEDDING] = head
    elif head is not None and not _alike(head, filled[EMBEDDING]):
        raise CheckpointError(
            f"{weights.source} holds {HEAD} and {embedding}, which differ, and its {CONFIG} "
            f"says that they are one (tie_word_embeddings). Set that to false there, or "
            "take another copy of the model"
        )
    filled[HEAD] = filled[EMBEDDING]


def _alike(first: Tensor, second: Tensor) -> bool:
    """Equal, a NaN to the same NaN."""
    return torch.equal(first, second) or same_bits(first, second)


def _is_finite(tensor: Tensor) -> bool:
    if tensor.numel() == 0:
        return True
    low, high = tensor.aminmax()  # a NaN comes through, and nothing as large as the tensor is made
    return bool(low.isfinite()) and bool(high.isfinite())
