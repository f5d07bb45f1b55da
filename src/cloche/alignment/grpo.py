"""GRPO: several answers to each prompt, and each compared with the others.

Source: Shao et al. 2024, https://arxiv.org/abs/2402.03300
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloche.alignment.advantages import group_advantages, undecided_groups
from cloche.alignment.grpo_options import GroupOptions, GrpoOptions
from cloche.alignment.policy_evaluation import policy_of
from cloche.alignment.policy_losses import (
    group_policy_losses,
    loss_count,
    share_clipped,
    weighed_sum,
)
from cloche.alignment.policy_training import (
    PolicyTraining,
    StateTogether,
    policy_card,
    prepare_policy,
)
from cloche.alignment.preference_logprobs import learned_tokens
from cloche.alignment.rollouts import token_scores
from cloche.alignment.rollouts_rounds import AnswerTokens, RolloutBatch, Round, Rounds
from cloche.data.batches import IGNORED, Batch
from cloche.training.events import Listener
from cloche.training.objectives import Losses, Term
from cloche.training.start import TrainedRun
from cloche.tuning.options import with_alpha
from cloche.tuning.session import Telling, Tuning, asked_options, run_tuning
from cloche.tuning.start import default_folder


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
            kl_weighting=align.kl_weighting,
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
    options = replace(options, train=train, lora=with_alpha(options.method, options.lora))
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
        loss_unit=None,
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
