"""How well held-out preferences are met, and how far the model has gone for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cloche.alignment.kl import k3
from cloche.alignment.policy_reference import Reference
from cloche.alignment.preference_batches import EncodedPair, EncodedVote
from cloche.alignment.preference_losses import mismatched_divergence
from cloche.alignment.preference_objectives import (
    PreferredAnswers,
    VotedAnswers,
    answer_logprobs,
)
from cloche.alignment.reference import passes
from cloche.alignment.rollouts import Sampling, token_scores, write_answers
from cloche.data.batches import on_device
from cloche.data.examples import ROW_TOKENS, Example, lay_out
from cloche.evaluation.likelihood import evaluation_mode
from cloche.model.decoder import Decoder

Measure = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class HeldOutPairs:
    """Measures a policy on pairs that it does not learn from."""

    pairs: Sequence[EncodedPair]
    reference: Float[Tensor, "pairs 2"]
    objective: PreferredAnswers

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The loss, how many choices are met, and rewards (beta times log ratios), all means.

        `eval/pair_accuracy`: the chosen answer is the likelier one. `eval/reward_accuracy`: it has
        gained more on the reference than the other; before the training, none has.
        """
        policy = pair_logprobs(model, [pair.examples for pair in self.pairs])
        lengths = torch.tensor(
            [[int(e.learned.sum()) for e in pair.examples] for pair in self.pairs]
        )
        losses = self.objective.of_pairs(policy, self.reference, lengths)
        rewards = self.objective.beta * (policy - self.reference)
        margins = rewards[:, 0] - rewards[:, 1]
        return {
            "eval/loss": float(losses.mean()),
            "eval/pair_accuracy": float((policy[:, 0] > policy[:, 1]).float().mean()),
            "eval/reward_accuracy": float((margins > 0).float().mean()),
            "eval/reward_margin": float(margins.mean()),
            "eval/reward_chosen": float(rewards[:, 0].mean()),
            "eval/reward_rejected": float(rewards[:, 1].mean()),
        }


@dataclass(frozen=True)
class HeldOutVotes:
    """Measures a policy on votes that it does not learn from."""

    votes: Sequence[EncodedVote]
    reference: Float[Tensor, "votes 2"]
    objective: VotedAnswers

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The loss, and rewards of good and bad answers.

        `eval/reward_accuracy`: good answers have gained more than KTO's estimate of the
        divergence, and bad ones less.
        """
        policy = pair_logprobs(model, [vote.examples for vote in self.votes])
        good = torch.tensor([vote.good for vote in self.votes])
        divergence = mismatched_divergence(policy[:, 1], self.reference[:, 1])
        losses = self.objective.of_votes(
            policy[:, 0], self.reference[:, 0], good, divergence=divergence
        )
        rewards = self.objective.beta * (policy[:, 0] - self.reference[:, 0])
        right = (rewards > self.objective.beta * divergence) == good
        found = {
            "eval/loss": float(losses.mean()),
            "eval/reward_accuracy": float(right.float().mean()),
            "eval/divergence": float(divergence),
        }
        for name, chosen in (("chosen", good), ("rejected", ~good)):
            if bool(chosen.any()):
                found[f"eval/reward_{name}"] = float(rewards[chosen].mean())
        return found


@dataclass(frozen=True)
class OwnAnswers:
    """Measures what a policy writes to held-out prompts, always drawn with the same seed."""

    prompts: Sequence[tuple[int, ...]]
    sampling: Sampling
    reference: Reference
    seed: int

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The divergence from the reference, length and entropy of the policy's own answers.

        `eval/kl`: nats an answer, the sum over its tokens of the k3 estimate, which is unbiased
        and never negative; of answers cut at so many tokens, up to there. `eval/entropy`: nats a
        token. `eval/stopped`: share of the answers that ended by themselves.
        """
        assert isinstance(model, Decoder), "what writes is a decoder"
        answers = write_answers(model, self.prompts, self.sampling, seed=self.seed)
        examples = [answer.example() for answer in answers]
        temperature = self.sampling.temperature
        policy = token_scores(model, examples, temperature=temperature)
        before = self.reference.logprobs(model, examples, temperature=temperature)
        divergence = k3(policy.logprobs, before).sum() / len(answers)
        return {
            "eval/kl": float(divergence),
            "eval/entropy": float(policy.entropy.mean()),
            "eval/answer_tokens": sum(len(answer.ids) for answer in answers) / len(answers),
            "eval/stopped": sum(answer.stopped for answer in answers) / len(answers),
        }


def pair_logprobs(
    model: nn.Module, records: Sequence[tuple[Example, Example]]
) -> Float[Tensor, "records 2"]:
    """The log probability of both answers of each record, in nats, on the CPU."""
    device = next(model.parameters()).device
    found = []
    with evaluation_mode(model):
        for batch in passes([example for pair in records for example in pair]):
            laid = on_device(lay_out(batch, row_tokens=ROW_TOKENS), device)
            found.append(answer_logprobs(model, laid).cpu())
    return torch.cat(found).view(-1, 2)


def together(*measures: Measure) -> Measure:
    """All measures as one."""

    def measure(model: nn.Module) -> dict[str, float]:
        return {name: value for each in measures for name, value in each(model).items()}

    return measure
