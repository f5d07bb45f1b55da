"""What tables of any format say when a column or a row cannot be used."""

from collections.abc import Sequence

from cloche.errors import TextError

ROW_ADVICE = "mend the row, or skip such rows with --text.skip-bad"

_SHOWN = 12


def no_column(column: str, columns: Sequence[str], *, name: str) -> TextError:
    """The error for a column that is not there, with those that are."""
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    there = ", ".join(map(repr, columns[:_SHOWN])) + more if columns else "none"
    return TextError(
        f"{name} has no column {column!r}; its columns are {there}. Name the one that holds the "
        f"text with --text.column"
    )
