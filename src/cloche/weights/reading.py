"""The tensors of a model folder, from one safetensors file or from several that an index lists."""

from pathlib import Path

from torch import Tensor

from cloche.errors import CheckpointError
from cloche.weights.folder import CONFIG, WEIGHTS, WEIGHTS_INDEX, read_json
from cloche.weights.tensors import read_tensors, refuse_pickle


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder, from one file or from those its index lists."""
    if (folder / WEIGHTS).exists():
        return read_tensors(folder / WEIGHTS)
    if (folder / WEIGHTS_INDEX).exists():
        places = read_json(folder / WEIGHTS_INDEX).get("weight_map", {})
        files = sorted({Path(name).name for name in places.values()})
        return {k: v for name in files for k, v in read_tensors(folder / name).items()}
    for path in sorted(folder.iterdir()):
        refuse_pickle(path)
    raise CheckpointError(f"{folder} holds no weights: there is no {WEIGHTS} in it")


def check_fit(folder: Path, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """CheckpointError where the tensors are not those of the model, or of other shapes."""
    missing = sorted(wanted.keys() - found.keys())
    unknown = sorted(found.keys() - wanted.keys())
    if missing or unknown:
        raise CheckpointError(
            f"the weights in {folder} are not those of the model in its {CONFIG}: "
            f"missing {missing[:3] or 'none'}, unknown {unknown[:3] or 'none'}"
        )
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            raise CheckpointError(
                f"{name} in {folder} has the shape {tuple(found[name].shape)}, "
                f"but {CONFIG} asks for {tuple(tensor.shape)}"
            )
