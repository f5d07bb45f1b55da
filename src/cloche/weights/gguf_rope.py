"""Rotary positions stretched to longer contexts, in the words of a GGUF file, both ways.

llama.cpp knows linear scaling and YaRN by keys. Llama 3's rule has none: its file holds what each
frequency is divided by, as a tensor.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.config import ModelConfig
from cloche.model.positions import rotary_tables
from cloche.model.rope import RopeScaling
from cloche.weights.gguf_header import GGUFFile
from cloche.weights.gguf_keys import Keys
from cloche.weights.gguf_names import ROPE_FACTORS
from cloche.weights.gguf_tensors import read_tensor

_ORIGINAL = "rope.scaling.original_context_length"
_OLDER_FACTOR = "rope.scale_linear"  # what linear scaling was called in the first files
_EQUAL = 1e-4
"""Factors differ by no more than this share of themselves where they follow the same rule."""


def rope_keys(config: ModelConfig) -> dict[str, Any]:
    """The keys of a model's rotary positions, without the architecture's name before them."""
    keys: dict[str, Any] = {
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": config.rope_theta,
    }
    scaling = config.rope_scaling
    if scaling is None:
        return keys
    keys[_ORIGINAL] = scaling.original_context
    if scaling.kind == "llama3":
        return keys  # the rule itself is in a tensor
    keys |= {"rope.scaling.type": scaling.kind, "rope.scaling.factor": scaling.factor}
    if scaling.kind == "linear":
        return keys
    if scaling.attention_factor is not None:  # theirs comes on top of the paper's
        keys["rope.scaling.attn_factor"] = scaling.attention_factor / _sharpening(scaling.factor)
    return keys


def rope_factors(config: ModelConfig) -> Float[Tensor, " half"] | None:
    """What Llama 3's rule divides each frequency by; None for a model without that rule."""
    scaling = config.rope_scaling
    return llama3_factors(config, scaling) if scaling and scaling.kind == "llama3" else None


def rope_scaling(file: GGUFFile, keys: Keys, config: ModelConfig) -> RopeScaling | None:
    """How the model of a file stretches its positions; None where it does not.

    Raises CheckpointError for kinds that cloche does not have.
    """
    kind = keys.text("rope.scaling.type", "linear")  # as llama.cpp has it where it is not said
    older = keys.real(_OLDER_FACTOR, 1.0)
    factor = keys.real("rope.scaling.factor", older)
    original = keys.whole(_ORIGINAL, config.context)
    yarn = {
        "beta_fast": keys.real("rope.scaling.yarn_beta_fast", RopeScaling.beta_fast),
        "beta_slow": keys.real("rope.scaling.yarn_beta_slow", RopeScaling.beta_slow),
    }
    sharper = keys.real("rope.scaling.attn_factor", 1.0)
    for name in ("rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor"):
        if keys.real(name, 1.0) != 1.0:
            raise keys.refuse(name, keys.real(name, 1.0))
    if kind not in ("none", "linear", "yarn"):
        raise keys.refuse("rope.scaling.type", kind)
    if kind != "yarn" and sharper != 1.0:
        raise keys.refuse("rope.scaling.attn_factor", sharper)
    if ROPE_FACTORS in file.tensors:
        if kind == "yarn" or factor != 1.0:
            raise keys.refuse("rope.scaling.type", f"{kind} beside the tensor {ROPE_FACTORS}")
        return _llama3(file, config, told=original)
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return None
    if kind == "linear":
        return RopeScaling("linear", factor, original_context=original)
    own = None if sharper == 1.0 else float(f"{sharper * _sharpening(factor):.6g}")
    return RopeScaling("yarn", factor, original, attention_factor=own, **yarn)


def llama3_factors(config: ModelConfig, scaling: RopeScaling) -> Float[Tensor, " half"]:
    """What a llama3 scaling divides the frequencies of a model by, from 1 to its factor."""
    plain, stretched = (_angles(config, each) for each in (None, scaling))
    return plain / stretched


def _llama3(file: GGUFFile, config: ModelConfig, *, told: int) -> RopeScaling | None:
    """The scaling of which a file's factors are the outcome; none where all are 1."""
    found = read_tensor(file, ROPE_FACTORS)
    if found.shape != (config.head_dim // 2,) or not bool((found > 0).all()):
        raise CheckpointError(
            f"{file.path} is damaged: {ROPE_FACTORS} has the shape {tuple(found.shape)}, or "
            f"numbers that nothing can be divided by"
        )
    factor = float(found.max())
    if torch.allclose(found, torch.ones_like(found)):
        return None
    for scaling in _candidates(factor, told=told):
        if torch.allclose(llama3_factors(config, scaling), found, rtol=_EQUAL, atol=0.0):
            return scaling
    raise CheckpointError(
        f"{file.path} stretches its rotary positions by {ROPE_FACTORS}, factors from "
        f"{float(found.min()):g} to {factor:g} that do not follow Llama 3's rule, the only one "
        f"cloche has"
    )


def _candidates(factor: float, *, told: int) -> Iterator[RopeScaling]:
    """Scalings with that factor: as Llama 3's files have it first, then what else may be.

    The original context is not always in the file, and need not be: where two give the same
    factors, they give the same model.
    """
    contexts = dict.fromkeys((8192, told, *(2**power for power in range(8, 22))))
    for original in contexts:
        yield RopeScaling("llama3", float(f"{factor:.6g}"), original_context=original)


def _angles(config: ModelConfig, scaling: RopeScaling | None) -> Float[Tensor, " half"]:
    """How far each pair of numbers is turned at position 1, which is its frequency."""
    first = torch.ones((1, 1), dtype=torch.long)
    cosines, sines = rotary_tables(first, config.head_dim, theta=config.rope_theta, scaling=scaling)
    return torch.atan2(sines, cosines).flatten()


def _sharpening(factor: float) -> float:
    """What YaRN multiplies cosines and sines with by itself."""
    return 0.1 * math.log(factor) + 1.0 if factor > 1.0 else 1.0
