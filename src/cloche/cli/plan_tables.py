"""A plan on the screen, and as JSON."""

from dataclasses import asdict
from typing import Any

from cloche.cli.plan_training import Planned
from cloche.planning.fitting import Fit, describe_too_large, memory_parts
from cloche.planning.laws import CHINCHILLA_SMALLEST
from cloche.planning.machines import (
    DEFAULT_UTILISATION,
    DOLLARS_FOR_EIGHT,
    EIGHT_DEVICES,
    TRAININGS,
    UTILISATIONS,
    PublishedTraining,
)
from cloche.planning.memory import Memory
from cloche.planning.scaling import TOKENS_PER_PARAMETER, training_cost
from cloche.planning.wording import format_bytes, format_count, format_dollars, format_seconds

WORTH_SAYING = 1.5
"""How far from a rule a training has to be to be told so."""


def describe(plan: Planned) -> list[str]:
    """The plan in lines for the screen."""
    blocks = [
        list(plan.notes),
        _text(plan),
        _model(plan),
        _training(plan),
        _memory(plan),
        _time(plan),
        _laws(plan),
        _published(),
    ]
    lines: list[str] = []
    for block in blocks:
        lines += ["", *block] if lines and block else block
    return lines


def to_values(plan: Planned) -> dict[str, Any]:
    """The plan as one JSON object, in full precision; bytes, seconds, dollars, operations."""
    found, place = plan.estimate, plan.place
    memory = found.memory
    fits = isinstance(memory, Fit)
    return {
        "text": asdict(plan.text) if plan.text else None,
        "model": asdict(plan.config),
        "parameters": {
            "total": found.parameters,
            "active": found.active_parameters,
            "matrices": found.matrix_parameters,
            **found.parts,
        },
        "training": {
            "batch": found.batch,
            "context": found.context,
            "steps": found.steps,
            "tokens": found.tokens,
            "length": plan.length,
            "optimizer": plan.optimizer,
            "precision": place.precision_name,
            "flops_per_token": found.flops_per_token,
            "flops": found.flops,
        },
        "memory": {
            "fits": fits,
            "micro_batch": memory.micro_batch if isinstance(memory, Fit) else None,
            "accumulate": memory.accumulate if isinstance(memory, Fit) else None,
            "available": memory.available_bytes,
            **_bytes(memory.memory),
            "changes": [] if isinstance(memory, Fit) else [asdict(c) for c in memory.changes],
            "writing": _bytes(plan.writing),
        },
        "machine": {
            "name": place.name,
            "devices": place.devices,
            "peak_flops": place.peak_flops,
            "utilisation": plan.pace.utilisation,
            "utilisation_is": "measured" if plan.pace.measured else "assumed",
            "source": place.source,
            "dollars_per_hour": place.dollars_per_hour,
        },
        "time": {
            "seconds": found.seconds,
            "device_hours": found.device_hours,
            "dollars": found.dollars,
        },
        "laws": asdict(plan.outlook) if plan.outlook else None,
        "published": [_published_values(training) for training in TRAININGS],
        "notes": list(plan.notes),
    }


def _bytes(memory: Memory) -> dict[str, int]:
    return {**asdict(memory), "total": memory.total}


def _row(name: str, value: str) -> str:
    return f"  {name:<22} {value}"


def _text(plan: Planned) -> list[str]:
    if plan.text is None:
        return []
    text = plan.text
    return [
        f"Text: {text.name}",
        _row("tokens", f"{text.tokens:,} of {text.characters:,} characters ({text.tokenizer})"),
        _row("to learn from", f"{text.train_tokens:,}"),
    ]


def _model(plan: Planned) -> list[str]:
    config, found = plan.config, plan.estimate
    shape = (
        f"a table of {config.vocab_size:,} x {config.vocab_size:,}"
        if config.family == "bigram"
        else f"{config.layers} layers of width {config.width}, {config.heads} heads"
    )
    parts = ", ".join(f"{name} {count:,}" for name, count in found.parts.items())
    lines = [
        f"Model: {config.family}, {shape}, context {config.context}, vocabulary "
        f"{config.vocab_size:,}",
        _row("parameters", f"{found.parameters:,}"),
        _row("", parts),
    ]
    if found.active_parameters != found.parameters:
        lines.append(_row("active for a token", f"{found.active_parameters:,}"))
    lines.append(
        _row(
            "operations a token",
            f"{found.flops_per_token:,} (6 for each of {found.matrix_parameters:,} in matrices, "
            "and attention)",
        )
    )
    return lines


def _training(plan: Planned) -> list[str]:
    found = plan.estimate
    passes = ""
    if plan.outlook and plan.outlook.passes is not None:
        passes = f", {plan.outlook.passes:.2f} passes over the text"
    return [
        f"Training: {plan.optimizer}, {plan.place.precision_name}; {plan.length}",
        _row("steps", f"{found.steps:,} of {found.batch} x {found.context} tokens"),
        _row("tokens", f"{format_count(found.tokens)}{passes}"),
        _row("operations", f"{found.flops:.3g}"),
    ]


