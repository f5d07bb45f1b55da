"""What PPO and GRPO are put together from: the policy, its prompts, who judges, what is kept."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cloche.alignment.policy_evaluation import PolicyEvaluation, answered, with_penalties
from cloche.alignment.policy_options import (
    FEWEST_ROUNDS,
    POLICY_RATES,
    PolicyOptions,
    RoundPlan,
)
from cloche.alignment.policy_prompts import (
    HeldPrompts,
    PolicyPrompt,
    hold_prompts,
    read_prompt_records,
)
from cloche.alignment.policy_reference import Reference, WithoutAdapters, frozen_copy
from cloche.alignment.rewards import Judge, Rewards, parse_reward
from cloche.alignment.rollouts import Sampling, WrittenAnswer, write_answers
from cloche.data.example_order import Order
from cloche.data.order import mix
from cloche.errors import SettingError, join_problems
from cloche.model.decoder import Decoder
from cloche.text.plurals import counted
from cloche.training.card import card_with
from cloche.training.events import Sampled
from cloche.training.machine import (
    allow_short_products,
    dtype_of,
    find_device,
    measure_machine,
)
from cloche.training.options import TrainOptions
from cloche.training.state import LoopState
from cloche.tuning.answering import answer
from cloche.tuning.base import Base, open_base
from cloche.tuning.options import with_usual_pace
from cloche.tuning.session import ExtraState, Telling
from cloche.tuning.start import settled
from cloche.tuning.trainee import Trainee, make_trainee

SAMPLE_LINES, SAMPLE_CHARACTERS = 3, 240
"""So much of a prompt is shown with a sample, at most."""
_ROLLOUTS = 19  # keeps these draws apart from others that mix the same seed


@dataclass(frozen=True, eq=False)
class PolicyTraining:
    """The parts of a training on a policy's own answers; its options are complete."""

    base: Base
    prompts: HeldPrompts
    judge: Judge
    truth: Judge | None
    reference: Reference
    trainee: Trainee
    sampling: Sampling
    train: TrainOptions
    plan: RoundPlan
    telling: Telling
    start: Decoder | None
    """The policy as it was at the beginning, where a value model is to begin with it."""

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return torch.device(self.train.device)

    def write_round(
        self, policy: Decoder, number: int, *, prompts: int, count: int
    ) -> "WrittenRound":
        """The answers of a round, `count` to each of its prompts, and their rewards."""
        order = Order(len(self.prompts.train), seed=self.train.seed)
        chosen = [self.prompts.train[n] for n in order.numbers(number * prompts, size=prompts)]
        seed = mix(self.train.seed, number, _ROLLOUTS)
        ids = [prompt.ids for prompt in chosen]
        answers = write_answers(policy, ids, self.sampling, seed=seed, count=count)
        return WrittenRound(chosen, answers, count)

    def judged(self, written: "WrittenRound", *, penalty: float) -> tuple[list[float], dict]:
        """The rewards, and what is told of the round."""
        found = self.judge.judge(answered(written.prompts, written.answers, count=written.count))
        rewards = with_penalties(found.totals, written.answers, penalty=penalty)
        count = len(written.answers)
        told = {
            "train/reward": sum(rewards) / count,
            "train/answer_tokens": sum(len(each.ids) for each in written.answers) / count,
            "train/stopped": sum(each.stopped for each in written.answers) / count,
        }
        if len(found.means) > 1:
            told |= {f"train/reward/{name}": mean for name, mean in found.means.items()}
        return rewards, told

    def evaluation(self, *, penalty: float, step: Callable[[], int]) -> PolicyEvaluation:
        """What is measured on held-out prompts."""
        return PolicyEvaluation(
            self.prompts.held_out,
            self.judge,
            self.truth,
            self.reference,
            self.sampling,
            missing_stop_penalty=penalty,
            seed=self.train.seed,
            step=step,
            warn=self.telling.warn,
        )

    def write_sample(self, policy: Decoder) -> Callable[[int], Sampled]:
        """Answers a held-out prompt after a step, greedily."""

        def write(step: int) -> Sampled:
            prompts = self.prompts.held_out
            asked = prompts[mix(self.train.seed, step, 6) % len(prompts)].record.conversation
            text = answer(self.base, policy, asked, max_tokens=self.train.sample_tokens)
            return Sampled(step, f"{last_lines(asked[-1].content)}\n→ ", text)

        return write

    def belongs_to(self, options: PolicyOptions) -> dict[str, str]:
        """What a run that is resumed must find again."""
        return {
            "base": self.base.hash,
            "data": self.prompts.hash,
            "template": self.base.template.source,
            "reward function": reward_hash(options.reward),
        }


