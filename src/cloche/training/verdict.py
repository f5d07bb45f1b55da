"""What the curves of a run say, in words: did it learn all it could, or by heart?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FLAT = 0.003
"""Share of the loss by which an evaluation has to rise to count as a rise."""
LATE = 0.01
"""Share of the loss by which the second half of a run has to lower it to count as learning. Over
a half, because the last evaluations lie close together in any run whose rate comes down."""
LEAST_STEPS = 100
"""A shorter run says nothing of what a longer one would reach."""
APART = 0.10
"""Share of the validation loss by which the training part may be predicted better."""


@dataclass(frozen=True)
class Evaluation:
    """One row of the loss curve, in the unit of its training."""

    step: int
    validation: float
    training: float


@dataclass(frozen=True)
class Wording:
    """The words of a verdict that differ between kinds of training."""

    unit: str = "nats a token"
    data: str = "text"
    """What more of would help."""
    remedy: str = "--model.dropout"
    """What else helps against overfitting."""


def evaluations_in(rows: Sequence[Mapping[str, float]]) -> list[Evaluation]:
    """The evaluations among the rows of metrics.jsonl, in order, but that of an untrained model."""
    return [
        Evaluation(int(row["step"]), row["eval/loss"], row["eval/train_loss"])
        for row in rows
        if "eval/loss" in row and "eval/train_loss" in row and row["step"] > 0
    ]


def judge(evaluations: Sequence[Evaluation], wording: Wording | None = None) -> str | None:
    """A sentence or two about the whole curve; None for fewer than three evaluations."""
    if len(evaluations) < 3:
        return None
    words = wording or Wording()
    best = min(evaluations, key=lambda found: found.validation)
    last = evaluations[-1]
    gap = 1.0 - last.training / last.validation
    learned = (
        f"it ended at {last.validation:.3f} {words.unit} on the validation part and "
        f"{last.training:.3f} on the training part"
    )
    if last.validation > best.validation * (1.0 + FLAT):
        return (
            f"Overfitting: the validation loss was lowest at step {best.step} "
            f"({best.validation:.3f}) and rose again; {learned}. `best` has step {best.step}. More "
            f"{words.data}, {words.remedy} or a shorter run help."
        )
    if gap > APART:
        return (
            f"Learning by heart has begun: {learned}, {gap:.0%} lower. The validation loss has not "
            f"risen yet; more {words.data} would help more than more time."
        )
    if last.step < LEAST_STEPS:
        return f"Too short to judge by, with {last.step} steps: {learned}."
    first_half = [found for found in evaluations if found.step <= last.step / 2]
    halfway = min(found.validation for found in first_half or evaluations[:1])
    if halfway - last.validation > LATE * halfway:
        return f"Still learning: {learned}. More time would help."
    return f"It has levelled off: {learned}. A larger model or more {words.data} would help."
