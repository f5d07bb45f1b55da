"""Where a training stands: all that the loop needs to go on, besides weights and optimizer."""

from dataclasses import asdict, dataclass
from typing import Any

from cloche.training.loss_scale import LossScale
from cloche.training.schedule import Plan


@dataclass
class LoopState:
    """The loop's own numbers; stored in each checkpoint as trainer/state.json."""

    plan: Plan
    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Targets learned from."""
    seconds: float = 0.0
    """Time used, all sittings together, up to the last checkpoint or step."""
    best_loss: float | None = None
    """Lowest validation loss so far, in nats a token."""
    best_step: int | None = None
    evaluated_step: int | None = None
    """Step of the last evaluation."""
    stale: int = 0
    """Evaluations since the lowest validation loss."""
    skipped: int = 0
    """Steps in a row, up to now, that were left out because a number broke."""
    loss_scale: LossScale | None = None
    """Of a training in float16."""

    def to_values(self) -> dict[str, Any]:
        """The state as JSON values."""
        plan = self.plan
        return {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "evaluated_step": self.evaluated_step,
            "stale": self.stale,
            "skipped": self.skipped,
            "loss_scale": None if self.loss_scale is None else asdict(self.loss_scale),
            "plan": {
                "steps": plan.steps,
                "from_step": plan.from_step,
                "from_progress": plan.from_progress,
            },
        }

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "LoopState":
        """The state that `to_values` gave."""
        scale = values.get("loss_scale")
        return cls(
            **{
                **values,
                "plan": Plan(**values["plan"]),
                "loss_scale": None if scale is None else LossScale(**scale),
            }
        )
