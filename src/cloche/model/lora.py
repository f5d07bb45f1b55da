"""Adapters put into a finished model, which never hears of it; taken out, merged, exchanged.

Linear layers are replaced in place by layers that hold the same tensors and an adapter: see
`lora_layer.py`, and `lora_quantized.py` for bases in 4 and 8 bits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from cloche.config import nearest
from cloche.errors import SettingError, join_problems
from cloche.model.lora_config import ALL_LINEAR, LoraConfig
from cloche.model.lora_layer import DenseLoraLinear, LoraLinear
from cloche.model.lora_quantized import QuantizedLoraLinear
from cloche.model.mlp import MixtureOfExperts
from cloche.model.quantized import QuantizedEmbedding, QuantizedLinear

OUTPUT_LAYERS = ("lm_head", "score")
"""Not meant by all-linear."""
PARTS = ("lora_A", "lora_B", "lora_magnitude_vector")


@dataclass(frozen=True, eq=False)
class LoraWeights:
    """All that was learned beside a model's own weights; what an adapter's file holds."""

    config: LoraConfig
    tensors: dict[str, Tensor]
    """By name in a model that has the adapter: `layers.0.self_attn.q_proj.lora_A`; float32."""
    replaced: dict[str, Tensor] = field(default_factory=dict)
    """Tensors of the model that were trained themselves, and stand in place of its own."""

    @property
    def layers(self) -> list[str]:
        """The names of the layers that have an adapter."""
        found = (name.rpartition(".") for name in self.tensors)
        return [layer for layer, _, part in found if part == PARTS[0]]


def add_lora(model: nn.Module, config: LoraConfig, *, seed: int) -> list[str]:
    """Freeze a model and put fresh adapters beside its linear layers; their names.

    The model computes what it did before. The adapters' weights are a pure function of `seed` and
    the layers' names, and the only ones that have a gradient from here on. Raises SettingError
    with all that stands in the way.
    """
    problems = config.problems()
    if lora_layers(model):
        problems.append("the model has an adapter already: merge or remove it first")
    if problems:
        raise SettingError(join_problems(problems))
    names = target_layers(model, config.targets)
    model.requires_grad_(False)
    for name in names:
        _wrap(model, name, config).draw(seed=seed, name=name)
    return names


def target_layers(model: nn.Module, targets: str | tuple[str, ...]) -> list[str]:
    """The names of the layers that the targets mean, in the model's order.

    A name means every layer whose own name is it or ends in it, from a dot on. Raises SettingError
    for a target that means no layer or one that can have no adapter.
    """
    linear = linear_layers(model)
    if not linear:
        raise SettingError(
            f"a {type(model).__name__} model has no linear layers that could have an adapter: "
            "train it whole"
        )
    if targets == ALL_LINEAR:
        found = [name for name in linear if name.rpartition(".")[2] not in OUTPUT_LAYERS]
        problems = _obstacles(model, found)
    else:
        found = [name for name in linear if any(_means(target, name) for target in targets)]
        unmet = [target for target in targets if not any(_means(target, name) for name in linear)]
        problems = [_unknown(model, target, linear) for target in unmet]
        problems += _obstacles(model, found)
    if problems:
        raise SettingError(join_problems(problems))
    return found


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """All linear layers by name, in the model's order; the router of a mixture counts as one."""
    tables = {module.table for module in model.modules() if isinstance(module, QuantizedEmbedding)}
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | QuantizedLinear | LoraLinear) and module not in tables
    }


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """The layers of a model that have an adapter, by name."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)
    }


def lora_weights(model: nn.Module, config: LoraConfig) -> LoraWeights:
    """What a model has learned beside its own weights, and those of its own that were trained.

    The tensors are those of the model, no copies.
    """
    trained = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or name.rpartition(".")[2] in PARTS
    }
    return split_trained(trained, config)


def split_trained(trained: Mapping[str, Tensor], config: LoraConfig) -> LoraWeights:
    """The same of trained tensors by name."""
    replaced = dict(trained)
    tensors = {name: replaced.pop(name) for name in trained if name.rpartition(".")[2] in PARTS}
    return LoraWeights(config, tensors, replaced)


def misfits(model: nn.Module, weights: LoraWeights) -> list[str]:
    """Why these weights cannot be put into this model, one sentence each; nothing if they can."""
    linear = linear_layers(model)
    found = []
    unknown = [name for name in weights.layers if name not in linear]
    if unknown:
        found.append(f"the model has no linear layer {_few(unknown)}")
    known = [name for name in weights.layers if name in linear]
    found += _obstacles(model, known)
    for name in known:
        found += _misshapen(name, linear[name], weights)
    own = model.state_dict(keep_vars=True)
    for name, tensor in weights.replaced.items():
        if name not in own:
            found.append(f"the model has no {name}")
        elif own[name].shape != tensor.shape:
            found.append(f"{name} is {_shape(tensor)}, the model's is {_shape(own[name])}")
    return found


def insert_lora(model: nn.Module, weights: LoraWeights) -> list[str]:
    """Put learned adapters into a model, ready to learn on; the names of their layers.

    The weights are copied. Raises SettingError with all that does not fit.
    """
    problems = weights.config.problems() + misfits(model, weights)
    if lora_layers(model):
        problems.append("the model has an adapter already: merge or remove it first")
    if problems:
        raise SettingError(join_problems(problems))
    model.requires_grad_(False)
    for name in weights.layers:
        _fill(_wrap(model, name, weights.config), name, weights)
    _replace_tensors(model, weights.replaced, trained=True)
    return weights.layers


@dataclass(frozen=True, eq=False)
class Unmerged:
    """What `merge_lora` took out of a model, for `unmerge_lora`."""

    layers: dict[str, LoraLinear]


def merge_lora(model: nn.Module) -> Unmerged:
    """Make plain layers of those with adapters, which compute the same; what was there.

    Who will not undo it drops the answer, and the memory of the frozen matrices with it. Quantized
    layers become float32. What was frozen stays frozen.
    """
    layers = lora_layers(model)
    for name, layer in layers.items():
        _set(model, name, layer.merged())
    return Unmerged(layers)


def unmerge_lora(model: nn.Module, unmerged: Unmerged) -> None:
    """Undo `merge_lora`: the frozen matrices and the adapters, byte for byte."""
    for name, layer in unmerged.layers.items():
        _set(model, name, layer)


def remove_lora(model: nn.Module) -> None:
    """Make plain layers of those with adapters, as they were before; what was learned is lost.

    The weights stay frozen: `model.requires_grad_(True)` trains them.
    """
    for name, layer in lora_layers(model).items():
        _set(model, name, layer.plain())


class AdapterSet:
    """Several adapters over one plain model, of which one is active or none.

    The active one is merged, so that whatever computes with the model needs not know: who has
    copied its weights, as a packed model for the kernels, copies them anew after `activate`. The
    model's own tensors are set aside meanwhile, and put back as they are.
    """

    def __init__(self, model: nn.Module) -> None:
        if lora_layers(model):
            raise SettingError("the model has an adapter already: merge or remove it first")
        self.model = model
        self.active: str | None = None
        self._adapters: dict[str, LoraWeights] = {}
        self._layers: dict[str, nn.Module] = {}
        self._tensors: dict[str, Tensor] = {}

    @property
    def names(self) -> list[str]:
        """Of all adapters, in the order in which they came."""
        return list(self._adapters)

    def add(self, name: str, weights: LoraWeights) -> None:
        """Take an adapter in under a name of its own; SettingError where it does not fit."""
        problems = [] if name else ["an adapter needs a name"]
        if name in self._adapters:
            problems.append(f"there are two adapters of the name {name}: name them apart")
        active = self.active
        self.activate(None)  # an adapter is held against the model's own layers
        problems += weights.config.problems() + misfits(self.model, weights)
        self.activate(active)
        if problems:
            raise SettingError(join_problems(problems))
        self._adapters[name] = weights

    def activate(self, name: str | None) -> None:
        """Have the model compute with this adapter alone, or with none."""
        if name is not None and name not in self._adapters:
            raise SettingError(f"there is no adapter {name}: {nearest(name, self._adapters)}")
        if name == self.active:
            return
        for layer, module in self._layers.items():
            _set(self.model, layer, module)
        _replace_tensors(self.model, self._tensors, trained=False)
        self._layers, self._tensors, self.active = {}, {}, None
        if name is not None:
            self._merge(self._adapters[name])
            self.active = name

    def _merge(self, weights: LoraWeights) -> None:
        for name in weights.layers:
            layer = self.model.get_submodule(name)
            self._layers[name] = layer
            wrapped = _wrapped(layer, replace(weights.config, dropout=0.0))
            _fill(wrapped, name, weights)
            _set(self.model, name, wrapped.merged())
        state = self.model.state_dict(keep_vars=True)
        self._tensors = {name: state[name] for name in weights.replaced}
        _replace_tensors(self.model, weights.replaced, trained=False)


def _means(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _obstacles(model: nn.Module, names: list[str]) -> list[str]:
    """Why layers of these names can have no adapter."""
    mixtures = [
        name for name, module in model.named_modules() if isinstance(module, MixtureOfExperts)
    ]
    inside = [name for name in names if any(name.startswith(f"{each}.") for each in mixtures)]
    found = []
    if inside:
        found.append(
            f"layers of a mixture of experts can have no adapter ({_few(inside)}): name those of "
            "attention, q_proj, k_proj, v_proj and o_proj, or tune the model whole"
        )
    modules = dict(model.named_modules())
    odd = [
        name
        for name in names
        if type(modules[name]) not in (nn.Linear, QuantizedLinear) and name not in inside
    ]
    if odd:
        kinds = ", ".join(sorted({type(modules[name]).__name__ for name in odd}))
        found.append(f"no adapter is known for layers of the kind {kinds} ({_few(odd)})")
    shared = _shared(model, modules, [name for name in names if name not in odd])
    if shared:
        found.append(
            f"{_few(shared)} is the token embedding, too, and an adapter would change one of the "
            "two: leave it out of the targets"
        )
    return found


def _shared(model: nn.Module, modules: Mapping[str, nn.Module], names: list[str]) -> list[str]:
    """Those whose matrix stands elsewhere in the model, too, as that of a tied head does."""
    owners: dict[int, int] = {}
    for module in model.modules():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            owners[id(tensor)] = owners.get(id(tensor), 0) + 1
    return [name for name in names if owners.get(id(_kept(modules[name])), 0) > 1]


def _kept(layer: nn.Module) -> object:
    """What a layer's matrix is kept in."""
    return layer.numbers if isinstance(layer, QuantizedLinear) else layer.weight


