"""Less memory for more arithmetic: what a block computed is not kept but computed again.

Only each block's input stays until the backward pass comes back to it. The result is the same,
number for number, dropout included. Source: Chen et al. 2016, https://arxiv.org/abs/1604.06174
"""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_blocks(model: nn.Module, *, dropout: float) -> None:
    """Have every block of the model's stacks run twice in training, to keep no activations."""
    for stack in model.modules():
        if not isinstance(stack, nn.ModuleList):
            continue
        for block in stack:
            if hasattr(block, "self_attn"):
                block.forward = partial(
                    checkpoint,
                    block.forward,
                    use_reentrant=False,
                    preserve_rng_state=dropout > 0,  # the same numbers are dropped again
                )
