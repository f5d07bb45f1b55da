"""GRPO: several answers to each prompt, and each compared with the others.

Source: Shao et al. 2024, https://arxiv.org/abs/2402.03300
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloche.alignment.advantages import RewardScale, group_advantages, undecided_groups
from cloche.alignment.policy_evaluation import policy_of
from cloche.alignment.policy_losses import (
    LossType,
    group_policy_losses,
    loss_count,
    share_clipped,
    weighed_sum,
)
from cloche.alignment.policy_options import PolicyOptions
from cloche.alignment.policy_training import (
    PolicyTraining,
    StateTogether,
    policy_card,
    prepare_policy,
)
from cloche.alignment.preference_logprobs import learned_tokens
from cloche.alignment.rewards import reward_problems
from cloche.alignment.rollouts import token_scores
from cloche.alignment.rollouts_rounds import AnswerTokens, RolloutBatch, Round, Rounds
from cloche.data.batches import IGNORED, Batch
from cloche.training.events import Listener
from cloche.training.objectives import Losses, Term
from cloche.training.start import TrainedRun
from cloche.tuning.session import Telling, Tuning, asked_options, run_tuning
from cloche.tuning.start import default_folder


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


@dataclass(frozen=True)
class GroupObjective:
    """GRPO's loss: term `policy`; and, where it is worth something, minus the entropy.

    The term `tokens` is nothing but their number, which the speed is told by.
    """

    align: GroupOptions
    max_tokens: int
    temperature: float

    def counts(self, batch: Batch) -> dict[str, int]:
        """What each term is divided by."""
        assert isinstance(batch, RolloutBatch), "a policy learns from its answers"
        tokens = int((batch.targets != IGNORED).sum())
        policy = loss_count(tokens=tokens, answers=batch.count, loss_type=self.align.loss_type)
        found = {"policy": policy, "tokens": tokens}
        return found | {"entropy": tokens} if self.align.entropy else found

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed loss of the answers; the divergence, entropy and share clipped as metrics."""
        assert isinstance(batch, RolloutBatch), "a policy learns from its answers"
        assert batch.documents is not None, "answers are numbered"
        align, policy = self.align, policy_of(model)
        hidden = policy.hidden(batch.inputs, positions=batch.positions, documents=batch.documents)
        scored = learned_tokens(policy, hidden, batch.targets, temperature=self.temperature)
        clips = {"clip_low": align.clip_low, "clip_high": align.clip_high}
        losses = group_policy_losses(
            scored.logprobs,
            batch.old_logprobs,
            batch.advantages,
            batch.reference_logprobs,
            kl_cost=align.kl,
            **clips,
        )
        total = weighed_sum(
            losses,
            batch.documents[batch.targets != IGNORED],
            answers=batch.count,
            max_tokens=self.max_tokens,
            loss_type=align.loss_type,
        )
        counts = self.counts(batch)
        terms = {
            "policy": Term(total, counts["policy"]),
            "tokens": Term(total.new_zeros(()), counts["tokens"], weight=0.0),
        }
        if align.entropy:
            terms["entropy"] = Term(scored.entropy.sum(), counts["entropy"], weight=-align.entropy)
        logprobs = scored.logprobs.detach()
        metrics = {
            **batch.told,
            "train/kl": float((logprobs - batch.reference_logprobs).sum()) / batch.count,
            "train/entropy": float(scored.entropy.detach().mean()),
            "train/clipped": share_clipped(logprobs, batch.old_logprobs, batch.advantages, **clips),
        }
        return Losses(terms, metrics)


def align_grpo(
    base: str | Path,
    *sources: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | GrpoOptions | None = None,
    listeners: Sequence[Listener] | None = None,
) -> TrainedRun:
    """Let a model learn from rewards for its own answers, by GRPO, into a run folder.

    `base` is a run, a checkpoint or a Hugging Face folder; `sources` are files of prompts, whose
    other fields the rewards are given. `options` are dotted names (`{"reward": ["exact"],
    "align.group": 8}`) or a complete tree. `listeners` are told what happens; when not given, it
    is shown on standard error. With `resume`, the run in `out` goes on where it was, byte for byte.
    Raises ClocheError where something cannot be used.
    """
    run = Path(out) if out is not None else default_folder(base, ending="grpo")
    asked = asked_options(run, GrpoOptions(), options, resume=resume)
    asked = replace(
        asked,
        base=str(base) or asked.base,
        sources=tuple(map(str, sources)) or asked.sources,
    )
    with ExitStack() as closing:
        prepare = partial(_prepare, closing=closing)
        return run_tuning(run, asked, resume=resume, listeners=listeners, prepare=prepare)


def _prepare(options: GrpoOptions, telling: Telling, *, closing: ExitStack) -> Tuning:
    align, rollout = options.align, options.rollout
    training = prepare_policy(
        options,
        telling,
        closing,
        judge=None,
        group=align.group,
        epochs=align.epochs,
        batch=rollout.prompts * align.group,
        keep_start=False,
    )
    train = training.train
    options = replace(options, train=train)
    compute = training.trainee.compute(train)
    policy = policy_of(compute.model)
    rounds = Rounds(
        partial(make_group_round, training, policy, options),
        training.plan,
        seed=train.seed,
        accumulate=train.accumulate,
    )
    evaluation = training.evaluation(
        penalty=rollout.missing_stop_penalty, step=lambda: rounds.steps_done
    )
    return Tuning(
        options=options,
        steps=train.steps or 1,
        compute=compute,
        objective=GroupObjective(align, rollout.max_tokens, rollout.temperature),
        batches=rounds,
        evaluate=evaluation,
        snapshot=lambda: training.trainee.snapshot(compute),
        read_trained=training.trainee.read_trained,
        belongs_to=training.belongs_to(options),
        card=partial(policy_card, training, options),
        write_sample=training.write_sample(policy),
        extra=StateTogether({"rounds": rounds, "watch": evaluation.watch}),
    )


def make_group_round(
    training: PolicyTraining, policy: nn.Module, options: GrpoOptions, number: int
) -> Round:
    """The answers of a round with their advantages: a function of the weights, seed and number."""
    align, rollout = options.align, options.rollout
    decoder = policy_of(policy)
    written = training.write_round(decoder, number, prompts=rollout.prompts, count=align.group)
    rewards, told = training.judged(written, penalty=rollout.missing_stop_penalty)
    examples = tuple(answer.example() for answer in written.answers)
    temperature = rollout.temperature
    old = token_scores(decoder, examples, temperature=temperature).logprobs
    reference = training.reference.logprobs(decoder, examples, temperature=temperature)
    values = torch.tensor(rewards)
    above = group_advantages(values, group=align.group, scale=align.scale)
    lengths = torch.tensor([len(answer.ids) for answer in written.answers])
    nothing = torch.zeros_like(old)
    told["train/undecided"] = undecided_groups(values, group=align.group)
    return Round(
        number,
        examples,
        AnswerTokens(
            old_logprobs=old,
            reference_logprobs=reference,
            advantages=above.repeat_interleave(lengths),
            returns=nothing,
            old_values=nothing,
        ),
        told,
    )
