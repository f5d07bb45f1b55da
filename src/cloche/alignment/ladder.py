"""The whole ladder on the built-in stories: from random numbers to a model aligned by rewards.

Pretraining, then instruction tuning twice: on hasty records, whose answers often mix up two people,
for a model that is half right; and on careful ones. A reward model of the latter; then PPO, DPO,
GRPO, each from the half-tuned one. The stories' truth is known, so each gain is measured: on
stories whose combinations no rung has learned from.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cloche.alignment.dpo import align_dpo
from cloche.alignment.grpo import align_grpo
from cloche.alignment.ladder_data import LadderData, write_ladder_data
from cloche.alignment.ladder_measures import (
    pair_accuracy,
    right_answers,
    true_endings,
    untrained_like,
)
from cloche.alignment.policy_report import before_and_after
from cloche.alignment.ppo import align_ppo
from cloche.alignment.reward_model import align_reward
from cloche.data.stories.teller import Language
from cloche.errors import SettingError, join_problems
from cloche.run import LM, load
from cloche.training.events import Listener
from cloche.training.start import TrainedRun, train
from cloche.tuning.base import open_base
from cloche.tuning.start import tune

STAGES = ("pretrain", "half", "tune", "reward", "ppo", "dpo", "grpo")
"""In their order. `half` is the tuning on hasty records: there the last three begin."""
RIGHT = "right answers"
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Rung:
    """What one stage of the ladder gained, on held-out stories."""

    name: str
    measure: str
    """What `before` and `after` are shares of."""
    before: float
    after: float
    seconds: float
    """Of the stage alone; measuring is not in it."""
    kl: float | None = None
    """Divergence from the model that the stage began with, in nats an answer, where measured."""
    run: str = ""
    """The run's folder."""

    @property
    def gain(self) -> float:
        """In percentage points."""
        return 100.0 * (self.after - self.before)


