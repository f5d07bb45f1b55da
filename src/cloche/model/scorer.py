"""A model that scores texts: a decoder, and a linear layer that reads its last hidden state.

With one label it is a reward or a value, with several the logits of classes. A token sees what
stands before it only, so the score of a text is read at its last token, which has seen all of it.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder


class Scorer(nn.Module):
    """A decoder, whose output head is not used, and the layer `score` behind it."""

    def __init__(self, decoder: Decoder, labels: int) -> None:
        super().__init__()
        assert labels >= 1, "a score has at least one number"
        self.decoder = decoder
        device = decoder.embed_tokens.weight.device
        self.score = nn.Linear(decoder.config.width, labels, bias=False, device=device)

    @property
    def config(self) -> ModelConfig:
        """The decoder's."""
        return self.decoder.config

    @property
    def labels(self) -> int:
        """How many numbers a score has."""
        return self.score.out_features

    def hidden(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """A vector for each token, as the decoder's `hidden`."""
        return self.decoder.hidden(ids, positions=positions, documents=documents)

    def score_of(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch labels"]:
        """The score that each hidden state gives, in float32: rewards are compared by small
        differences, which bfloat16 has no digits for.
        """
        return nn.functional.linear(hidden.float(), self.score.weight.float())

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        read: Bool[Tensor, "batch time"],
        positions: Int[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "examples labels"]:
        """The scores at the tokens that `read` marks: one for each example, in their order.

        Without `documents` an example is a row; with them `documents` numbers the examples.
        """
        hidden = self.hidden(ids, positions=positions, documents=documents)
        scores = self.score_of(hidden[read])
        return scores if documents is None else scores[documents[read].argsort()]


def make_scorer(decoder: Decoder, labels: int, *, seed: int) -> Scorer:
    """A scorer that takes over a decoder's tensors, and begins with a `score` drawn by `seed`.

    The spread of the new layer is 1/sqrt(width + 1), so that first scores are about as large as
    one hidden number. Source: Stiennon et al. 2020, https://arxiv.org/abs/2009.01325
    """
    config = headless(decoder.config)
    with torch.device("meta"):
        body = Decoder(config)
    tensors = {name: tensor.detach() for name, tensor in decoder.state_dict().items()}
    tensors["lm_head.weight"] = tensors["embed_tokens.weight"]
    tensors.pop("lm_head.bias", None)
    body.load_state_dict(tensors, assign=True)
    body.tie_weights()
    scorer = Scorer(body, labels)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(scorer.score.weight.shape, generator=generator)
    with torch.no_grad():
        scorer.score.weight.copy_(drawn / math.sqrt(config.width + 1))
    return scorer


def headless(config: ModelConfig) -> ModelConfig:
    """The same model with no tensor for its output head, which no score needs."""
    return replace(config, tied=True, head_bias=False)
