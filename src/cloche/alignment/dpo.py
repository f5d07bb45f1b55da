"""`align_dpo`: from a model that answers to one that answers as people prefer, with no reward
model between: DPO and IPO learn from pairs, KTO from single votes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cloche.alignment.policy_reference import Reference, WithoutAdapters, frozen_copy
from cloche.alignment.policy_training import without_dropout
from cloche.alignment.preference_data import describe_held
from cloche.alignment.preference_encoding import AnswerWriter
from cloche.alignment.preference_evaluation import OwnAnswers, together
from cloche.alignment.preference_options import (
    PREFERENCE_EPOCHS,
    PREFERENCE_RATES,
    DpoOptions,
)
from cloche.alignment.preference_parts import (
    Parts,
    compared_answers,
    held_out_prompts,
    preference_batches,
    read_parts,
)
from cloche.alignment.reference import reference_logprobs
from cloche.alignment.rollouts import Sampling
from cloche.data.order import mix
from cloche.model.decoder import Decoder
from cloche.text.plurals import counted
from cloche.training.card import card_with
from cloche.training.events import Listener, Sampled
from cloche.training.machine import allow_short_products, dtype_of, measure_machine
from cloche.training.recomputing import recompute_blocks
from cloche.training.start import TrainedRun
from cloche.training.state import LoopState
from cloche.tuning.answering import answer
from cloche.tuning.base import Base, open_base
from cloche.tuning.options import with_alpha, with_usual_pace
from cloche.tuning.session import Telling, Tuning, asked_options, run_tuning
from cloche.tuning.start import default_folder, settled
from cloche.tuning.trainee import Trainee, make_trainee
from cloche.tuning.unknown import tell_unknown

_SAMPLED, _ANSWERED = 6, 13  # keep these draws apart from others of one seed


def align_dpo(
    base: str | Path,
    *sources: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | DpoOptions | None = None,
    listeners: Sequence[Listener] | None = None,
) -> TrainedRun:
    """Train a model on preferences, into a run folder that holds all of it.

    `base` is a run, a checkpoint or a Hugging Face folder; `sources` are files of pairs, rankings
    or votes. `options` are dotted names (`{"align.beta": 0.3}`) or a complete tree. `listeners`
    are told what happens; when not given, it is shown on standard error. With `resume`, the run in
    `out` goes on where it was. Raises ClocheError where something cannot be used.
    """
    run = Path(out) if out is not None else default_folder(base, ending=DpoOptions.kind)
    asked = asked_options(run, DpoOptions(), options, resume=resume)
    if str(base):
        asked = replace(asked, base=str(base))
    if sources:
        asked = replace(asked, sources=tuple(map(str, sources)))

    def prepare(options: DpoOptions, telling: Telling) -> Tuning:
        return _prepare(run, options, telling)

    return run_tuning(run, asked, resume=resume, listeners=listeners, prepare=prepare)


@dataclass(frozen=True, eq=False)
class _Preference:
    """A training on preferences, put together; `options` are complete."""

    options: DpoOptions
    base: Base
    parts: Parts
    trainee: Trainee
    policy: Decoder
    """What the passes run on."""
    telling: Telling

    @property
    def belongs_to(self) -> dict[str, str]:
        """What a run that is resumed must find again."""
        data, template = self.parts.held.hash, self.base.template.source
        return {"base": self.base.hash, "data": data, "template": template}


def _prepare(run: Path, options: DpoOptions, telling: Telling) -> Tuning:
    method, align = options.method, options.align
    base = open_base(
        options.base,
        template=align.template,
        may_grow=method.method == "full",
        precision=method.bits if method.method == "qlora" else "float32",
        day=telling.day,
        warn=telling.warn,
    )
    without_dropout(base.model)  # what it is compared with had none either
    context = min(align.context or base.config.context, base.config.context)
    writer = AnswerWriter(base.template, base.tokenizer, context)
    parts = read_parts(options, writer, telling=telling)
    answers = [each.ids[each.learned] for item in parts.held.train.items for each in item.examples]
    tell_unknown(answers, base.tokenizer, what="the answers", telling=telling)
    options = _completed(options, parts, context=context)
    train = options.train
    allow_short_products(train.device, train.precision)
    before: Reference = WithoutAdapters()
    if method.method == "full" and align.answers:
        device = torch.device(train.device)
        before = frozen_copy(base.model, dtype=dtype_of(train.precision), device=device)
    trainee = make_trainee(base, method, options.lora, train)
    compute = trainee.compute(train)
    policy = compute.model
    assert isinstance(policy, Decoder), "what answers is a decoder"
    made = _Preference(options, base, parts, trainee, policy, telling)
    for line in _describe(made):
        telling.say(line)
    reference = reference_logprobs(
        policy,
        compared_answers(parts),
        run=run,
        belongs_to={**made.belongs_to, "precision": train.precision},
        telling=telling,
    )
    if train.checkpointing == "on":
        recompute_blocks(policy, dropout=0.0)
    count = len(parts.held.train.items)
    measures = [parts.measure(reference[count:]), *_own_answers(made, before)]
    return Tuning(
        options=options,
        steps=train.steps or 1,
        compute=compute,
        objective=parts.objective,
        batches=preference_batches(parts, reference[:count], train),
        evaluate=together(*measures),
        snapshot=lambda: trainee.snapshot(compute),
        read_trained=trainee.read_trained,
        belongs_to=made.belongs_to,
        card=lambda state: _card(made, state),
        write_sample=_sampling(made),
        loss_unit="nats a pair" if parts.loss == "dpo" else "",
    )


def _completed(options: DpoOptions, parts: Parts, *, context: int) -> DpoOptions:
    """The options with everything chosen that was left open."""
    train, align = options.train, options.align
    machine = measure_machine(train.device, train.precision)
    train = with_usual_pace(
        settled(train, device=machine.device, precision=machine.precision),
        records=len(parts.held.train.items),
        epochs=align.epochs or PREFERENCE_EPOCHS,
        rate=PREFERENCE_RATES[options.method.method],
    )
    chosen: Any = replace(align, loss=parts.loss, context=context, epochs=None)  # pyright: ignore
    lora = with_alpha(options.method, options.lora)
    return replace(options, align=chosen, lora=lora, train=train)


def _own_answers(made: _Preference, before: Reference) -> list[OwnAnswers]:
    """What measures the policy's own answers; nothing where none are wanted, or none would fit."""
    align, base = made.options.align, made.base
    if not align.answers:
        return []
    room = base.config.context - align.answer_tokens
    asked = (
        base.template.prompt_ids(prompt, base.tokenizer) for prompt in held_out_prompts(made.parts)
    )
    prompts = [tuple(ids) for ids in asked if len(ids) <= room][: align.answers]
    if not prompts:
        made.telling.warn(
            f"No held-out prompt leaves room for {align.answer_tokens} tokens of an answer: KL, "
            "length and entropy are not measured; see --align.answer-tokens."
        )
        return []
    sampling = Sampling(
        base.tokenizer, base.stop_ids, align.answer_tokens, 1.0, tell=made.telling.say
    )
    seed = mix(made.options.train.seed, _ANSWERED)
    return [OwnAnswers(prompts, sampling, before, seed)]


