"""`cloche align reward`: from a model that answers to one that says how good an answer is."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cloche.alignment.reward_model_data import HeldGroups, ScoredText, read_groups
from cloche.alignment.reward_model_options import (
    REWARD_EPOCHS,
    REWARD_RATES,
    RewardOptions,
    together_problems,
)
from cloche.alignment.reward_model_report import RewardReport, measure_rewards
from cloche.alignment.scoring import RankedAnswers, RankedBatch, RankedGroup, lay_out_groups
from cloche.data.example_order import Order
from cloche.errors import (
    CheckpointError,
    RequestError,
    RunError,
    SettingError,
    TextError,
    join_problems,
)
from cloche.model.lora import add_lora, merge_lora
from cloche.model.scorer import Scorer, make_scorer
from cloche.planning.flops import flops_per_token
from cloche.plots.charts import margin_histogram, reliability_diagram
from cloche.text.messages import ASSISTANT, USER, Conversation, Message
from cloche.text.plurals import counted
from cloche.training.distributed import World, share_of_step
from cloche.training.events import Listener
from cloche.training.machine import allow_short_products, measure_machine
from cloche.training.options import TrainOptions
from cloche.training.prefetch import Prefetched
from cloche.training.start import TrainedRun
from cloche.training.state import LoopState
from cloche.tuning.base import Base, choose_template, open_base
from cloche.tuning.classify_model import (
    Prompting,
    choose_learned,
    open_scorer,
    scorer_card,
    tuned_scorer,
    write_scorer,
)
from cloche.tuning.classify_scoring import score_examples, scored_example
from cloche.tuning.options import with_alpha, with_usual_pace
from cloche.tuning.session import (
    EXTRA,
    Telling,
    Tuning,
    WriteModel,
    asked_options,
    read_tuning_options,
    run_tuning,
)
from cloche.tuning.start import default_folder, settled
from cloche.tuning.trainee import lora_config
from cloche.tuning.tuned import TunedModel
from cloche.tuning.unknown import tell_unknown
from cloche.weights.checkpoint import TrainerState, load_trainer
from cloche.weights.scorers import REWARD

EVALUATED = 200
"""Groups of the validation part that an evaluation measures, and of the training part."""
TRAINED = f"{EXTRA}trained/"
"""Before the names of the trained weights in a training state: the model beside it is merged."""
REPORT, MARGINS, RELIABILITY = "reward.json", "margins.png", "reliability.png"


def align_reward(
    base: str | Path,
    *sources: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | RewardOptions | None = None,
    listeners: Sequence[Listener] | None = None,
) -> TrainedRun:
    """Train a reward model on pairs or rankings, into a run folder that holds all of it.

    As `tune`; all weights learn, or adapters beside the score, which are merged where a model is
    saved. Raises ClocheError where something cannot be used. `held_out_rewards` then tells how
    good it is.
    """
    run = Path(out) if out is not None else default_folder(base, ending="reward")
    asked = asked_options(run, RewardOptions(), options, resume=resume)
    if str(base):
        asked = replace(asked, base=str(base))
    if sources:
        asked = replace(asked, sources=tuple(map(str, sources)))
    return run_tuning(run, asked, resume=resume, listeners=listeners, prepare=_prepare)


def held_out_rewards(run: str | Path) -> RewardReport:
    """How the best checkpoint of a run does on its test pairs, validation pairs where it has none.

    Also written into the run folder, as reward.json, margins.png and reliability.png.
    """
    folder = Path(run)
    options = read_tuning_options(folder, RewardOptions())
    if options is None or options.align.context is None:
        raise RunError(f"{run} holds no reward model")
    found = open_scorer(folder, device=options.train.device, warn=_ignore)
    held = read_groups(
        options.sources,
        options.data,
        ScoredText(choose_template("", found.folder), found.tokenizer),
        context=options.align.context,
        seed=options.train.seed,
        telling=Telling(_ignore, _ignore),
    )
    part, name = (held.test, "test") if held.test else (held.validation, "validation")
    report = replace(measure_rewards(found.opened.scorer, part), part=name)
    text = json.dumps(report.to_values(), ensure_ascii=False, indent=2) + "\n"
    (folder / REPORT).write_text(text, encoding="utf-8")
    title = f"{folder.name}: {report.accuracy:.1%} of {report.pairs:,} {name} pairs"
    margin_histogram(report.margins, folder / MARGINS, title=title)
    reliability_diagram(
        [
            (each.low, each.high, each.confidence, each.accuracy, each.tokens)
            for each in report.calibration.bins
        ],
        folder / RELIABILITY,
        title=title,
        labels=("probability of the likelier answer", "how often it was preferred", "pairs"),
    )
    return report


def score_answers(
    source: str | Path,
    prompts: Sequence[str | Conversation],
    answers: Sequence[str],
    *,
    device: str = "cpu",
) -> list[float]:
    """The reward of each answer to its prompt, by the reward model in a run or a folder.

    Raises CheckpointError for a model that gives no reward, TextError for an answer that does not
    fit its context, and RequestError where there are not as many answers as prompts.
    """
    if len(prompts) != len(answers):
        raise RequestError(
            f"each answer has its prompt: got {counted(len(prompts), 'prompt')} and "
            f"{counted(len(answers), 'answer')}"
        )
    found = open_scorer(source, device=device, warn=_ignore)
    if found.opened.scorer.labels != 1:
        raise CheckpointError(f"{source} tells classes apart and gives no reward")
    writer = ScoredText(choose_template("", found.folder), found.tokenizer)
    examples = []
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        asked = (Message(USER, prompt),) if isinstance(prompt, str) else prompt
        ids = writer.ids((*asked, Message(ASSISTANT, answer)))
        if len(ids) > found.opened.config.context:
            raise TextError(
                f"answer {number + 1} has {len(ids)} tokens with its prompt, and the reward model "
                f"reads {found.opened.config.context}"
            )
        examples.append(scored_example(ids, number=number))
    return score_examples(found.opened.scorer, examples)[:, 0].tolist()


def _prepare(options: RewardOptions, telling: Telling) -> Tuning:
    full = options.method.method == "full"
    base = open_base(
        options.base,
        template=options.align.template,
        may_grow=full,
        day=telling.day,
        warn=telling.warn,
    )
    context = min(options.align.context or base.config.context, base.config.context)
    held = read_groups(
        options.sources,
        options.data,
        ScoredText(base.template, base.tokenizer),
        context=context,
        seed=options.train.seed,
        telling=telling,
    )
    texts = [each.ids[:-1] for group in held.train for each in group.examples]
    tell_unknown(texts, base.tokenizer, what="the conversations", telling=telling)
    machine = measure_machine(options.train.device, options.train.precision)
    train = with_usual_pace(
        settled(options.train, device=machine.device, precision=machine.precision),
        records=len(held.train),
        epochs=options.align.epochs or REWARD_EPOCHS,
        rate=REWARD_RATES[options.method.method],
    )
    if problems := together_problems(options.align.together, train):  # of the batch chosen now
        raise SettingError(join_problems(problems))
    train = replace(train, sample_tokens=0)  # what scores writes nothing
    align = replace(options.align, context=context, epochs=None)
    lora = with_alpha(options.method, options.lora)
    options = replace(options, align=align, lora=lora, train=train)
    allow_short_products(train.device, train.precision)
    scorer, trained = _trained_scorer(base, options)
    compute = tuned_scorer(scorer, train, dropout=base.config.dropout)
    for line in [*held.describe(context), *_describe(options, base, trained)]:
        telling.say(line)
    return Tuning(
        options=options,
        steps=train.steps or 1,
        compute=compute,
        objective=RankedAnswers(options.align.center),
        batches=group_batches(held.train, train, together=align.together),
        evaluate=_Evaluation(held),
        snapshot=lambda: _writer(compute, base),
        read_trained=_read_trained,
        belongs_to={"base": base.hash, "data": held.hash, "template": base.template.source},
        card=lambda state: _card(options, base, held, trained, state),
        flops_per_token=flops_per_token(base.config),
        peak_flops=machine.flops_per_second,
        loss_unit="nats a group",
    )


def group_batches(
    groups: Sequence[RankedGroup], train: TrainOptions, *, together: int = 1
) -> Callable[[int, int], RankedBatch]:
    """(step, part) -> groups, in an order that is a function of the seed alone.

    `together` groups that follow one another come in one batch.
    """
    blocks = [groups[first : first + together] for first in range(0, len(groups), together)]
    order = Order(len(blocks), seed=train.seed)
    batch = train.batch
    assert batch is not None, "completed before"

    def batches(step: int, number: int) -> RankedBatch:
        begin, size = share_of_step(
            batch, world=World(), accumulate=train.accumulate, number=number
        )
        first = (step * batch + begin) // together
        numbers = order.numbers(first, size=size // together)
        return lay_out_groups([group for n in numbers for group in blocks[n]])

    return Prefetched(batches, parts=train.accumulate, device=torch.device(train.device))


@dataclass(frozen=True)
class _Evaluation:
    """Loss, in nats a group, accuracy and margin on as many groups of one part as of the other."""

    held: HeldGroups

    def __call__(self, model: nn.Module) -> dict[str, float]:
        validation = self.held.validation[:EVALUATED]
        found = measure_rewards(model, validation)
        train = measure_rewards(model, self.held.train[: len(validation)])
        return {
            "eval/loss": found.loss,
            "eval/train_loss": train.loss,
            "eval/pair_accuracy": found.accuracy,
            "eval/margin": found.mean_margin,
            "eval/mean_score": found.mean_score,
        }


def _trained_scorer(base: Base, options: RewardOptions) -> tuple[Scorer, str]:
    """The scorer with the weights that learn, and what these are in words."""
    seed = options.train.seed
    scorer = make_scorer(base.model, 1, seed=seed).to(torch.device(options.train.device))
    if options.method.method == "full":
        return scorer, choose_learned(scorer, "all")
    layers = add_lora(scorer, lora_config(options.lora), seed=seed)
    scorer.score.requires_grad_(True)
    count = sum(p.numel() for p in scorer.parameters() if p.requires_grad)
    rank = options.lora.rank
    return scorer, (
        f"the score, and adapters of rank {rank} beside {len(layers)} layers: {count:,} weights"
    )


def _writer(compute: TunedModel, base: Base) -> WriteModel:
    """Copies the scorer with its adapters merged, and the weights that training goes on from."""
    assert isinstance(compute.whole, Scorer), "what scores is kept whole"
    copied = copy.deepcopy(compute.whole).cpu()
    trained = compute.trained_tensors() if merge_lora(copied).layers else {}
    prompting = Prompting(
        base.tokenizer,
        base.special_ids,
        base.stop_ids,
        base.lm.begins_with_bos,
        base.template.source,
    )
    write_whole = write_scorer(copied, prompting, labels=REWARD)

    def write(folder: Path, trainer: TrainerState, card: str) -> None:
        own = {f"{TRAINED}{name}": tensor for name, tensor in trained.items()}
        write_whole(folder, replace(trainer, tensors=trainer.tensors | own), card)

    return write


def _read_trained(folder: Path) -> Mapping[str, Tensor]:
    """The trained weights in a checkpoint: apart, or those of the model itself."""
    tensors = load_trainer(folder).tensors
    apart = {
        name.removeprefix(TRAINED): tensor
        for name, tensor in tensors.items()
        if name.startswith(TRAINED)
    }
    return apart or open_scorer(folder, warn=_ignore).opened.scorer.state_dict()


def _describe(options: RewardOptions, base: Base, trained: str) -> list[str]:
    train = options.train
    added = f" New tokens: {', '.join(base.added)}." if base.added else ""
    return [
        f"Template: {base.template.name}.{added} The score is read at a conversation's last token.",
        f"Trained: {trained}.",
        f"Plan: {counted(train.steps or 1, 'step')} of {counted(train.batch or 1, 'group')}, "
        f"{train.optimizer} at "
        f"{train.learning_rate:g}.",
    ]


def _card(
    options: RewardOptions, base: Base, held: HeldGroups, trained: str, state: LoopState
) -> str:
    best = "not evaluated yet" if state.best_loss is None else f"{state.best_loss:.4f}"
    rows = {
        "tuned from": f"{Path(options.base).name} (SHA-256 {base.hash[:12]})",
        "trained": trained,
        "choices": f"{len(held.train):,} groups to train on",
        "steps": f"{state.step:,} of {state.plan.steps:,}",
        "lowest validation loss": f"{best} nats (step {state.best_step})",
        "seed": str(options.train.seed),
    }
    return scorer_card(rows, about="It gives a reward to an answer behind its prompt.")


def _ignore(_text: str) -> None:
    """For what was told when the run began."""
