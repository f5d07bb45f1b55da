"""`cloche plan`: what a training would take, before it starts; or a law fitted to runs."""

import json
import sys
import time
from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

import tyro

from cloche.cli.parse import parse
from cloche.cli.train import recipe_file
from cloche.config import check, read_toml, with_values
from cloche.errors import SettingError
from cloche.training.options import RunOptions


@dataclass(frozen=True)
class Plan(RunOptions):
    """What a training would take, without training: parameters, operations, memory, time and cost,
    and what the laws of scaling say of it. With --fit, a law of one's own runs."""

    sources: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[TEXT|RUN|RECIPE]")
    ] = ()
    """Texts, as cloche train takes them; or a run, a checkpoint or a Hugging Face folder, whose
    model is taken; or a recipe."""
    recipe: str | None = None
    """Options from a TOML file, or a packaged recipe, beside a text."""
    machine: str = "here"
    """here, which is measured, or one of the table: a100-40, a100-80, h100, h200, b200, l40s,
    rtx-3090, rtx-4090, rtx-5090, t4, v100, m1, m1-pro, m1-max, m1-ultra, m2."""
    devices: int = 1
    """How many of them, each with a part of every batch and the whole model."""
    price: float | None = None
    """Dollars for one device and hour; the list price in the table, where there is one."""
    utilisation: float | None = None
    """Share of the peak that is reached: measured here, else 0.4, as the better of those published
    have it."""
    tokens: float | None = None
    """Tokens to learn from, repetitions counted; 1e9 is a billion."""
    fit: tuple[str, ...] = ()
    """Runs that a scaling law is fitted to, by their validation losses."""
    points: Literal["auto", "last", "all"] = "auto"
    """With --fit: the last evaluation of each run, or all of them; the last where they suffice."""
    out: str | None = None
    """With --fit: an image file for the law's plot."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Plan, or fit, and print."""
    began = time.monotonic()
    command = parse(Plan, arguments, prog="cloche plan")
    _check_command(command)
    if command.fit:
        from cloche.cli.plan_fit import fit_runs

        return fit_runs(command.fit, which=command.points, out=command.out, as_json=command.json)
    command = _with_recipe(command, arguments)
    from cloche.planning.machines import HERE, find_machine

    options = _options(command)
    machine = None if command.machine == HERE else find_machine(command.machine)
    from cloche.cli.plan_subject import open_subject
    from cloche.cli.plan_tables import describe, to_values
    from cloche.cli.plan_training import plan_training
    from cloche.training.machine import keep_freed_memory

    keep_freed_memory()  # as cloche train does, whose steps are measured here
    subject = open_subject(options, tell=_tell)
    found = plan_training(
        subject,
        machine,
        devices=command.devices,
        utilisation=command.utilisation,
        tokens=command.tokens,
        price=command.price,
        starting_seconds=time.monotonic() - began,
        tell=_tell,
    )
    if command.json:
        print(json.dumps(to_values(found), ensure_ascii=False))
    else:
        print("\n".join(describe(found)))
    return 0


def _check_command(command: Plan) -> None:
    """SettingError with all that contradicts among the options of this verb alone."""
    problems = [
        f"--{name} must be above 0, got {value}"
        for name in ("devices", "price", "tokens")
        if (value := getattr(command, name)) is not None and not value > 0
    ]
    if command.utilisation is not None and not 0 < command.utilisation <= 1:
        problems.append(f"--utilisation is a share from 0 to 1, got {command.utilisation}")
    if command.tokens is not None and command.minutes is not None:
        problems.append("--tokens and --minutes both say how long to train: give one of them")
    if not command.fit and (command.out is not None or command.points != "auto"):
        problems.append("--out and --points belong to --fit, which names the runs to fit")
    if command.fit and command.sources:
        problems.append(
            f"--fit takes runs and plans nothing: leave {', '.join(command.sources)} out, or name "
            "it behind --fit"
        )
    if problems:
        raise SettingError("\n".join(problems))


def _with_recipe(command: Plan, arguments: list[str]) -> Plan:
    """The arguments read again over a recipe, which may be named where a text is."""
    from cloche.cli.plan_subject import names_recipe

    named, recipe = command.sources, command.recipe
    if recipe is None and len(named) == 1 and names_recipe(named[0]):
        recipe, named = named[0], ()
    if recipe is None:
        return command
    values = read_toml(recipe_file(recipe))
    default = with_values(Plan(), values, source=f"recipe {recipe}")
    if command.minutes is not None or command.tokens is not None:
        default = replace(default, train=replace(default.train, steps=None))
    if command.train.steps is not None or command.tokens is not None:
        default = replace(default, minutes=None)
    again = parse(Plan, arguments, prog="cloche plan", default=default)
    return replace(again, sources=named or default.sources)


def _options(command: Plan) -> RunOptions:
    """The options of the run that is planned, checked."""
    given = RunOptions(**{field.name: getattr(command, field.name) for field in fields(RunOptions)})
    check(given)
    if command.tokens is not None and given.train.steps is not None:
        raise SettingError("--tokens and --train.steps both say how long to train: give one")
    if given.model.family == "ngram":
        raise SettingError(
            "an ngram model is counted, not trained: there is nothing to plan. cloche train counts "
            "a book in seconds"
        )
    return given


def _tell(message: str) -> None:
    print(message, file=sys.stderr)