def _unknown(model: nn.Module, target: str, linear: Mapping[str, nn.Module]) -> str:
    if any(_means(target, name) for name, _ in model.named_modules()):
        return f"{target} is no linear layer, and only those have adapters"
    known = {name.rpartition(".")[2] for name in linear}
    return f"the model has no linear layer {target}: {nearest(target, known)}"


def _misshapen(name: str, layer: nn.Module, weights: LoraWeights) -> Iterator[str]:
    """What of a layer's adapter is lacking or of another shape than the layer asks for."""
    rank = weights.config.rank
    wanted = {
        PARTS[0]: (rank, layer.in_features),
        PARTS[1]: (layer.out_features, rank),
        PARTS[2]: (layer.out_features,),
    }
    if not weights.config.dora:
        del wanted[PARTS[2]]
    for part, shape in wanted.items():
        tensor = weights.tensors.get(f"{name}.{part}")
        if tensor is None:
            yield f"{name}.{part} is missing"
        elif tuple(tensor.shape) != shape:
            yield f"{name}.{part} is {_shape(tensor)}, which for this model is {list(shape)}"


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _wrapped(layer: nn.Module, config: LoraConfig) -> LoraLinear:
    """A layer with an adapter that is all zeros, where the layer is."""
    if isinstance(layer, QuantizedLinear):
        wrapped: LoraLinear = QuantizedLoraLinear(layer, config)
        device = layer.numbers.device
    else:
        assert isinstance(layer, nn.Linear)
        wrapped = DenseLoraLinear(layer, config)
        device = layer.weight.device
    return wrapped.to(device).train(layer.training)


def _wrap(model: nn.Module, name: str, config: LoraConfig) -> LoraLinear:
    wrapped = _wrapped(model.get_submodule(name), config)
    _set(model, name, wrapped)
    return wrapped


@torch.no_grad()
def _fill(layer: LoraLinear, name: str, weights: LoraWeights) -> None:
    for part in PARTS:
        own = getattr(layer, part)
        if own is not None:
            own.copy_(weights.tensors[f"{name}.{part}"])


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _replace_tensors(model: nn.Module, tensors: Mapping[str, Tensor], *, trained: bool) -> None:
    """Put tensors in the place of the model's own, for all modules that share these."""
    for name, tensor in tensors.items():
        before = model.get_parameter(name)
        given = tensor
        if not isinstance(tensor, nn.Parameter):
            copied = tensor.to(before.device, before.dtype, copy=True)
            given = nn.Parameter(copied, requires_grad=trained)
        for module in model.modules():
            for own, parameter in list(module.named_parameters(recurse=False)):
                if parameter is before:
                    setattr(module, own, given)
