"""What a classifier gets right: accuracy beside that of the commonest class, and each confusion."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

MOST_SHOWN = 12
"""Classes of which a terminal shows a table; of more, the worst confusions."""
IMBALANCE = 4.0
"""From so many times as many rows of the commonest class as of the rarest on, it is told."""


@dataclass(frozen=True)
class ClassReport:
    """Held-out texts, classified."""

    part: str
    """test, or validation where there are no test rows."""
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    """How many texts of a class (row) were taken for one (column)."""
    baseline: float
    """Share that whoever always says the commonest training class gets right."""
    commonest: str

    @property
    def texts(self) -> int:
        """Of all classes."""
        return sum(map(sum, self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of the texts that were taken for what they are."""
        right = sum(row[number] for number, row in enumerate(self.confusion))
        return right / self.texts

    def recall(self, number: int) -> float | None:
        """Share of a class's texts that were found; None where there is none."""
        row = self.confusion[number]
        return row[number] / sum(row) if sum(row) else None

    def precision(self, number: int) -> float | None:
        """Share of the texts taken for a class that are of it; None where there is none."""
        column = sum(row[number] for row in self.confusion)
        return self.confusion[number][number] / column if column else None

    def to_values(self) -> dict[str, Any]:
        """As JSON values."""
        by_class = {
            name: {"recall": self.recall(number), "precision": self.precision(number)}
            for number, name in enumerate(self.classes)
        }
        return {
            **asdict(self),
            "texts": self.texts,
            "accuracy": self.accuracy,
            "by_class": by_class,
        }


def make_report(
    wanted: Sequence[int],
    found: Sequence[int],
    classes: tuple[str, ...],
    *,
    part: str,
    commonest: int,
) -> ClassReport:
    """The report of numbers of classes: what the texts are, and what they were taken for."""
    counts = Counter(zip(wanted, found, strict=True))
    size = range(len(classes))
    confusion = tuple(tuple(counts[row, column] for column in size) for row in size)
    baseline = sum(number == commonest for number in wanted) / max(len(wanted), 1)
    return ClassReport(part, classes, confusion, baseline, classes[commonest])


def describe_classes(labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Sentences for the screen: how many training rows each class has, and what that means."""
    counts = Counter(labels)
    common = [f"{name} {count:,}" for name, count in counts.most_common(MOST_SHOWN)]
    more = f" and {len(classes) - MOST_SHOWN} more" if len(classes) > MOST_SHOWN else ""
    (first, most), *_, (last, least) = counts.most_common()
    lines = [
        f"Classes: {', '.join(common)}{more}.",
        f"Always saying {first!r} would be right for {most / len(labels):.1%} of these rows.",
    ]
    if most >= IMBALANCE * least:
        lines.append(
            f"The classes are uneven: {most / least:.0f} times as many rows are {first!r} as "
            f"{last!r}. Accuracy alone says little then; look at each class."
        )
    return lines


def report_table(report: ClassReport) -> Table:
    """The confusion matrix, or the commonest confusions of many classes, for a terminal."""
    if len(report.classes) > MOST_SHOWN:
        return _confusions(report)
    table = Table()
    table.add_column("is \\ taken for")
    for name in report.classes:
        table.add_column(Text(name), justify="right")
    table.add_column("found", justify="right")
    for number, name in enumerate(report.classes):
        cells = [
            Text(
                f"{count:,}", style="bold green" if number == column else "red" if count else "dim"
            )
            for column, count in enumerate(report.confusion[number])
        ]
        table.add_row(Text(name), *cells, _percent(report.recall(number)))
    return table


def _confusions(report: ClassReport) -> Table:
    pairs = [
        (count, row, column)
        for row, counts in enumerate(report.confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    table = Table("texts", "are", "taken for", title="The commonest confusions")
    for count, row, column in sorted(pairs, reverse=True)[:MOST_SHOWN]:
        table.add_row(f"{count:,}", Text(report.classes[row]), Text(report.classes[column]))
    return table


def _style(count: int, *, right: bool) -> str:
    if right:
        return "bold green"
    return "red" if count else "dim"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
