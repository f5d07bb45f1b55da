"""Tables that leave out what matters least where a terminal is narrow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table

_ANY_WIDTH = 10_000


@dataclass(frozen=True, eq=False)
class Fitting:
    """The first of these tables that fits the terminal, else the last; the fullest come first."""

    tables: Sequence[Table]
    whole: bool = False
    """Whether each must fit with all that stands in it; else its columns may be cut to their least
    width."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """What rich prints."""
        wide = options.update(max_width=_ANY_WIDTH)
        sizes = (Measurement.get(console, wide, table) for table in self.tables)
        needed = (size.maximum if self.whole else size.minimum for size in sizes)
        fitting = (
            table
            for table, width in zip(self.tables, needed, strict=True)
            if width <= options.max_width
        )
        yield next(fitting, self.tables[-1])
