"""Completes the options of a run: all that was left to choose, chosen once and then frozen."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cloche.data.batches import Tokens
from cloche.errors import SettingError
from cloche.model.config import ModelConfig, ModelOptions
from cloche.planning.budget import (
    SMALLEST_BATCH_TOKENS,
    Budget,
    choose_batch,
    choose_dropout,
    choose_eval_batches,
    choose_interval,
    pause_seconds,
    tokens_within,
)
from cloche.planning.flops import parameter_count
from cloche.training.compiling import choose_compile
from cloche.training.machine import Machine
from cloche.training.muon import MOMENTUM
from cloche.training.options import RunOptions, TrainOptions
from cloche.training.room import find_room
from cloche.training.schedule import DECAY
from cloche.training.sizing import Sized, choose_for_time, choose_model
from cloche.training.timing import measure_model
from cloche.weights.hf import obstacles_to_others

DEFAULT_MINUTES = 5.0
NOMINAL_FLOPS = 3e11
"""A laptop's bfloat16 peak: stands in for a measurement where a run is given in steps, so that
the same command chooses the same model everywhere."""
LEARNING_RATES = {"muon": 0.02, "adamw": 0.001}
USUAL_STEPS, SHORT_STEPS = 700, 400
"""Muon's rate was found for the first; in shorter runs more is better, and of momentum less
(docs/log.md)."""
MOST_RATE, SHORT_MOMENTUM = 0.04, 0.9
BIGRAM_LEARNING_RATE = 0.02
OVERHEAD = 1.05
"""A step in a run against one that was measured alone: evaluations and checkpoints between."""


@dataclass(frozen=True)
class Choice:
    """A run with nothing left to choose."""

    options: RunOptions
    config: ModelConfig
    steps: int
    """Steps planned; a run in minutes plans anew as it goes."""
    step_seconds: float | None
    """A whole step, measured; None for a run given in steps."""

    peak_flops: float
    """Matrix-multiply peak of the machine, measured."""
    notes: tuple[str, ...] = ()
    """Why, and what else was chosen and is to be told, a line each."""

    @property
    def pause_seconds(self) -> float:
        """What an evaluation with its sample and checkpoint will take, about."""
        batches = self.options.train.eval_batches or 0
        return pause_seconds(batches, step_seconds=self.step_seconds or 0.0)


def complete_options(
    options: RunOptions,
    *,
    vocab_size: int,
    train: Tokens,
    validation: Tokens,
    machine: Machine,
    seconds: float,
) -> Choice:
    """Fill in the model, the batch and the pace for this text, machine and time (in seconds)."""
    timed = options.train.steps is None
    budget = Budget(
        seconds=seconds,
        flops_per_second=machine.flops_per_second if timed else NOMINAL_FLOPS,
        train_tokens=len(train.tokens),
        validation_tokens=len(validation.tokens),
    )
    sized = size_model(options, budget, vocab_size=vocab_size, machine=machine)
    config = sized.config
    tokens = tokens_within(budget, config)
    if options.train.steps is not None:
        tokens = min(tokens, float(options.train.steps * SMALLEST_BATCH_TOKENS))
    batch = chosen_batch(choose_batch(config, steps_tokens=tokens), options.train)
    if options.train.parallel != "fsdp":  # there each process has but a shard of it
        options = with_room(options, config, batch=batch, machine=machine)
    measured = _Measured(config, batch=batch, machine=machine, options=options)
    steps = options.train.steps or max(1, int(seconds / (OVERHEAD * measured.plain())))
    epochs = steps * batch * config.context / len(train.tokens)
    if options.model.dropout is None and config.family != "bigram":
        config = replace(config, dropout=choose_dropout(epochs))
        measured = replace(measured, config=config)
    compiling = choose_compile(
        options.train.compile,
        device=machine.device,
        can_try=config.family != "bigram",
        steps=steps,
        step_seconds=measured.plain,
        compiled_step_seconds=measured.compiled,
    )
    if timed and compiling.step_seconds is not None:
        steps = max(1, int(seconds / (OVERHEAD * compiling.step_seconds)))
    choice = make_choice(
        replace(options, train=replace(options.train, compile=compiling.compile)),
        config,
        machine=machine,
        batch=batch,
        steps=steps,
        step_seconds=(compiling.step_seconds or measured.plain()) if timed else None,
    )
    return replace(choice, notes=(*sized.reasons, *filter(None, [compiling.reason])))


def size_model(options: RunOptions, budget: Budget, *, vocab_size: int, machine: Machine) -> Sized:
    """The model: by measurement and law for a time, by a rule for steps, which choose the same
    model on every machine."""
    if options.train.steps is not None:
        return Sized(choose_model(options.model, budget, vocab_size=vocab_size))

    def step_seconds(config: ModelConfig) -> float:
        parts = options.train.accumulate
        rows = max(1, SMALLEST_BATCH_TOKENS // (parts * machine.processes * config.context))
        found = measure_model(config, rows=rows, machine=machine, options=options.train)
        return found.seconds(parts)

    return choose_for_time(options.model, budget, vocab_size=vocab_size, step_seconds=step_seconds)


def make_choice(
    options: RunOptions,
    config: ModelConfig,
    *,
    machine: Machine,
    batch: int,
    steps: int,
    step_seconds: float | None,
) -> Choice:
    """The choice of this model, batch and length, with every option that follows from them."""
    chosen = replace(
        options,
        minutes=seconds_to_minutes(options, timed=options.train.steps is None),
        model=options_of(config),
        train=complete_train(options, config, machine=machine, batch=batch, steps=steps),
    )
    return Choice(chosen, config, steps, step_seconds, machine.flops_per_second)


def describe(choice: Choice, train: Tokens) -> list[str]:
    """What was chosen, in sentences for the screen."""
    config, options = choice.config, choice.options.train
    assert options.batch is not None, "complete_options fills it in"
    passes = choice.steps * options.batch * config.context / len(train.tokens)
    shape = (
        f"a table of {config.vocab_size:,} x {config.vocab_size:,}"
        if config.family == "bigram"
        else f"{config.layers} layers of width {config.width}, {config.heads} heads"
    )
    obstacles = obstacles_to_others(config)
    own = (
        [
            f"Saved in cloche's own format, which only cloche opens: {config.family} elsewhere has "
            f"no {' and no '.join(obstacles)}."
        ]
        if obstacles
        else []
    )
    until = f"{choice.options.minutes:g} minutes, about " if choice.options.minutes else ""
    return [
        f"Model: {config.family}, {shape}, context {config.context}, "
        f"{parameter_count(config):,} parameters.",
        *own,
        f"Plan: {until}{choice.steps:,} steps of {options.batch} x {config.context} tokens "
        f"({passes:.1f} passes over the training part), {options.optimizer} at "
        f"{options.learning_rate:g}, dropout {config.dropout:g}.",
        *choice.notes,
    ]


def options_of(config: ModelConfig) -> ModelOptions:
    """The options that give exactly this model, for config.toml."""
    if config.family == "bigram":
        return ModelOptions(family="bigram", context=config.context)
    return ModelOptions(
        family=config.family,
        layers=config.layers,
        heads=config.heads,
        kv_heads=config.kv_heads,
        width=config.width,
        context=config.context,
        dropout=config.dropout,
        norm=config.norm,
        positions=config.positions,
        activation=config.activation,
        tied=config.tied,
        mlp_width=config.mlp_width,
        qkv_bias=config.qkv_bias,
        head_bias=config.head_bias,
        window=config.window,
        rope_theta=config.rope_theta if config.positions == "rotary" else None,
        **_scaling_options(config),
        experts=config.experts or None,
        experts_used=config.experts_used or None,
        encoder_layers=config.encoder_layers or None,
        norm_order=config.norm_order if config.family == "seq2seq" else None,
    )


def _scaling_options(config: ModelConfig) -> dict[str, Any]:
    """The stretching of rotary positions as options; NTK's is in the base already."""
    scaling = config.rope_scaling
    return {} if scaling is None else {"rope_scaling": scaling.kind, "rope_factor": scaling.factor}