def last_lines(text: str) -> str:
    """The end of a prompt, as samples show it: its last lines, and of these the last characters."""
    lines = text.strip().splitlines()
    shown = "\n".join(lines[-SAMPLE_LINES:])
    cut = len(lines) > SAMPLE_LINES or len(shown) > SAMPLE_CHARACTERS
    return f"... {shown[-SAMPLE_CHARACTERS:].lstrip()}" if cut else text


@dataclass(frozen=True, eq=False)
class WrittenRound:
    """Prompts, and `count` answers to each, behind one another."""

    prompts: list[PolicyPrompt]
    answers: list[WrittenAnswer]
    count: int


def prepare_policy(
    options: PolicyOptions,
    telling: Telling,
    closing: ExitStack,
    *,
    judge: Judge | None,
    group: int,
    epochs: int,
    batch: int,
    keep_start: bool,
) -> PolicyTraining:
    """The parts, from options; `batch` where train.batch is not given.

    `judge` is the reward model, where no functions judge. `closing` ends what judges at the end.
    Raises ClocheError where something cannot be used.
    """
    rollout, method = options.rollout, options.method
    records = read_prompt_records(options)  # what can be wrong is told before a model is opened
    judge, truth = _judges(options, closing, judge)
    base = _open_policy(options, telling)
    prompts = hold_prompts(records, options, base, telling)
    prompts = replace(prompts, held_out=prompts.held_out[: rollout.held_out])
    train = settled(
        options.train,
        device=find_device(options.train.device),
        precision=_precision(options.train),
    )
    plan = checked_plan(RoundPlan(rollout.prompts * group, train.batch or batch, epochs))
    train = with_policy_pace(train, plan, options, prompts=len(prompts.train))
    allow_short_products(train.device, train.precision)
    device = torch.device(train.device)
    reference: Reference = WithoutAdapters()
    if method.method == "full":
        reference = frozen_copy(base.model, dtype=dtype_of(train.precision), device=device)
    kept = frozen_copy(base.model, dtype=torch.float32, device=device) if keep_start else None
    trainee = make_trainee(base, method, options.lora, train)
    limits = (rollout.max_tokens, rollout.temperature)
    training = PolicyTraining(
        base=base,
        prompts=prompts,
        judge=judge,
        truth=truth,
        reference=reference,
        trainee=trainee,
        sampling=Sampling(base.tokenizer, base.stop_ids, *limits, telling.say),
        train=train,
        plan=plan,
        telling=telling,
        start=None if kept is None else kept.model,
    )
    for line in _describe(training):
        telling.say(line)
    return training


def _open_policy(options: PolicyOptions, telling: Telling) -> Base:
    method = options.method
    base = open_base(
        options.base,
        template=options.rollout.template,
        may_grow=method.method == "full",
        precision=method.bits if method.method == "qlora" else "float32",
        day=telling.day,
        warn=telling.warn,
    )
    without_dropout(base.model)
    return base


def checked_plan(plan: RoundPlan) -> RoundPlan:
    """The plan; SettingError where its rounds cannot be cut into steps."""
    if problems := plan.problems():
        raise SettingError(join_problems(problems))
    return plan


def _judges(
    options: PolicyOptions, closing: ExitStack, judge: Judge | None
) -> tuple[Judge, Judge | None]:
    """Who judges answers, and who says how good they really are."""
    seconds = options.rollout.reward_seconds
    if judge is None:
        judge = closing.enter_context(Rewards(options.reward, seconds=seconds))
    if not options.truth:
        return judge, None
    return judge, closing.enter_context(Rewards(options.truth, seconds=seconds))


