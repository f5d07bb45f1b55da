"""How a model knows the order of its tokens: turned queries and keys, or vectors that are added.

Tables are computed from the positions in float32 at every forward: nothing is stored, so a model
converted to bfloat16 keeps exact angles. (Learned positions are an `nn.Embedding` of the decoder.)
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def sinusoidal_positions(
    positions: Int[Tensor, "batch time"], dim: int
) -> Float[Tensor, "batch time dim"]:
    """A vector for each position: sines in even columns, cosines in odd ones, in float32.

    Columns 2i and 2i + 1 turn once in 2 pi 10000^(2i / dim) positions.

    Source: Vaswani et al. 2017, section 3.5, https://arxiv.org/abs/1706.03762
    """
    angles = _angles(positions, dim=dim, theta=10_000.0)
    waves = torch.stack((angles.sin(), angles.cos()), dim=-1)  # sine and cosine side by side
    return waves.flatten(-2)[..., :dim]


def rotary_tables(
    positions: Int[Tensor, "batch time"], head_dim: int, *, theta: float
) -> tuple[Float[Tensor, "batch 1 time half"], Float[Tensor, "batch 1 time half"]]:
    """Cosines and sines that `rotate` needs, in float32; the 1 stands for all heads.

    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864
    """
    angles = _angles(positions, dim=head_dim, theta=theta)[:, None]
    return angles.cos(), angles.sin()


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


def _angles(
    positions: Int[Tensor, "batch time"], *, dim: int, theta: float
) -> Float[Tensor, "batch time half"]:
    exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device) / dim
    frequencies = 1.0 / theta**exponents
    return positions[..., None].float() * frequencies
