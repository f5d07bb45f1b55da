"""Logits held against those of transformers."""

import torch
from torch import nn

WINDOW_SEED = 7


def assert_equal_logits(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    """Within 1e-4 of each value plus 1e-4 of the root mean square."""
    scale = theirs.pow(2).mean().sqrt().item()
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * scale)


def assert_equal_models(mine: nn.Module, theirs: nn.Module, *, vocab_size: int, time: int) -> None:
    """Equal logits for a random window of two rows."""
    generator = torch.Generator().manual_seed(WINDOW_SEED)
    window = torch.randint(vocab_size, (2, time), generator=generator)
    with torch.no_grad():
        assert_equal_logits(mine.eval()(window), theirs.eval()(window).logits)
