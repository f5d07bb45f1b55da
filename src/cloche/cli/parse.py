"""Turns a command's arguments into its dataclass, by tyro; the dataclass is the option list."""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import tyro

Command = TypeVar("Command")


def parse(
    command: type[Command], arguments: Sequence[str], *, prog: str, default: Command | None = None
) -> Command:
    """The command filled from `arguments`; prints help or tyro's own error and exits otherwise."""
    given: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(
        command,
        args=list(arguments),
        prog=prog,
        description=inspect.cleandoc(command.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
        **given,
    )


def changed_options(command: Any, names: Iterable[str]) -> list[str]:
    """Those of the named options, as they are typed, that are not as when nobody gives them."""
    usual = {each.name: each.default for each in fields(command) if each.default is not MISSING}
    changed = [name for name in names if name in usual and getattr(command, name) != usual[name]]
    return ["TEXT" if name == "texts" else f"--{name.replace('_', '-')}" for name in changed]