def _sampling(made: _Preference) -> Callable[[int], Sampled]:
    """Answers a held-out prompt after a step, greedily."""
    train, prompts = made.options.train, held_out_prompts(made.parts)

    def write(step: int) -> Sampled:
        asked = prompts[mix(train.seed, step, _SAMPLED) % len(prompts)]
        text = answer(made.base, made.policy, asked, max_tokens=train.sample_tokens)
        return Sampled(step, f"{asked[-1].content}\n→ ", text)

    return write


def _describe(made: _Preference) -> list[str]:
    train, align = made.options.train, made.options.align
    assert train.steps is not None, "completed before"
    assert train.batch is not None, "completed before"
    assert align.context is not None, "completed before"
    held = made.parts.held
    passes = train.steps * train.batch / len(held.train.items)
    added = f" New tokens: {', '.join(made.base.added)}." if made.base.added else ""
    return [
        *describe_held(held, context=align.context),
        f"Template: {made.base.template.name}.{added} Loss: {align.loss}, beta {align.beta:g}.",
        f"Trained: {made.trainee.described}.",
        f"Plan: {counted(train.steps, 'step')} of {train.batch} {_things(made)} "
        f"({passes:.1f} passes), "
        f"{train.optimizer} at {train.learning_rate:g}.",
    ]


def _things(made: _Preference) -> str:
    return "votes" if made.parts.loss == "kto" else "pairs"


def _card(made: _Preference, state: LoopState) -> str:
    """The README.md of a checkpoint: what it learned from and how, all measured."""
    options, train = made.options, made.options.train
    best = "not evaluated yet" if state.best_loss is None else f"{state.best_loss:.4f}"
    rows = {
        "aligned from": f"{Path(options.base).name} (SHA-256 {made.base.hash[:12]})",
        "trained": made.trainee.described,
        "preferences": f"{len(made.parts.held.train.items):,} {_things(made)} to train on",
        "loss": f"{options.align.loss}, beta {options.align.beta:g}",
        "chat template": made.base.template.name.split("/")[-1],
        "steps": f"{state.step:,} of {state.plan.steps:,}",
        "learned tokens seen": f"{state.tokens:,}",
        "lowest validation loss": f"{best} (step {state.best_step})",
        "optimizer": f"{train.optimizer}, learning rate {train.learning_rate}",
        "seed": str(train.seed),
    }
    library = "transformers" if made.trainee.kept else "peft"
    about = "It was trained on preferences between answers; `cloche chat` asks it."
    return card_with(rows, library=library, about=about)
