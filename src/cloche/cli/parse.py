"""Turns a command's arguments into its dataclass, by tyro; the dataclass is the option list."""

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
        description=command.__doc__,
        config=(tyro.conf.FlagCreatePairsOff,),
        **given,
    )
