"""The factor that keeps gradients in float16's range.

float16 has no numbers below 6e-8, where many gradients lie. The loss is multiplied before the
backward pass and the gradients divided after it; where one became infinite the factor was too
large, the step is left out and the factor halved. After many good steps it is doubled.

Source: Micikevicius et al. 2017, section 3.2, https://arxiv.org/abs/1710.03740; the numbers are
those of torch.amp.GradScaler.
"""

from dataclasses import dataclass

GROWTH_STEPS = 2_000
SMALLEST = 2.0**-14
LARGEST = 2.0**127  # the next would not be a float32


@dataclass
class LossScale:
    """The factor, and how long it has held; part of a run's state."""

    factor: float = 2.0**16
    good_steps: int = 0

    def hold(self) -> None:
        """A step was good."""
        self.good_steps += 1
        if self.good_steps == GROWTH_STEPS:
            self.factor = min(2.0 * self.factor, LARGEST)
            self.good_steps = 0

    def shrink(self) -> bool:
        """A gradient was infinite; whether a smaller factor can still help."""
        self.factor /= 2.0
        self.good_steps = 0
        return self.factor >= SMALLEST
