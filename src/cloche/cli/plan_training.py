"""A plan put together: the model that fills the budget, its memory, its pace on the machine."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cloche.cli.plan_subject import Subject
from cloche.errors import SettingError
from cloche.model.config import ModelConfig
from cloche.planning.budget import (
    SMALLEST_BATCH_TOKENS,
    Budget,
    choose_batch,
    choose_eval_batches,
    choose_interval,
    pause_seconds,
    tokens_within,
)
from cloche.planning.estimate import (
    Estimate,
    Outlook,
    Pace,
    Pauses,
    TextSize,
    estimate,
    no_pauses,
    outlook,
)
from cloche.planning.estimate import tokens_within as tokens_at
from cloche.planning.fitting import Fit, Optimizer, TooLarge, fit_training
from cloche.planning.flops import flops_per_token, parameter_count
from cloche.planning.machines import DEFAULT_UTILISATION, MachineType
from cloche.planning.memory import Memory, Precision, generation_memory
from cloche.planning.scaling import chinchilla_tokens
from cloche.training.choices import (
    DEFAULT_MINUTES,
    NOMINAL_FLOPS,
    OVERHEAD,
    size_model,
    whole_parts,
)
from cloche.training.machine import Machine, measure_machine
from cloche.training.options import RunOptions
from cloche.training.room import attention_path, free_bytes, half_or_full, optimizer_of
from cloche.training.sizing import choose_for_time, choose_model
from cloche.training.timing import measure_model

ENDLESS = 10**15
"""Tokens of a text that is not given."""
MEASURING_SECONDS, LONGEST_MEASURING = 5.0, 60.0
"""About what measuring a step may take; and the most, for a single sequence."""
SLOW_UTILISATION = 0.2
"""To guess beforehand how long measuring takes."""


@dataclass(frozen=True)
class Place:
    """The machine of a plan, published or measured."""

    name: str
    about: str
    precision: Precision
    """As far as memory goes, for which all 16 bits are alike."""
    peak_flops: float
    """Of one device."""
    available_bytes: int
    devices: int
    dollars_per_hour: float | None
    price_source: str | None
    source: str
    measured: Machine | None = None
    half: Literal["bfloat16", "float16"] = "bfloat16"
    """Which 16 bits, where it is not float32."""

    @property
    def precision_name(self) -> str:
        """As `--train.precision` calls it."""
        return "float32" if self.precision == "float32" else self.half


@dataclass(frozen=True)
class Planned:
    """All that a plan tells."""

    config: ModelConfig
    optimizer: Optimizer
    estimate: Estimate
    outlook: Outlook | None
    pace: Pace
    place: Place
    writing: Memory
    """To write with the model, one text at a time."""
    text: TextSize | None
    length: str
    """Why it trains for so long, in words."""
    notes: tuple[str, ...]


def plan_training(
    subject: Subject,
    machine: MachineType | None,
    *,
    devices: int,
    utilisation: float | None,
    tokens: float | None,
    price: float | None,
    starting_seconds: float,
    tell: Callable[[str], None],
) -> Planned:
    """The plan of a subject on a machine of the table, or measured on this one (None).

    `starting_seconds` is what starting up and reading the text took here.
    """
    options = subject.options
    place = _place(machine, options, devices=devices, price=price)
    config = subject.config or _choose(subject, place)
    batch = _batch(config, options, place)
    optimizer = optimizer_of(config, options.train)
    memory = fit_training(
        config,
        batch=batch // devices,
        precision=place.precision,
        optimizer=optimizer,
        attention=attention_path(
            config,
            device=place.measured.device if place.measured else "cuda",
            precision=place.precision,
        ),
        available_bytes=place.available_bytes,
        accumulate=options.train.accumulate,
        vocab="free" if subject.vocab_is_free else "given",
    )
    pace = _pace(config, memory, place, options=options, utilisation=utilisation, tell=tell)
    pauses = _pauses(options, starting_seconds) if pace.measured else no_pauses
    wanted, length = _length(subject, config, pace, pauses, batch=batch, tokens=tokens)
    found = estimate(
        config,
        batch=batch,
        tokens=wanted,
        memory=memory,
        pace=pace,
        pauses=pauses,
        devices=devices,
        dollars_per_hour=place.dollars_per_hour,
    )
    return Planned(
        config=config,
        optimizer=optimizer,
        estimate=found,
        outlook=outlook(found, subject.text),
        pace=pace,
        place=place,
        writing=generation_memory(config, rows=1, precision=place.precision),
        text=subject.text,
        length=length,
        notes=subject.notes,
    )


def _place(
    machine: MachineType | None, options: RunOptions, *, devices: int, price: float | None
) -> Place:
    asked = options.train.precision
    if machine is None:
        here = measure_machine(options.train.device, asked)
        free = free_bytes(here)
        precision = half_or_full(here.precision)
        return Place(
            name="here",
            about=f"this machine, {here.device}",
            precision=precision,
            peak_flops=here.flops_per_second,
            available_bytes=free,
            devices=devices,
            dollars_per_hour=price,
            price_source=None if price is None else "as given",
            source="matrix products, measured just now",
            measured=here,
        )
    if machine.half == "float16" and asked == "bfloat16":
        raise SettingError(
            f"{machine.name} has no bfloat16: --train.precision float16 (or auto) is what it has"
        )
    precision = machine.precision if asked == "auto" else half_or_full(asked)
    listed = price is None and machine.dollars_per_hour is not None
    return Place(
        name=machine.name,
        about=machine.about,
        precision=precision,
        peak_flops=machine.peak(precision),
        half=machine.half or "bfloat16",
        available_bytes=int(machine.memory_bytes),
        devices=devices,
        dollars_per_hour=machine.dollars_per_hour if listed else price,
        price_source=machine.price_source if listed else ("as given" if price else None),
        source=machine.source,
    )


def _choose(subject: Subject, place: Place) -> ModelConfig:
    """The model that cloche train would take for this text, machine and time."""
    options = subject.options
    peak = place.peak_flops * place.devices
    budget = Budget(
        seconds=60 * (options.minutes or DEFAULT_MINUTES),
        flops_per_second=peak if options.train.steps is None else NOMINAL_FLOPS,
        train_tokens=subject.text.train_tokens if subject.text else ENDLESS,
        validation_tokens=subject.validation_tokens or ENDLESS,
    )
    if options.train.steps is not None:
        return choose_model(options.model, budget, vocab_size=subject.vocab_size)
    if place.measured is not None:
        return size_model(
            options, budget, vocab_size=subject.vocab_size, machine=place.measured
        ).config

    def step_seconds(config: ModelConfig) -> float:
        return SMALLEST_BATCH_TOKENS * flops_per_token(config) / (DEFAULT_UTILISATION * peak)

    return choose_for_time(
        options.model, budget, vocab_size=subject.vocab_size, step_seconds=step_seconds
    ).config


def _batch(config: ModelConfig, options: RunOptions, place: Place) -> int:
    """Sequences a step; as asked, else what suits the length of the run."""
    parts = place.devices * options.train.accumulate
    if options.train.batch is not None:
        if options.train.batch % parts:
            raise SettingError(
                f"train.batch {options.train.batch} cannot be shared by {place.devices} devices in "
                f"{options.train.accumulate} parts each: use a multiple of {parts}"
            )
        return options.train.batch
    seconds = 60 * (options.minutes or DEFAULT_MINUTES)
    budget = Budget(seconds, place.peak_flops * place.devices, ENDLESS, ENDLESS)
    seen = tokens_within(budget, config) if flops_per_token(config) else 0.0
    if options.train.steps is not None:
        seen = min(seen, 2048.0 * options.train.steps)
    return whole_parts(choose_batch(config, steps_tokens=seen), parts)


def _pace(
    config: ModelConfig,
    memory: Fit | TooLarge,
    place: Place,
    *,
    options: RunOptions,
    utilisation: float | None,
    tell: Callable[[str], None],
) -> Pace:
    peak = place.peak_flops * place.devices
    if utilisation is not None:
        return Pace(peak, utilisation, measured=False)
    if place.measured is not None and isinstance(memory, Fit):
        share = _measured_share(config, memory, place.measured, options=options, tell=tell)
        if share is not None:
            return Pace(peak, share, measured=True)
    return Pace(peak, DEFAULT_UTILISATION, measured=False)


def _measured_share(
    config: ModelConfig,
    memory: Fit,
    machine: Machine,
    *,
    options: RunOptions,
    tell: Callable[[str], None],
) -> float | None:
    """The share of the peak that a step of this model reaches here; None where it is not measured:
    a model that takes no passes or learns from pairs, or takes minutes for a single sequence."""
    each = flops_per_token(config) * config.context
    if not each or config.family == "seq2seq":
        return None
    seconds = (
        4 * each / (SLOW_UTILISATION * machine.flops_per_second)
    )  # one to warm up, three timed
    if seconds > LONGEST_MEASURING:
        return None
    rows = max(1, min(memory.micro_batch, int(MEASURING_SECONDS / seconds)))
    if rows * seconds > 2:
        tell("Measuring a step ...")
    found = measure_model(config, rows=rows, machine=machine, options=options.train)
    sequences = memory.accumulate * memory.micro_batch
    passes = sequences / rows * found.passes
    step = OVERHEAD * (passes + found.update)
    return sequences * each / (step * machine.flops_per_second)


def _pauses(options: RunOptions, starting_seconds: float) -> Pauses:
    """Starting up, and all evaluations, each with its sample and its checkpoint."""

    def seconds(steps: int, step_seconds: float) -> float:
        every = options.train.eval_every or choose_interval(steps)
        batches = options.train.eval_batches or choose_eval_batches(steps)
        each = pause_seconds(batches, step_seconds=step_seconds)
        return starting_seconds + math.ceil(steps / every) * each

    return seconds


def _length(
    subject: Subject,
    config: ModelConfig,
    pace: Pace,
    pauses: Pauses,
    *,
    batch: int,
    tokens: float | None,
) -> tuple[float, str]:
    """Tokens to learn from, and why so many."""
    options = subject.options
    if tokens is not None:
        return tokens, "as asked with --tokens"
    if options.train.steps is not None:
        return float(options.train.steps * batch * config.context), "the steps given"
    timed = options.minutes is not None or subject.text is not None
    if timed and flops_per_token(config):
        minutes = options.minutes or DEFAULT_MINUTES
        usual = "" if options.minutes else ", the usual time"
        step_tokens = batch * config.context
        step = step_tokens / tokens_at(config, pace, seconds=1.0)
        beside = pauses(max(1, int(60 * minutes / step)), step)
        seconds = max(step, 60 * minutes - beside)
        return tokens_at(config, pace, seconds=seconds), f"{minutes:g} minutes{usual}"
    return chinchilla_tokens(parameter_count(config)), "20 tokens a parameter (Chinchilla)"
