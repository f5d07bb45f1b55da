"""Bytes of weights that a PyTorch model reads for each token."""

from collections import defaultdict

from torch import Tensor, nn

from cloche.model.quantized import QuantizedEmbedding, QuantizedLinear


def bytes_read_per_token(model: nn.Module, *, expert_share: float = 1.0) -> int:
    """Bytes of the weights that one token's forward reads at the model's precision.

    Each counts once, also where it stands in two places. Of a table of vectors a token reads one
    row, unless the table is the head as well. Of experts it reads `expert_share`: those in use over
    those there are.
    """
    names: dict[tuple[int, int], list[str]] = defaultdict(list)
    tensors: dict[tuple[int, int], Tensor] = {}
    for name, tensor in model.state_dict().items():
        place = (tensor.data_ptr(), tensor.numel())
        names[place].append(name)
        tensors[place] = tensor
    total = 0.0
    for place, tensor in tensors.items():
        size = _stored_bytes(model, names[place][0], tensor)
        if all(_is_of_table(model, name) for name in names[place]):
            size /= max(1, len(tensor))
        total += size * (expert_share if ".experts." in names[place][0] else 1.0)
    return round(total)


def _stored_bytes(model: nn.Module, name: str, tensor: Tensor) -> float:
    """Of int4, two numbers lie in a byte when they are read, and scales and minima in bfloat16."""
    owner = model.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, QuantizedLinear) and owner.bits == "int4":
        kept_as = {"numbers": 0.5, "scales": 2.0, "minima": 2.0}
        size = kept_as.get(name.rpartition(".")[2])
        if size is not None:
            return tensor.numel() * size
    return tensor.numel() * tensor.element_size()


def _is_of_table(model: nn.Module, name: str) -> bool:
    *path, _ = name.split(".")
    owners = [model.get_submodule(".".join(path[:length])) for length in range(1, len(path) + 1)]
    return any(isinstance(owner, nn.Embedding | QuantizedEmbedding) for owner in owners)
