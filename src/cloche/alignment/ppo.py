"""PPO: each token is compared with what the value model expected before it.

Sources: Schulman et al. 2017, https://arxiv.org/abs/1707.06347; for language models Ziegler et al.
2019, https://arxiv.org/abs/1909.08593, and Ouyang et al. 2022, https://arxiv.org/abs/2203.02155
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cloche.alignment.advantages import generalised_advantages, whitened
from cloche.alignment.kl import KLCost, k1
from cloche.alignment.policy_evaluation import policy_of
from cloche.alignment.policy_losses import (
    clipped_policy_losses,
    clipped_value_losses,
    share_clipped,
)
from cloche.alignment.policy_training import (
    PolicyTraining,
    StateTogether,
    policy_card,
    prepare_policy,
)
from cloche.alignment.ppo_model import (
    STATE,
    ActorCritic,
    ValueState,
    make_value,
    read_both,
    snapshot_policy,
    value_of,
)
from cloche.alignment.ppo_options import PpoOptions, ProximalOptions
from cloche.alignment.preference_logprobs import learned_tokens
from cloche.alignment.rewards_model import RewardModel, open_reward_model
from cloche.alignment.rollouts import batch_values, token_scores, token_values
from cloche.alignment.rollouts_rounds import AnswerTokens, RolloutBatch, Round, Rounds
from cloche.data.batches import IGNORED, Batch
from cloche.training.events import Listener
from cloche.training.machine import find_device
from cloche.training.objectives import Losses, Term
from cloche.training.start import TrainedRun
from cloche.tuning.options import with_alpha
from cloche.tuning.session import Telling, Tuning, asked_options, run_tuning
from cloche.tuning.start import default_folder


@dataclass(frozen=True)
class ProximalObjective:
    """PPO's losses: terms `policy` and `value`; and, where it is worth something, minus the
    entropy. All are means over tokens.
    """

    align: ProximalOptions
    temperature: float

    def counts(self, batch: Batch) -> dict[str, int]:
        """The number of learned tokens, for each term."""
        tokens = int((batch.targets != IGNORED).sum())
        names = ["policy", "value", *(["entropy"] if self.align.entropy else [])]
        return dict.fromkeys(names, tokens)

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed losses of the answers; divergence, entropy and share clipped as metrics."""
        assert isinstance(batch, RolloutBatch), "a policy learns from its answers"
        align, policy = self.align, policy_of(model)
        hidden = policy.hidden(batch.inputs, positions=batch.positions, documents=batch.documents)
        scored = learned_tokens(policy, hidden, batch.targets, temperature=self.temperature)
        values = batch_values(value_of(model), batch)
        clips = {"clip_low": align.clip_low, "clip_high": align.clip_high}
        losses = clipped_policy_losses(
            scored.logprobs, batch.old_logprobs, batch.advantages, **clips
        )
        errors = clipped_value_losses(
            values, batch.old_values, batch.returns, clip=align.value_clip
        )
        tokens = len(losses)
        terms = {
            "policy": Term(losses.sum(), tokens),
            "value": Term(errors.sum(), tokens, weight=align.value_weight),
        }
        if align.entropy:
            terms["entropy"] = Term(scored.entropy.sum(), tokens, weight=-align.entropy)
        logprobs = scored.logprobs.detach()
        metrics = {
            **batch.told,
            "train/kl": float((logprobs - batch.reference_logprobs).sum()) / batch.count,
            "train/entropy": float(scored.entropy.detach().mean()),
            "train/clipped": share_clipped(logprobs, batch.old_logprobs, batch.advantages, **clips),
            "train/value_error": float((values.detach() - batch.returns).square().mean()),
        }
        return Losses(terms, metrics)


def align_ppo(
    base: str | Path,
    *sources: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | PpoOptions | None = None,
    listeners: Sequence[Listener] | None = None,
) -> TrainedRun:
    """Let a model learn from rewards for its own answers, by PPO, into a run folder.

    `options` names a reward model (`{"reward_model": "runs/rm"}`) or functions (`{"reward":
    ["exact"]}`); all else is as for `align_grpo`.
    """
    run = Path(out) if out is not None else default_folder(base, ending="ppo")
    asked = asked_options(run, PpoOptions(), options, resume=resume)
    asked = replace(
        asked,
        base=str(base) or asked.base,
        sources=tuple(map(str, sources)) or asked.sources,
    )
    with ExitStack() as closing:
        prepare = partial(_prepare, closing=closing)
        return run_tuning(run, asked, resume=resume, listeners=listeners, prepare=prepare)


