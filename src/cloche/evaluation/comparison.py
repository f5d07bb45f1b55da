"""Several models on the same text: one table with intervals, and their differences.

Models with different tokenizers are compared by byte and by character: nats a token mean something
else for each. All are measured on the same documents, whose text is cut into the same blocks
(`blocks.py`), so what makes a page hard for all of them cancels in the differences, whose own
standard errors are told. Two intervals may overlap widely and their difference still be sure.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from cloche.evaluation.blocks import Estimate, difference
from cloche.evaluation.report import BYTES, CHARACTERS, LIKELIEST, NATS, TOKENS, Report


@dataclass(frozen=True, eq=False)
class Measured:
    """One model's row."""

    name: str
    checkpoint: str
    parameters: int
    tokenizer: str
    """Its fingerprint."""
    context: int
    stride: int
    report: Report

    def to_values(self) -> dict[str, Any]:
        """For JSON."""
        about = {name: value for name, value in vars(self).items() if name != "report"}
        return {**about, **self.report.to_values()}


@dataclass(frozen=True)
class Difference:
    """How much more a text costs one model than another; negative where it costs less."""

    name: str
    other: str
    bits_per_byte: Estimate
    nats_per_character: Estimate
    accuracy: Estimate | None
    """None where the two have different tokenizers: their tokens are not the same questions."""

    @property
    def sure(self) -> bool:
        """Whether the 95% interval of the difference in bits a byte leaves zero out."""
        interval = self.bits_per_byte.interval
        return interval is not None and not interval[0] <= 0.0 <= interval[1]

    def to_values(self) -> dict[str, Any]:
        """For JSON."""
        values: dict[str, Any] = {"run": self.name, "other": self.other, "sure": self.sure}
        for name in ("bits_per_byte", "nats_per_character", "accuracy"):
            found: Estimate | None = getattr(self, name)
            interval = None if found is None else found.interval
            values[name] = None if found is None else found.value
            values[f"{name}_stderr"] = None if found is None else found.stderr
            values[f"{name}_interval"] = None if interval is None else list(interval)
        return values


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models measured on the same documents, in the order in which they were named."""

    rows: tuple[Measured, ...]

    def __post_init__(self) -> None:
        shapes = {(len(row.report.sums), row.report.block_bytes) for row in self.rows}
        assert len(shapes) == 1, "reports on the same documents have the same blocks"

    @property
    def to_first(self) -> tuple[Difference, ...]:
        """Of every row but the first, how much more the text costs than it costs the first."""
        return tuple(compare(row, self.rows[0]) for row in self.rows[1:])

    @property
    def between_all(self) -> tuple[Difference, ...]:
        """Of every pair of rows: the later one less the earlier one."""
        return tuple(compare(later, earlier) for earlier, later in combinations(self.rows, 2))

    def to_values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "runs": [row.to_values() for row in self.rows],
            "differences": [found.to_values() for found in self.between_all],
        }


def compare(one: Measured, other: Measured) -> Difference:
    """How much more the text costs `one` than `other`."""
    sums, others = one.report.sums, other.report.sums
    by_byte, by_character, right = (
        difference(
            (sums[:, numerator], sums[:, denominator]),
            (others[:, numerator], others[:, denominator]),
        )
        for numerator, denominator in ((NATS, BYTES), (NATS, CHARACTERS), (LIKELIEST, TOKENS))
    )
    return Difference(
        one.name,
        other.name,
        bits_per_byte=by_byte.scaled(1 / math.log(2)),
        nats_per_character=by_character,
        accuracy=right if one.tokenizer == other.tokenizer else None,
    )
