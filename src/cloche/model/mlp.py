"""The part of a block that thinks about each token by itself."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cloche.model.config import Activation, ModelConfig


class MLP(nn.Module):
    """Widen, apply a nonlinearity, narrow again: the MLP of the textbooks' GPT."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activate = _activation(config.activation)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)

    def forward(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """What is added to the residual stream."""
        return self.down_proj(self.activate(self.up_proj(hidden)))


class GatedMLP(nn.Module):
    """SwiGLU: one widened copy, passed through SiLU, scales the other number by number.

    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)

    def forward(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """What is added to the residual stream."""
        return self.down_proj(functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


def build_mlp(config: ModelConfig) -> nn.Module:
    """The MLP that the configuration's activation asks for."""
    return GatedMLP(config) if config.activation == "swiglu" else MLP(config)


def _activation(kind: Activation) -> Callable[[Tensor], Tensor]:
    if kind == "relu":
        return functional.relu
    if kind == "gelu":
        return functional.gelu
    assert kind == "gelu_tanh", f"no MLP without a gate for activation {kind}"
    return _gelu_tanh


def _gelu_tanh(hidden: Tensor) -> Tensor:
    """GPT-2's GELU, by tanh: Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415"""
    return functional.gelu(hidden, approximate="tanh")
