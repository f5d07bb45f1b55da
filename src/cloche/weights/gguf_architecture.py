"""Which of llama.cpp's architectures computes exactly a model of ours, if one does."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.build import Network
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.model.rope import RopeScaling
from cloche.weights.expressing import express as express_for_hugging_face
from cloche.weights.gguf_names import Architecture


@dataclass(frozen=True, eq=False)
class Expressed:
    """A model as one of llama.cpp's architectures has it; it computes the same."""

    architecture: Architecture
    config: ModelConfig
    weights: Mapping[str, Tensor]
    """By our names; with zeros for biases that the model itself does not have."""


def express(model: Network, config: ModelConfig) -> Expressed:
    """The model as llama.cpp computes it. Raises CheckpointError with all reasons why it cannot."""
    if not isinstance(model, Decoder):
        raise CheckpointError(
            f"a model of the family {config.family} cannot be exported to GGUF: llama.cpp has no "
            f"architecture that computes it. Export the run as it is, or train one of the families "
            f"qwen3, llama, moe, gpt2 or gpt"
        )
    rotary = config.positions == "rotary"
    reasons = _rotary_reasons(config) if rotary else _gpt2_reasons(config)
    if config.head_bias:
        reasons.append("its output head has a bias (model.head-bias)")
    windowed = config.full_layers < config.layers and (config.window or config.context)
    if windowed and windowed < config.context:
        reasons.append(f"its attention reaches back {windowed} tokens (model.window)")
    if reasons:
        raise CheckpointError(
            f"llama.cpp has no architecture that computes this model of the family "
            f"{config.family}: {'; '.join(reasons)}. Train one without that; a Hugging Face "
            f"folder can express some of it (--to hf tells)"
        )
    if rotary:
        return Expressed(_rotary_architecture(config), config, model.state_dict())
    return _as_gpt2(model, config)


def _rotary_architecture(config: ModelConfig) -> Architecture:
    if config.experts:
        return "qwen3moe"
    if config.qk_norm:
        return "qwen3"
    return "qwen2" if config.qkv_bias and not config.output_bias else "llama"


def _rotary_reasons(config: ModelConfig) -> list[str]:
    found = []
    if config.norm != "rmsnorm":
        found.append(f"it has rotary positions with {config.norm}")
    if config.activation != "swiglu":
        found.append(f"it has rotary positions with the activation {config.activation}")
    architecture = _rotary_architecture(config)
    biased = config.qkv_bias or config.output_bias or config.mlp_bias
    if config.qk_norm and biased:
        found.append("it has biases beside normalised queries and keys")
    if architecture == "llama" and config.output_bias != config.qkv_bias:
        found.append("its attention has a bias at its output alone")
    if architecture == "qwen2" and config.mlp_bias:
        found.append("its MLP and its queries have biases, its attention's output has none")
    if config.experts and not config.qk_norm:
        found.append("it has experts, and queries and keys that are not normalised")
    if config.experts and not config.normalised_experts:
        found.append("the weights of its experts are not made to sum to 1")
    scaling = config.rope_scaling
    if scaling and scaling.kind == "llama3" and architecture != "llama":
        found.append(f"it stretches positions by Llama 3's rule, which {architecture} has not")
    betas = (RopeScaling.beta_fast, RopeScaling.beta_slow)
    if scaling and scaling.kind == "yarn" and (scaling.beta_fast, scaling.beta_slow) != betas:
        # There are keys for others, which llama.cpp does not heed in these architectures.
        found.append(f"its YaRN has the ends {scaling.beta_fast:g} and {scaling.beta_slow:g}")
    return found


def _gpt2_reasons(config: ModelConfig) -> list[str]:
    found = []
    if config.norm != "layernorm":
        found.append(f"it has {config.positions} positions with {config.norm}")
    if config.activation != "gelu_tanh":
        found.append(
            f"its activation is {config.activation}; llama.cpp's gpt2 has gelu_tanh alone "
            f"(model.activation)"
        )
    if config.qk_norm:
        found.append("its queries and keys are normalised")
    if config.heads * config.head_dim != config.width:
        found.append(f"its heads are {config.heads * config.head_dim} wide, not {config.width}")
    if config.experts:
        found.append("it has experts without rotary positions")
    return found


def _as_gpt2(model: Decoder, config: ModelConfig) -> Expressed:
    """The same with zeros for biases, a table of positions and a key for every head, as the class
    GPT-2 has it everywhere."""
    same = express_for_hugging_face(model, config)
    return Expressed("gpt2", replace(same.config, family="gpt2"), same.tensors)
