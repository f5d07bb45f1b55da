"""The options of GRPO. Loads no torch."""

from dataclasses import dataclass, field

from cloche.alignment.policy_options import (
    KLWeighting,
    LossType,
    PolicyOptions,
    RewardScale,
    clip_problems,
)
from cloche.alignment.rewards import reward_problems


@dataclass(frozen=True)
class GroupOptions:
    """How GRPO learns from groups of answers."""

    group: int = 8
    """Answers to each prompt, which are compared with each other."""
    loss_type: LossType = "dapo"
    """dapo: every token weighs the same. grpo: every answer does. dr_grpo: every token, divided by
    the longest length. bnpo: as dapo, of which TRL's differs in how parts of a step are weighed."""
    scale: RewardScale = "group"
    """Divide advantages by the standard deviation of their group, of the whole round, or not."""
    epochs: int = 1
    """Times each answer is learned from."""
    kl: float = 0.04
    """What a nat of divergence from the reference costs, at each token."""
    kl_weighting: KLWeighting = "ratio"
    """ratio: weigh the divergence by how much likelier a token has become, which makes its gradient
    the right one. plain: as the paper has it."""
    clip_low: float = 0.2
    """A token's probability may fall by this share in a round before its loss is flat."""
    clip_high: float = 0.2
    """And rise by this."""
    entropy: float = 0.0
    """What a nat of entropy is worth, at each token."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if self.group < 2:
            found.append(
                f"align.group must be at least 2, got {self.group}: one answer has nothing to be "
                "compared with"
            )
        if self.epochs < 1:
            found.append(f"align.epochs must be at least 1, got {self.epochs}")
        return found + clip_problems(self.clip_low, self.clip_high, kl=self.kl)


@dataclass(frozen=True)
class GrpoOptions(PolicyOptions):
    """Everything a GRPO run is made of; stored, complete, as its config.toml."""

    kind: str = "grpo"
    align: GroupOptions = field(default_factory=GroupOptions)

    def problems(self) -> list[str]:
        """What contradicts between the sections, and each section's own problems."""
        found = self.policy_problems([self.align])
        if not self.reward:
            found.append("name what is rewarded: --reward exact, or a function of your own")
        return found + reward_problems(self.reward) + reward_problems(self.truth)
