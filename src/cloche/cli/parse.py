"""Turns a command's arguments into its dataclass, by tyro; the dataclass is the option list."""

import inspect
import sys
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import tyro

from cloche.cli.processes import USER_ERROR

Command = TypeVar("Command")


def parse(
    command: type[Command], arguments: Sequence[str], *, prog: str, default: Command | None = None
) -> Command:
    """The command filled from `arguments`; prints help or tyro's own error and exits otherwise."""
    given: dict[str, Any] = {} if default is None else {"default": default}
    given |= {
        "args": list(arguments),
        "prog": prog,
        "description": inspect.cleandoc(command.__doc__ or ""),
        "config": (tyro.conf.FlagCreatePairsOff,),
    }
    found, unknown = tyro.cli(command, return_unknown_args=True, **given)
    if not unknown:
        return found
    if any(word.startswith("-") for word in unknown):
        tyro.cli(command, **given)  # names the options that are near
    print(
        f"cloche: not expected here: {' '.join(unknown)}. A text or path of several words stands "
        f"in quotes; {prog} --help names what can be given",
        file=sys.stderr,
    )
    raise SystemExit(USER_ERROR)


def changed_options(command: Any, names: Iterable[str]) -> list[str]:
    """Those of the named options, as they are typed, that are not as when nobody gives them."""
    usual = {each.name: each.default for each in fields(command) if each.default is not MISSING}
    changed = [name for name in names if name in usual and getattr(command, name) != usual[name]]
    return ["TEXT" if name == "texts" else f"--{name.replace('_', '-')}" for name in changed]
