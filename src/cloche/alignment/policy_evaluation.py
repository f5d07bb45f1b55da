"""What a policy is worth on prompts that it does not learn with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from cloche.alignment.policy_prompts import PolicyPrompt
from cloche.alignment.policy_reference import Reference
from cloche.alignment.policy_watch import HackingWatch, Measured, Observation, measured
from cloche.alignment.rewards import Answered, Judge
from cloche.alignment.rollouts import Sampling, WrittenAnswer, token_scores, write_answers
from cloche.data.order import mix
from cloche.model.decoder import Decoder

_EVALUATION = 17  # keeps its draws apart from others that mix the same seed


def policy_of(model: nn.Module) -> Decoder:
    """What writes: the model itself, or the part of it that is called `policy`."""
    found = model if isinstance(model, Decoder) else model.get_submodule("policy")
    assert isinstance(found, Decoder), "what answers is a decoder"
    return found


def answered(
    prompts: Sequence[PolicyPrompt], answers: Sequence[WrittenAnswer], *, count: int = 1
) -> list[Answered]:
    """The answers, `count` to each prompt, as they are judged."""
    return [
        Answered(
            prompts[number // count].text,
            answer.text,
            prompts[number // count].record.fields,
            prompts[number // count].record.place,
            prompts[number // count].record.conversation,
        )
        for number, answer in enumerate(answers)
    ]


@dataclass
class PolicyEvaluation:
    """Answers held-out prompts, and reports what reward, truth and reference say of it.

    Reward, divergence, length and entropy are those of answers drawn as in training, always with
    the same random numbers; the truth is that of the likeliest answers. `eval/loss`, by which the
    best checkpoint is chosen, is minus the truth, or minus the reward where no truth is asked for.
    """

    prompts: Sequence[PolicyPrompt]
    judge: Judge
    truth: Judge | None
    reference: Reference
    sampling: Sampling
    missing_stop_penalty: float
    seed: int
    step: Callable[[], int]
    """How many steps are done."""
    warn: Callable[[str], None]
    watch: HackingWatch = field(default_factory=HackingWatch)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The metrics, by the names of metrics.jsonl."""
        policy = policy_of(model)
        found, reward = self.drawn(policy)
        found["eval/loss"] = -reward.mean
        if self.truth is None:
            return found
        answers = self.answers(policy, temperature=0.0)
        truth = measured(self.truth.judge(answered(self.prompts, answers)).totals)
        if warning := self.watch.observe(Observation(self.step(), reward, truth)):
            self.warn(warning)
        return {**found, "eval/loss": -truth.mean, "eval/truth": truth.mean}

    def drawn(self, policy: Decoder) -> tuple[dict[str, float], Measured]:
        """What is measured on answers that are drawn as in training, and their reward."""
        temperature = self.sampling.temperature
        answers = self.answers(policy, temperature=temperature)
        judged = self.judge.judge(answered(self.prompts, answers))
        totals = with_penalties(judged.totals, answers, penalty=self.missing_stop_penalty)
        reward = measured(totals)
        examples = [answer.example() for answer in answers]
        scored = token_scores(policy, examples, temperature=temperature)
        before = self.reference.logprobs(policy, examples, temperature=temperature)
        each = {f"eval/reward/{name}": mean for name, mean in judged.means.items()}
        count = len(answers)
        return {
            "eval/reward": reward.mean,
            **(each if len(each) > 1 else {}),
            "eval/kl": float((scored.logprobs - before).sum()) / count,
            "eval/entropy": float(scored.entropy.mean()),
            "eval/answer_tokens": sum(len(answer.ids) for answer in answers) / count,
            "eval/stopped": sum(answer.stopped for answer in answers) / count,
        }, reward

    def answers(self, policy: Decoder, *, temperature: float) -> list[WrittenAnswer]:
        """One to each prompt."""
        return write_answers(
            policy,
            [prompt.ids for prompt in self.prompts],
            replace(self.sampling, temperature=temperature),
            seed=mix(self.seed, _EVALUATION),
        )


def with_penalties(
    totals: Sequence[float], answers: Sequence[WrittenAnswer], *, penalty: float
) -> list[float]:
    """The rewards, less the penalty where an answer did not end by itself."""
    return [
        total - (0.0 if answer.stopped else penalty)
        for total, answer in zip(totals, answers, strict=True)
    ]
