"""The options of PPO. Loads no torch."""

from dataclasses import dataclass, field

from cloche.alignment.policy_options import PolicyOptions, clip_problems
from cloche.alignment.rewards import reward_problems


@dataclass(frozen=True)
class ProximalOptions:
    """How PPO learns from its answers."""

    answers: int = 1
    """Answers to each prompt of a round. A step that has several of one prompt reads it once."""
    epochs: int = 2
    """Times each answer is learned from."""
    kl: float = 0.05
    """What a nat of divergence from the reference costs, at each token, in rewards."""
    kl_target: float | None = None
    """Nats an answer that the cost is moved to keep the divergence at; it stays where None."""
    kl_horizon: int = 10_000
    """Answers over which the cost may change by about a fifth."""
    discount: float = 1.0
    """What a reward one token later is worth."""
    trace: float = 0.95
    """Lambda of the advantages: 0 trusts the value model, 1 the rewards alone."""
    clip_low: float = 0.2
    """A token's probability may fall by this share in a round before its loss is flat."""
    clip_high: float = 0.2
    """And rise by this."""
    value_clip: float = 0.2
    """How far a value may move in a round before its loss is flat; inf for no bound."""
    value_weight: float = 0.1
    """Of the value model's loss, beside the policy's."""
    entropy: float = 0.0
    """What a nat of entropy is worth, at each token."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = [
            f"align.{name} must be at least 1, got {value}"
            for name in ("answers", "epochs")
            if (value := getattr(self, name)) < 1
        ]
        for name in ("discount", "trace"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                found.append(f"align.{name} must be from 0 to 1, got {value}")
        for name in ("value_clip", "value_weight"):
            if not (value := getattr(self, name)) > 0:
                found.append(f"align.{name.replace('_', '-')} must be above 0, got {value}")
        return (
            found + self._kl_problems() + clip_problems(self.clip_low, self.clip_high, kl=self.kl)
        )

    def _kl_problems(self) -> list[str]:
        found = []
        if self.kl_target is not None and not self.kl_target > 0:
            found.append(f"align.kl-target must be above 0, got {self.kl_target}")
        if self.kl_target is not None and self.kl == 0:
            found.append("align.kl 0 stays 0 whatever align.kl-target is: give it a value to begin")
        if self.kl_horizon < 1:
            found.append(f"align.kl-horizon must be at least 1, got {self.kl_horizon}")
        if self.kl_target is None and self.kl_horizon != ProximalOptions.kl_horizon:
            found.append("align.kl-horizon is for a cost that moves: give align.kl-target, too")
        return found


@dataclass(frozen=True)
class PpoOptions(PolicyOptions):
    """Everything a PPO run is made of; stored, complete, as its config.toml."""

    kind: str = "ppo"
    reward_model: str = ""
    """A run of cloche align reward, or a Hugging Face folder that scores, in place of functions."""
    align: ProximalOptions = field(default_factory=ProximalOptions)

    def problems(self) -> list[str]:
        """What contradicts between the sections, and each section's own problems."""
        found = self.policy_problems([self.align])
        if bool(self.reward) == bool(self.reward_model):
            found.append("say who judges: either --reward-model RM, or --reward NAME")
        if self.method.method == "qlora":
            found.append(
                "PPO's value model begins as a copy of the policy, in whole numbers: give --lora "
                "in place of qlora"
            )
        return found + reward_problems(self.reward) + reward_problems(self.truth)