def with_policy_pace(
    train: TrainOptions, plan: RoundPlan, options: PolicyOptions, *, prompts: int
) -> TrainOptions:
    """The options with length, batch, rate and pauses filled in where they were left open."""
    rounds = max(FEWEST_ROUNDS, -(-prompts // options.rollout.prompts))
    steps = train.steps or rounds * plan.steps
    filled = replace(train, steps=steps, batch=plan.batch)
    rate = POLICY_RATES[options.method.method]
    return with_usual_pace(filled, records=prompts, epochs=None, rate=rate, batch=plan.batch)


def without_dropout(model: Decoder) -> None:
    """Turn dropout off for good: the policy that learns must be the one that answered."""
    model.config = replace(model.config, dropout=0.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def reward_hash(texts: tuple[str, ...]) -> str:
    """The rewards as they are written, and a digest of each file of functions."""
    found = [*texts]
    for text in texts:
        module = parse_reward(text).name.rpartition(":")[0]
        if module.endswith(".py") and Path(module).is_file():
            found.append(hashlib.sha256(Path(module).read_bytes()).hexdigest())
    return " ".join(found)


@dataclass(frozen=True)
class StateTogether:
    """Several states as one, each under its name."""

    parts: Mapping[str, ExtraState]

    def state_tensors(self) -> dict[str, Tensor]:
        """Those of all parts."""
        return {
            f"{part}.{name}": tensor
            for part, state in self.parts.items()
            for name, tensor in state.state_tensors().items()
        }

    def state_values(self) -> dict[str, Any]:
        """Those of all parts."""
        return {part: state.state_values() for part, state in self.parts.items()}

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Give each part its own back."""
        for part, state in self.parts.items():
            begin = f"{part}."
            own = {n.removeprefix(begin): t for n, t in tensors.items() if n.startswith(begin)}
            state.load_state(own, values[part])


def policy_card(training: PolicyTraining, options: PolicyOptions, state: LoopState) -> str:
    """The README.md of a checkpoint: what it learned from and how well, all measured."""
    best = "not evaluated yet" if state.best_loss is None else f"{-state.best_loss:.4f}"
    score = " ".join(options.truth) or "reward"
    rows = {
        "learned by": options.kind.upper(),
        "from": f"{Path(options.base).name} (SHA-256 {training.base.hash[:12]})",
        "trained": training.trainee.described,
        "reward": " ".join(options.reward) or "a reward model",
        "prompts": f"{len(training.prompts.train):,}",
        "steps": f"{state.step:,} of {state.plan.steps:,}",
        f"highest held-out score ({score})": f"{best} (step {state.best_step})",
        "optimizer": f"{training.train.optimizer}, learning rate {training.train.learning_rate}",
        "seed": str(training.train.seed),
    }
    library = "transformers" if training.trainee.kept else "peft"
    return card_with(
        rows, library=library, about="It learned from its own answers; `cloche chat` asks it."
    )


def _precision(train: TrainOptions) -> str:
    """The precision asked for; the machine is measured only where it is to decide."""
    if train.precision != "auto":
        return train.precision
    return measure_machine(train.device, train.precision).precision


def _describe(training: PolicyTraining) -> list[str]:
    train, plan = training.train, training.plan
    assert train.steps is not None, "completed before"
    prompts = training.prompts
    return [
        f"Prompts: {len(prompts.train):,} to learn with, {len(prompts.held_out):,} held out. "
        f"Template: {training.base.template.name}.",
        f"Trained: {training.trainee.described}.",
        f"Plan: {counted(-(-train.steps // plan.steps), 'round')} of "
        f"{counted(plan.answers, 'answer')}, "
        f"{counted(train.steps, 'step')} of {counted(plan.batch, 'answer')}, {train.optimizer} at "
        f"{train.learning_rate:g}.",
    ]