def seconds_to_minutes(options: RunOptions, *, timed: bool) -> float | None:
    """The minutes a run is given in; None for one given in steps."""
    return (options.minutes or DEFAULT_MINUTES) if timed else None


def complete_train(
    options: RunOptions, config: ModelConfig, *, machine: Machine, batch: int, steps: int
) -> TrainOptions:
    """The options of a training with nothing left to choose."""
    given = options.train
    optimizer = given.optimizer
    if optimizer == "auto":
        optimizer = "adamw" if config.family == "bigram" else "muon"
    rate = BIGRAM_LEARNING_RATE if config.family == "bigram" else usual_rate(optimizer, steps=steps)
    momentum = given.momentum
    if momentum is None and optimizer == "muon":
        momentum = SHORT_MOMENTUM if steps <= SHORT_STEPS else MOMENTUM
    interval = given.eval_every or choose_interval(steps)
    return replace(
        given,
        batch=batch,
        optimizer=optimizer,
        decay=DECAY if given.decay is None and given.schedule == "linear" else given.decay,
        learning_rate=given.learning_rate or rate,
        momentum=momentum,
        precision=machine.precision,
        device=machine.device,
        compile=given.compile if given.compile != "auto" else _usual_compile(machine),
        eval_every=interval,
        eval_batches=given.eval_batches or choose_eval_batches(steps),
        save_every=given.save_every or interval,
    )


