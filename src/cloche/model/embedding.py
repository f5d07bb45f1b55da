"""A table of vectors, one for each token or position."""

from torch import nn


class Embedding(nn.Embedding):
    """PyTorch's own, that draws no random numbers where its table has no memory.

    A model that is opened is first built without memory, on the meta device. There PyTorch would
    load its compiler to draw the numbers of an embedding, which takes longer than to read a model.
    """

    def reset_parameters(self) -> None:
        """Draw the table, where there is one."""
        if not self.weight.is_meta:
            super().reset_parameters()
