"""`cloche replay`: published results computed anew, the printed value beside the measured one."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.parse import parse

if TYPE_CHECKING:
    from cloche.replays.published import Published
    from cloche.replays.replay import Row

_PIPE_COLUMNS = 150  # width of the table where no terminal says how wide it is
_VALUE_CHARACTERS = 40
_NOT_MET = 1


@dataclass(frozen=True)
class Replay:
    """Compute published results of the field anew, with cloche's own parts, and show each beside
    what was printed: tokens, windows, probabilities and losses of an untrained model, parameter
    counts, costs. Exits with 1 where one is not met that should be."""

    names: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="NAME...")] = ()
    """Names of results, or parts of names; all when none is given."""
    listed: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Only list the names, compute nothing."""
    full: bool = False
    """Show whole values, however long, with all that was found; so it is for a single result."""
    markdown: bool = False
    """Print the table as Markdown."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Replay, print, and tell by the exit status whether all came out as they should."""
    command = parse(Replay, arguments, prog="cloche replay")
    from cloche.errors import SettingError
    from cloche.replays.published import choose_published, load_published

    if command.markdown and (command.json or command.full or command.listed):
        raise SettingError("--markdown prints a table: leave out --json, --full and --list")
    chosen = choose_published(load_published(), command.names)
    if command.listed:
        _print_list(chosen, command)
        return 0
    rows = _compute(chosen)
    if command.json:
        values = {"rows": [row.to_values() for row in rows]}
        print(json.dumps(values, ensure_ascii=False))
    else:
        _print_rows(rows, command)
    return 0 if all(row.expected for row in rows) else _NOT_MET


def _compute(chosen: "Sequence[Published]") -> "list[Row]":
    from rich.console import Console

    from cloche.replays.materials import Materials
    from cloche.replays.replay import replay

    materials = Materials(data_folder=data_folder(), cache_folder=cache_folder())
    with Console(stderr=True).status("") as status:  # shown on a terminal only
        return list(replay(chosen, materials, tell=status.update))


def _print_list(chosen: "Sequence[Published]", command: Replay) -> None:
    if command.json:
        rows = [
            {"name": one.name, "published": one.values, "source": one.source.title}
            for one in chosen
        ]
        print(json.dumps({"rows": rows}, ensure_ascii=False))
        return
    for one in chosen:
        print(one.name)
        if command.full:
            print(f"  {json.dumps(one.values, ensure_ascii=False)}\n  {one.source.title}")


def _print_rows(rows: "Sequence[Row]", command: Replay) -> None:
    from cloche.replays.table import describe_row, markdown_table, remarks, summary

    if command.markdown:
        print(markdown_table(rows))
        return
    if command.full or len(rows) == 1:
        print("\n\n".join(map(describe_row, rows)))
    else:
        _print_table(rows)
        for remark in remarks(rows):
            print(f"\n{remark}")
    print(f"\n{summary(rows)}")


def _print_table(rows: "Sequence[Row]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cloche.replays.table import shorten

    table = Table("name", "published", "measured", "outcome", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        published = shorten(row.published.values, characters=_VALUE_CHARACTERS)
        measured = shorten(row.measured, characters=_VALUE_CHARACTERS)
        # as text, since a value may hold brackets that rich would read as its own marks
        cells = (row.published.name, published, measured, row.status)
        table.add_row(*map(Text, cells), style=None if row.met else "yellow")
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    Console(width=width).print(table)