def usual_rate(optimizer: Literal["muon", "adamw"], *, steps: int) -> float:
    """The peak learning rate for a run of so many steps; short runs of Muon take longer steps."""
    usual = LEARNING_RATES[optimizer]
    if optimizer == "adamw":
        return usual
    longer = usual * (USUAL_STEPS / steps) ** 0.5
    return round(min(MOST_RATE, max(usual, longer)), 4)


def with_room(
    options: RunOptions, config: ModelConfig, *, batch: int, machine: Machine
) -> RunOptions:
    """The options with as many parts a step as memory asks for; SettingError without room."""
    vocab = "free" if options.text.tokenizer in ("auto", "bpe") else "given"
    room = find_room(config, batch=batch, options=options.train, machine=machine, vocab=vocab)
    return replace(options, train=replace(options.train, accumulate=room.accumulate))


def _usual_compile(machine: Machine) -> Literal["on", "off"]:
    """Where nothing was tried."""
    return "on" if machine.device == "cuda" else "off"


def whole_parts(batch: int, parts: int) -> int:
    """The batch, changed as little as possible so that `parts` divides it."""
    return max(parts, round(batch / parts) * parts)


def chosen_batch(usual: int, options: TrainOptions) -> int:
    """The batch asked for, else the usual one, which `train.accumulate` has to leave whole."""
    parts = options.accumulate
    if options.batch is None and parts > usual:
        raise SettingError(
            f"train.accumulate {parts} is more parts than a step has sequences: {usual} were "
            "chosen, and --train.batch gives another number"
        )
    return options.batch or whole_parts(usual, parts)


@dataclass(frozen=True)
class _Measured:
    """How long a step of this model takes on this machine, measured once."""

    config: ModelConfig
    batch: int
    machine: Machine
    options: RunOptions
    found: dict[bool, float] = field(default_factory=dict)

    def plain(self) -> float:
        """Seconds as written."""
        return self._seconds(compiled=False)

    def compiled(self) -> float:
        """Seconds compiled; compiles first."""
        return self._seconds(compiled=True)

    def _seconds(self, *, compiled: bool) -> float:
        if compiled not in self.found:
            train = self.options.train
            found = measure_model(
                self.config,
                rows=self.machine.rows_of(self.batch, parts=train.accumulate),
                machine=self.machine,
                options=train,
                compiled=compiled,
            )
            self.found[compiled] = found.seconds(train.accumulate)
        return self.found[compiled]
