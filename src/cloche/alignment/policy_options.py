"""The options that PPO and GRPO share. Loads no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cloche.training.options import TrainOptions
from cloche.tuning.options import LoraOptions, MethodOptions, TuneDataOptions, method_problems

LossType = Literal["dapo", "grpo", "bnpo", "dr_grpo"]
"""How GRPO weighs tokens: see `policy_losses.weighed_sum`."""
RewardScale = Literal["group", "round", "none"]
"""By which standard deviation GRPO divides: see `advantages.group_advantages`."""
KLWeighting = Literal["ratio", "plain"]
"""How GRPO's divergence is weighed: see `policy_losses.group_policy_losses`."""
USUAL_POLICY_TRAIN = TrainOptions(
    optimizer="adamw", weight_decay=0.0, schedule="constant", warmup=0.02, eval_first=True
)
"""A policy learns from what it wrote itself, for as long as it is let: the rate stays."""
POLICY_RATES = {"full": 1e-5, "lora": 1e-4, "qlora": 1e-4}
FEWEST_ROUNDS = 50
"""Where no number of steps is given: so many rounds, or as many as ask every prompt once."""


@dataclass(frozen=True)
class RolloutOptions:
    """How answers are written and judged."""

    prompts: int = 16
    """Prompts that are answered in each round, before the policy learns from the answers."""
    max_tokens: int = 64
    """Longest answer in tokens."""
    temperature: float = 1.0
    """Of the sampling; the policy that learns is the one at this temperature."""
    missing_stop_penalty: float = 0.0
    """Taken from the reward of an answer that did not end within its tokens."""
    reward_seconds: float = 10.0
    """What a reward function of your own may take for an answer."""
    held_out: int = 64
    """Held-out prompts that are answered at each evaluation, at most."""
    template: str = ""
    """chatml, brief, alpaca, or a Jinja file; when not given the model's own, else chatml."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = [
            f"rollout.{name.replace('_', '-')} must be at least 1, got {value}"
            for name in ("prompts", "max_tokens", "held_out")
            if (value := getattr(self, name)) < 1
        ]
        found += [
            f"rollout.{name.replace('_', '-')} must be above 0, got {value}"
            for name in ("temperature", "reward_seconds")
            if not (value := getattr(self, name)) > 0
        ]
        if not self.missing_stop_penalty >= 0:
            found.append(
                "rollout.missing-stop-penalty is taken from the reward and must not be negative, "
                f"got {self.missing_stop_penalty}"
            )
        return found


@dataclass(frozen=True)
class PolicyOptions:
    """What PPO and GRPO have in common; each adds its own section `align`."""

    kind: str = ""
    base: str = ""
    """The model that learns: a run, a checkpoint or a Hugging Face folder."""
    sources: tuple[str, ...] = ()
    """Files of prompts."""
    reward: tuple[str, ...] = ()
    """Reward functions: exact, format, length, stories, arithmetic, or one of your own as
    FILE.py:FUNCTION or package.module:FUNCTION; NAME=OPTION and NAME@WEIGHT."""
    truth: tuple[str, ...] = ()
    """Functions, written likewise, that say how good held-out answers really are: nothing is
    learned from them."""
    rollout: RolloutOptions = field(default_factory=RolloutOptions)
    method: MethodOptions = field(default_factory=MethodOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    data: TuneDataOptions = field(default_factory=lambda: TuneDataOptions(split=(0.9, 0.1)))
    train: TrainOptions = USUAL_POLICY_TRAIN

    def policy_problems(self, sections: Sequence[Any]) -> list[str]:
        """What contradicts between the sections, and each section's own problems."""
        found = method_problems(self.method, self.lora, self.train)
        if self.lora.dropout:
            found.append(
                "lora.dropout would make the policy that learns another than the one that "
                "answered: leave it out"
            )
        usual = TrainOptions()
        found += [
            f"train.{name.replace('_', '-')} is for cross-entropy, and a policy learns from "
            "rewards: leave it out"
            for name in ("label_smoothing", "label_smoothing_over", "z_loss")
            if getattr(self.train, name) != getattr(usual, name)
        ]
        for section in (self.rollout, self.method, self.lora, self.data, self.train, *sections):
            found.extend(section.problems())
        return found


@dataclass(frozen=True)
class RoundPlan:
    """How the answers of a round become optimizer steps."""

    answers: int
    """Of a round."""
    batch: int
    """Answers in one step."""
    epochs: int
    """Times each answer is learned from."""

    @property
    def steps(self) -> int:
        """Optimizer steps of a round."""
        return self.epochs * self.answers // self.batch

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        if self.batch > self.answers or self.answers % self.batch:
            return [
                f"train.batch {self.batch} must divide the {self.answers} answers of a round "
                "(rollout.prompts times the answers to each)"
            ]
        return []


def clip_problems(low: float, high: float, *, kl: float) -> list[str]:
    """What cannot be used of the bounds of a ratio and of a divergence's cost."""
    found = []
    if not 0 < low < 1:
        found.append(f"align.clip-low must be above 0 and below 1, got {low}")
    if not high > 0:
        found.append(f"align.clip-high must be above 0, got {high}")
    if not kl >= 0:
        found.append(f"align.kl must not be negative, got {kl}")
    return found