def _prepare(options: PpoOptions, telling: Telling, *, closing: ExitStack) -> Tuning:
    align, rollout = options.align, options.rollout
    reward_model = _open_reward_model(options, telling)
    training = prepare_policy(
        options,
        telling,
        closing,
        judge=reward_model,
        group=align.answers,
        epochs=align.epochs,
        batch=rollout.prompts * align.answers,
        keep_start=True,
    )
    train = training.train
    options = replace(options, train=train, lora=with_alpha(options.method, options.lora))
    assert training.start is not None, "kept for the value model"
    value = make_value(
        training.start,
        reward_model,
        fingerprint=training.base.tokenizer.fingerprint,
        method=options.method,
        lora=options.lora,
        train=train,
    )
    both = ActorCritic(training.trainee.network, value)
    compute = training.trainee.compute(train, model=both)
    cost = KLCost(align.kl, target=align.kl_target, horizon=align.kl_horizon)
    rounds = Rounds(
        partial(make_proximal_round, training, compute.model, options, cost),
        training.plan,
        seed=train.seed,
        accumulate=train.accumulate,
    )
    evaluation = training.evaluation(
        penalty=rollout.missing_stop_penalty, step=lambda: rounds.steps_done
    )
    judge = {} if reward_model is None else {"reward model": reward_model.hash}
    return Tuning(
        options=options,
        steps=train.steps or 1,
        compute=compute,
        objective=ProximalObjective(align, rollout.temperature),
        batches=rounds,
        evaluate=evaluation,
        snapshot=lambda: snapshot_policy(training, compute),
        read_trained=partial(read_both, training.trainee.read_trained),
        belongs_to=training.belongs_to(options) | judge,
        card=partial(policy_card, training, options),
        write_sample=training.write_sample(policy_of(compute.model)),
        loss_unit=None,
        extra=StateTogether(
            {
                "rounds": rounds,
                "watch": evaluation.watch,
                "cost": cost,
                STATE: ValueState(compute),
            }
        ),
    )


def _open_reward_model(options: PpoOptions, telling: Telling) -> RewardModel | None:
    if not options.reward_model:
        return None
    device = find_device(options.train.device)
    return open_reward_model(options.reward_model, device=device, warn=telling.warn)


def make_proximal_round(
    training: PolicyTraining, model: nn.Module, options: PpoOptions, cost: KLCost, number: int
) -> Round:
    """The answers of a round with their advantages and returns; the cost of divergence moves."""
    align, rollout = options.align, options.rollout
    policy = policy_of(model)
    written = training.write_round(policy, number, prompts=rollout.prompts, count=align.answers)
    scores, told = training.judged(written, penalty=rollout.missing_stop_penalty)
    examples = tuple(answer.example() for answer in written.answers)
    temperature = rollout.temperature
    old = token_scores(policy, examples, temperature=temperature).logprobs
    reference = training.reference.logprobs(policy, examples, temperature=temperature)
    values = token_values(value_of(model), examples)
    lengths = [len(answer.ids) for answer in written.answers]
    rewards = token_rewards(
        k1(old, reference), lengths, scores=torch.tensor(scores), kl_cost=cost.coefficient
    )
    advantages = advantages_of(rewards, values, lengths, discount=align.discount, trace=align.trace)
    divergence = float(k1(old, reference).sum()) / len(lengths)
    told["train/kl_cost"] = cost.coefficient
    told["train/round_kl"] = divergence
    cost.observe(divergence, answers=len(lengths))
    tokens = AnswerTokens(
        old_logprobs=old,
        reference_logprobs=reference,
        advantages=whitened(advantages),
        returns=advantages + values,
        old_values=values,
    )
    return Round(number, examples, tokens, told)


def token_rewards(
    divergences: Float[Tensor, " tokens"],
    lengths: Sequence[int],
    *,
    scores: Float[Tensor, " answers"],
    kl_cost: float,
) -> Float[Tensor, " tokens"]:
    """What each token is rewarded with: minus its divergence's cost, and the answer's score at its
    last token. The tokens stand answer after answer.

    Source: Ziegler et al. 2019, equation 2, https://arxiv.org/abs/1909.08593
    """
    rewards = -kl_cost * divergences
    rewards[torch.tensor(lengths).cumsum(0) - 1] += scores
    return rewards


def advantages_of(
    rewards: Float[Tensor, " tokens"],
    values: Float[Tensor, " tokens"],
    lengths: Sequence[int],
    *,
    discount: float,
    trace: float,
) -> Float[Tensor, " tokens"]:
    """The advantage of each token, of answers that stand behind one another."""
    padded = [
        pad_sequence(list(numbers.split(list(lengths))), batch_first=True)
        for numbers in (rewards, values, torch.ones_like(values))
    ]
    written = padded[2] > 0
    found = generalised_advantages(padded[0], padded[1], written, discount=discount, trace=trace)
    return found[written]