@dataclass
class Ladder:
    """Climbs the ladder in one language, into the folder `out`; `told` hears of each rung.

    `recipe` has a table of options for each stage, and `data` with how many stories each is given.
    """

    out: Path
    language: Language
    recipe: Options
    clock: Callable[[], float]
    told: Callable[[Rung], None]
    listeners: Sequence[Listener] | None = None
    rungs: list[Rung] = field(default_factory=list)

    def climb(self) -> list[Rung]:
        """All rungs, from the first. Raises ClocheError where one cannot be trained."""
        check_recipe(self.recipe)
        data = write_ladder_data(self.out / "data", self.language, **self.recipe.get("data", {}))
        pretrained = self.pretrain(data)
        half, before = self.half(pretrained, data)
        tuned = self.tune(pretrained, data)
        judge = self.reward(tuned, data)
        truth = {"truth": ("exact",)}
        for stage, learn, source, given in (
            ("ppo", align_ppo, data.prompts, truth | self.judged_by(judge)),
            ("dpo", align_dpo, data.preferences, {}),
            ("grpo", align_grpo, data.prompts, truth | {"reward": ("exact",)}),
        ):
            self.align(stage, partial(learn, half, source), given, before=before, data=data)
        return self.rungs

    def pretrain(self, data: LadderData) -> Path:
        """From random numbers to a model that tells stories."""
        with self.timed() as seconds:
            run = self.finished(
                train(
                    data.text,
                    out=self.place("pretrain"),
                    options=self.options("pretrain"),
                    listeners=self.listeners,
                )
            )
        lm = load(run)
        self.add(
            "pretrain",
            "true endings preferred",
            true_endings(untrained_like(lm), data),
            true_endings(lm, data),
            seconds,
            run=run,
        )
        return run

    def half(self, base: Path, data: LadderData) -> tuple[Path, float]:
        """From a model that tells stories to one that answers, as hasty records have it; and the
        share of its answers that is right.
        """
        before = self.answers_before("half", base, data)
        with self.timed() as seconds:
            run = self.tuned("half", base, data.hasty)
        after = answers_of(run, data)
        self.add("half", RIGHT, before, after, seconds, run=run)
        return run, after

    def tune(self, base: Path, data: LadderData) -> Path:
        """From a model that tells stories to one that answers as careful records have it."""
        before = self.answers_before("tune", base, data)
        with self.timed() as seconds:
            run = self.tuned("tune", base, data.conversations)
        self.add("tune", RIGHT, before, answers_of(run, data), seconds, run=run)
        return run

    def answers_before(self, stage: str, base: Path, data: LadderData) -> float:
        """The share of right answers of a model that no tuning has taught the stage's template."""
        template = self.options(stage).get("tune.template", "")
        asked = open_base(str(base), template=template, may_grow=True, warn=_ignore)
        return right_answers(asked.writer(), asked.template, data)

    def tuned(self, stage: str, base: Path, records: Path) -> Path:
        """The run of a tuning on questions and answers."""
        options = self.options(stage)
        run = tune(
            base,
            records,
            out=self.place(stage),
            options=options,
            listeners=self.listeners,
        )
        return self.finished(run)

    def reward(self, base: Path, data: LadderData) -> Path:
        """A model that tells right answers from wrong ones."""
        with self.timed() as seconds:
            run = self.finished(
                align_reward(
                    base,
                    data.rankings,
                    out=self.place("reward"),
                    options=self.options("reward"),
                    listeners=self.listeners,
                )
            )
        before, after = pair_accuracy(base, run, data)
        self.add("reward", "pairs ordered right", before, after, seconds, run=run)
        return run

    def align(
        self,
        stage: str,
        learn: Callable[..., TrainedRun],
        given: Options,
        *,
        before: float,
        data: LadderData,
    ) -> None:
        """From the half-tuned model to one that learned from rewards or choices."""
        options = {**self.options(stage), **given}
        with self.timed() as seconds:
            run = self.finished(
                learn(out=self.place(stage), options=options, listeners=self.listeners)
            )
        kl = before_and_after(run).get("best", {}).get("kl")
        after = answers_of(run, data)
        self.add(stage, RIGHT, before, after, seconds, run=run, kl=kl)

    def judged_by(self, judge: Path) -> dict[str, Any]:
        """The reward of PPO: the recipe's own, else the reward model."""
        return {} if "reward" in self.options("ppo") else {"reward_model": str(judge)}

    def options(self, stage: str) -> dict[str, Any]:
        """The recipe's options of a stage, by dotted names, those of the language over them."""
        found = dict(self.recipe[stage])
        own = found.pop(self.language, {})
        for other in ("en", "zh"):
            found.pop(other, None)
        return found | own

    def place(self, stage: str) -> Path:
        """The run folder of a stage."""
        return self.out / stage

    def add(
        self,
        name: str,
        measure: str,
        before: float,
        after: float,
        seconds: list[float],
        *,
        run: Path,
        kl: float | None = None,
    ) -> None:
        """Note a rung, and tell of it."""
        self.rungs.append(Rung(name, measure, before, after, seconds[0], kl, str(run)))
        self.told(self.rungs[-1])

    @contextmanager
    def timed(self) -> Iterator[list[float]]:
        """Gives a list that has the seconds of what is inside, once that is over."""
        seconds: list[float] = []
        began = self.clock()
        yield seconds
        seconds.append(self.clock() - began)

    def finished(self, run: TrainedRun) -> Path:
        """The folder of a stage that came to its end; InterruptedLadderError for another."""
        if not run.finished:
            raise InterruptedLadderError(run)
        return run.folder


class InterruptedLadderError(Exception):
    """A stage was ended by a signal, and is saved."""

    def __init__(self, run: TrainedRun) -> None:
        super().__init__(f"interrupted in {run.folder}")
        self.run = run


def answers_of(run: Path, data: LadderData) -> float:
    """The share of held-out questions that the model of a run answers exactly right."""
    lm: LM = load(run)
    template = lm.template
    assert template is not None, "a tuned model has a template"
    return right_answers(lm, template, data)


def check_recipe(recipe: Options) -> None:
    """SettingError for tables of a recipe that mean nothing, and for those that are missing."""
    known = {*STAGES, "data"}
    problems = [f"the ladder has no stage {name}" for name in recipe if name not in known]
    problems += [f"the recipe says nothing of {name}" for name in STAGES if name not in recipe]
    if problems:
        raise SettingError(join_problems(problems))


def write_report(out: Path, rungs: Sequence[Rung]) -> Path:
    """The file with all rungs, as JSON."""
    path = out / "ladder.json"
    values = [vars(rung) for rung in rungs]
    path.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return path


def _ignore(_text: str) -> None:
    """For what the stage tells itself."""
