"""How a model knows the order of its tokens: turned queries and keys, or vectors that are added.

Tables are computed from the positions in float32 at every forward: nothing is stored, so a model
converted to bfloat16 keeps exact angles. (Learned positions are an `nn.Embedding` of the decoder.)
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cloche.model.config import ModelConfig
from cloche.model.rope import RopeScaling


def sinusoidal_positions(
    positions: Int[Tensor, "batch time"], dim: int
) -> Float[Tensor, "batch time dim"]:
    """A vector for each position: sines in even columns, cosines in odd ones, in float32.

    Columns 2i and 2i + 1 turn once in 2 pi 10000^(2i / dim) positions.

    Source: Vaswani et al. 2017, section 3.5, https://arxiv.org/abs/1706.03762
    """
    frequencies = _frequencies(dim, theta=10_000.0, device=positions.device)
    angles = positions[..., None].float() * frequencies
    waves = torch.stack((angles.sin(), angles.cos()), dim=-1)  # sine and cosine side by side
    return waves.flatten(-2)[..., :dim]


def rotary_of(
    config: ModelConfig, positions: Int[Tensor, "batch time"], *, dtype: torch.dtype
) -> tuple[Float[Tensor, "batch 1 time half"], Float[Tensor, "batch 1 time half"]] | None:
    """The `rotary_tables` of a model, in the dtype it computes in; None where it turns nothing."""
    if config.positions != "rotary":
        return None
    cosines, sines = rotary_tables(
        positions, config.head_dim, theta=config.rope_theta, scaling=config.rope_scaling
    )
    return cosines.to(dtype), sines.to(dtype)


def rotary_tables(
    positions: Int[Tensor, "batch time"],
    head_dim: int,
    *,
    theta: float,
    scaling: RopeScaling | None = None,
) -> tuple[Float[Tensor, "batch 1 time half"], Float[Tensor, "batch 1 time half"]]:
    """Cosines and sines that `rotate` needs, in float32; the 1 stands for all heads.

    With a `scaling` the positions are stretched, see `RopeScaling`; YaRN's sharpening is a factor
    of both tables, so that queries and keys share it.

    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864
    """
    frequencies = _frequencies(head_dim, theta=theta, device=positions.device)
    sharpening = 1.0
    if scaling is not None:
        frequencies = _stretched(frequencies, scaling, theta=theta)
        sharpening = _sharpening(scaling)
    angles = (positions[..., None].float() * frequencies)[:, None]
    return angles.cos() * sharpening, angles.sin() * sharpening


def rotate(
    vectors: Float[Tensor, "batch heads time head_dim"],
    cosines: Float[Tensor, "#batch 1 time half"],
    sines: Float[Tensor, "#batch 1 time half"],
) -> Float[Tensor, "batch heads time head_dim"]:
    """The vectors turned by their positions: number i is paired with number i + head_dim / 2.

    That pairing (halves, not neighbours) is the one of Hugging Face's Qwen3 and Llama weights.
    """
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)


def _frequencies(dim: int, *, theta: float, device: torch.device) -> Float[Tensor, " half"]:
    """Radians a position, from 1 for the fastest pair of numbers down to nearly 1 / theta."""
    exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
    return 1.0 / theta**exponents


def _stretched(
    frequencies: Float[Tensor, " half"], scaling: RopeScaling, *, theta: float
) -> Float[Tensor, " half"]:
    """The frequencies after scaling: each kept, divided by the factor, or something between."""
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        kept = _kept_by_llama3(frequencies, scaling)
    else:
        kept = _kept_by_yarn(frequencies, scaling, theta=theta)
    return frequencies / scaling.factor * (1.0 - kept) + frequencies * kept


def _kept_by_llama3(
    frequencies: Float[Tensor, " half"], scaling: RopeScaling
) -> Float[Tensor, " half"]:
    """Share of each frequency that stays as it is: by its turns in the original context.

    Source: Grattafiori et al. 2024, https://arxiv.org/abs/2407.21783; the rule is that of
    https://github.com/meta-llama/llama-models
    """
    turns = scaling.original_context * frequencies / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    return ((turns - low) / (high - low)).clamp(0.0, 1.0)


def _kept_by_yarn(
    frequencies: Float[Tensor, " half"], scaling: RopeScaling, *, theta: float
) -> Float[Tensor, " half"]:
    """Share of each frequency that stays as it is: a ramp over the pairs of numbers.

    Source: Peng et al. 2023, section 3.2, https://arxiv.org/abs/2309.00071; the ends of the ramp
    are whole numbers, as in the authors' code.
    """
    half = len(frequencies)

    def pair_that_turns(times: float) -> float:
        """Which pair turns that often in the original context, as a real number."""
        return half * math.log(scaling.original_context / (times * 2 * math.pi)) / math.log(theta)

    first = max(math.floor(pair_that_turns(scaling.beta_fast)), 0)
    last = min(math.ceil(pair_that_turns(scaling.beta_slow)), 2 * half - 1)
    length = last - first or 0.001  # a step, where the ramp has no length
    places = torch.arange(half, dtype=torch.float32, device=frequencies.device)
    return 1.0 - ((places - first) / length).clamp(0.0, 1.0)


def _sharpening(scaling: RopeScaling) -> float:
    """What cosines and sines are multiplied with; its square sharpens the scores."""
    if scaling.kind != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    return 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1.0 else 1.0