def _memory(plan: Planned) -> list[str]:
    found, place = plan.estimate.memory, plan.place
    each = "" if place.devices == 1 else ", each device"
    writing = _row(
        "writing with it",
        f"{format_bytes(plan.writing.total)}, of which {format_bytes(plan.writing.cache)} cache "
        "for one text",
    )
    if not isinstance(found, Fit):
        message = describe_too_large(found)
        first, *rest = message.split("\n")
        return [f"Memory{each}: does not fit; {first}", *rest]
    rows = [_row(name, format_bytes(count)) for name, count in memory_parts(found.memory)]
    parts = f" in {found.accumulate} parts" if found.accumulate > 1 else ""
    return [
        f"Memory{each}: {format_bytes(found.memory.total)} of "
        f"{format_bytes(found.available_bytes)} available, {found.micro_batch} sequences at "
        f"once{parts}",
        *rows,
        writing,
    ]


def _time(plan: Planned) -> list[str]:
    found, place, pace = plan.estimate, plan.place, plan.pace
    machine = place.about if place.devices == 1 else f"{place.devices} x {place.about}"
    kind = "measured" if pace.measured else "assumed"
    lines = [
        f"Machine: {machine}",
        _row("peak", f"{place.peak_flops:.3g} operations a second each ({place.source})"),
        _row("utilisation", f"{pace.utilisation:.1%}, {kind}{_range_of_published(plan)}"),
    ]
    if found.seconds is None or found.device_hours is None:
        return lines
    hours = (
        f"{format_count(found.device_hours)} device hours"
        if found.device_hours >= 10
        else (f"{found.device_hours:.3g} device hours")
    )
    lines.append(_row("time", f"{format_seconds(found.seconds)} ({hours})"))
    if found.dollars is None:
        lines.append(_row("cost", "no price is known: give one with --price"))
    else:
        price = f"${place.dollars_per_hour:,.2f} a device hour: {place.price_source}"
        lines.append(_row("cost", f"{format_dollars(found.dollars)} ({price})"))
    return lines


def _range_of_published(plan: Planned) -> str:
    if plan.pace.measured or plan.pace.utilisation != DEFAULT_UTILISATION:
        return ""
    shares = [each.share for each in UTILISATIONS]
    return (
        f"; published are {min(shares):.0%} to {max(shares):.0%}, of large models: small ones "
        "reach less"
    )


def _laws(plan: Planned) -> list[str]:
    laws, found = plan.outlook, plan.estimate
    if laws is None:
        return []
    lines = [
        "Laws",
        _row(
            "Chinchilla's 20",
            f"{format_count(laws.chinchilla_tokens)} tokens for these parameters; planned are "
            f"{laws.tokens_per_parameter:.2f} a parameter{_judged(plan)}",
        ),
        _row(
            "parametric law",
            f"best for these operations: {format_count(laws.best.parameters)} parameters, "
            f"{format_count(laws.best.tokens)} tokens",
        ),
        _row(
            "Kaplan, N ~ C^0.73",
            f"{format_count(laws.kaplan.parameters)} without embeddings, "
            f"{format_count(laws.kaplan.tokens)} tokens",
        ),
    ]
    if laws.loss is not None:
        lines.append(_row("loss by that law", f"{laws.loss:.2f} nats a token of web text"))
    else:
        lines.append(
            _row(
                "",
                f"they were fitted to {format_count(CHINCHILLA_SMALLEST)} parameters and more: for "
                f"{format_count(found.parameters)}, fit your own with --fit",
            )
        )
    return lines + _repetition(plan)


def _judged(plan: Planned) -> str:
    """What the rule would have instead; nothing for models that it does not speak of."""
    laws = plan.outlook
    if laws is None or laws.loss is None:
        return ""
    ratio = laws.tokens_per_parameter / TOKENS_PER_PARAMETER
    if ratio > WORTH_SAYING:
        return ": a larger model would use the time better, a smaller one is cheaper to use"
    if ratio < 1 / WORTH_SAYING:
        return ": by this rule a smaller model would learn more in the time"
    return ""


def _repetition(plan: Planned) -> list[str]:
    laws = plan.outlook
    if laws is None or laws.worth is None or laws.passes is None or plan.text is None:
        return []
    lines = []
    if laws.passes > 1:
        share = laws.worth / plan.estimate.tokens
        lines.append(
            _row(
                "repeated text",
                f"{laws.passes:.1f} passes teach as {format_count(laws.worth)} new tokens would "
                f"({share:.0%}); no number of passes is worth more than "
                f"{format_count(laws.most_worth or 0)}",
            )
        )
    lines.append(
        _row(
            "Llama 2's 2 trillion",
            f"as long as {format_count(laws.llama_2_copies or 0)} copies of this text",
        )
    )
    return lines


def _published() -> list[str]:
    price = f"${DOLLARS_FOR_EIGHT:g} an hour for {EIGHT_DEVICES} devices"
    lines = [f"Published trainings, what they would cost at {price}"]
    for training in TRAININGS:
        hours = f"{training.device_hours:>12,.0f} {training.device} hours"
        tokens = format_count(training.tokens)
        lines.append(_row(training.name, f"{hours}  {_cost(training):>14}  {tokens} tokens"))
    return lines


def _cost(training: PublishedTraining) -> str:
    return format_dollars(
        training_cost(
            training.device_hours, devices=EIGHT_DEVICES, dollars_per_hour=DOLLARS_FOR_EIGHT
        )
    )


def _published_values(training: PublishedTraining) -> dict[str, Any]:
    cost = training_cost(
        training.device_hours, devices=EIGHT_DEVICES, dollars_per_hour=DOLLARS_FOR_EIGHT
    )
    return {**asdict(training), "dollars_at_30_for_8": cost}
