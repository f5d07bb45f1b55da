"""Distillation: learn from a larger model's probabilities, and not from the right tokens alone.

Source: Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cloche.data.batches import IGNORED, Batch
from cloche.errors import SettingError
from cloche.evaluation.cross_entropy import PLAIN, Scoring, summed_cross_entropy
from cloche.model.decoder import Decoder
from cloche.planning.activations import SCORED_NUMBERS
from cloche.training.objectives import Losses, Term


@dataclass(frozen=True, eq=False)
class Distillation:
    """Cross-entropy of the learned tokens, term `loss`, beside the divergence from a teacher,
    term `teacher`.

    The divergence is KL(teacher || student) at every learned place, both softened by
    `temperature` and multiplied by its square, so that the gradient keeps its size. `share` is the
    teacher's weight, the right tokens have the rest.
    """

    teacher: nn.Module
    share: float
    temperature: float = 2.0
    scoring: Scoring = PLAIN

    def counts(self, batch: Batch) -> dict[str, int]:
        """Number of learned tokens, for both terms."""
        count = int((batch.targets != IGNORED).sum())
        return {"loss": count, "teacher": count}

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """Both terms, from one reading of the batch."""
        hidden = _hidden(model, batch)
        plain = summed_cross_entropy(model, hidden, batch.targets, scoring=self.scoring)
        divergence = self.divergence(model, batch, hidden)
        counts = self.counts(batch)
        return Losses(
            {
                "loss": Term(plain, counts["loss"], 1.0 - self.share),
                "teacher": Term(divergence, counts["teacher"], self.share),
            },
            {"train/teacher_kl": float(divergence.detach()) / max(1, counts["teacher"])},
        )

    def divergence(
        self, model: nn.Module, batch: Batch, hidden: Num[Tensor, "batch time dim"]
    ) -> Float[Tensor, ""]:
        """The summed divergence from the teacher over the learned places, in nats.

        `hidden` is what the model's own `hidden` gave for the batch.
        """
        places = (batch.targets != IGNORED).flatten().nonzero()[:, 0]
        own = hidden.flatten(0, 1)[places]
        with torch.no_grad():
            taught = _hidden(self.teacher, batch).flatten(0, 1)[places]
        total = own.float().sum() * 0.0
        rows = max(1, SCORED_NUMBERS // _classes(model))
        for begin in range(0, len(places), rows):
            few = slice(begin, begin + rows)
            total = total + checkpoint(
                self._summed, model, own[few], taught[few], use_reentrant=False
            )
        return total

    def _summed(
        self, model: nn.Module, own: Num[Tensor, "rows dim"], taught: Num[Tensor, "rows teacher"]
    ) -> Float[Tensor, ""]:
        with torch.no_grad():
            aim = (_head(self.teacher, taught) / self.temperature).log_softmax(dim=-1)
        found = (_head(model, own) / self.temperature).log_softmax(dim=-1)
        return (aim.exp() * (aim - found)).sum() * self.temperature**2


def require_same_tokens(student: str, teacher: str, *, teacher_name: str) -> None:
    """SettingError where two tokenizers, by their fingerprints, are not one."""
    if student != teacher:
        raise SettingError(
            f"{teacher_name} has another tokenizer ({teacher[:12]}) than the model that learns "
            f"({student[:12]}): probabilities of other tokens teach nothing. Take a teacher of the "
            "same tokenizer"
        )


def _hidden(model: nn.Module, batch: Batch) -> Num[Tensor, "batch time dim"]:
    return model.hidden(  # pyright: ignore[reportCallIssue]  every model's contract
        batch.inputs, positions=batch.positions, documents=batch.documents
    )


def _head(model: nn.Module, hidden: Num[Tensor, "rows dim"]) -> Float[Tensor, "rows classes"]:
    return model.head(hidden).float()  # pyright: ignore[reportCallIssue]


def _classes(model: nn.Module) -> int:
    assert isinstance(model, Decoder), "a student is a decoder"
    return model.config.vocab_size
