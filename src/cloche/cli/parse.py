"""Turns a command's arguments into its dataclass, by tyro; the dataclass is the option list."""

import inspect
from collections.abc import Sequence
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
