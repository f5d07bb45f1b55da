"""What cleaning did: for each step, how much went in and came out, with examples."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cloche.data.cleaning.steps import ABOUT, Step

EXAMPLES = 3
"""Most examples of a step."""
_SHOWN = 60  # characters of an example


@dataclass(frozen=True)
class Removed:
    """A document that a step took out."""

    reason: str


@dataclass(frozen=True)
class Example:
    """One document that a step changed or removed."""

    document: str
    before: str
    """Its beginning, or the first place that changed."""
    after: str | None = None
    """That place after the change; None where the document was removed."""
    reason: str | None = None
    """Why it was removed."""


@dataclass
class StepReport:
    """What one step did."""

    step: str
    documents_in: int = 0
    documents_out: int = 0
    characters_in: int = 0
    characters_out: int = 0
    changed: int = 0
    """Documents that came out different."""
    examples: list[Example] = field(default_factory=list)

    def count(self, name: str, before: str, outcome: str | Removed) -> None:
        """Add one document that went through the step."""
        self.documents_in += 1
        self.characters_in += len(before)
        if isinstance(outcome, Removed):
            if len(self.examples) < EXAMPLES:
                shown = before[:_SHOWN]
                self.examples.append(Example(name, shown, reason=outcome.reason))
            return
        self.documents_out += 1
        self.characters_out += len(outcome)
        if outcome != before:
            self.changed += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append(_change(name, before, outcome))


@dataclass
class CleaningReport:
    """What every step did, in their order. Counts up while the documents go by."""

    steps: list[StepReport]
    complete: bool = False
    """Whether all documents went by."""

    @classmethod
    def of(cls, steps: Sequence[Step]) -> "CleaningReport":
        """The report of steps that have not begun."""
        return cls([StepReport(str(step)) for step in steps])

    def to_values(self) -> dict[str, Any]:
        """As plain dictionaries and lists."""
        return asdict(self)

    def to_json(self) -> str:
        """As one JSON object."""
        return json.dumps(self.to_values(), ensure_ascii=False)

    def to_text(self) -> str:
        """As lines for a person."""
        lines = [] if self.complete else ["Cleaning, not to the end:"]
        for step in self.steps:
            lines.extend(_step_lines(step))
        return "\n".join(lines)


def _step_lines(step: StepReport) -> list[str]:
    removed = step.documents_in - step.documents_out
    lost = step.characters_in - step.characters_out
    verb = "fewer" if lost >= 0 else "more"
    lines = [
        f"{step.step}: removed {removed:,} of {step.documents_in:,} documents, "
        f"changed {step.changed:,}; {abs(lost):,} characters {verb}, {step.characters_out:,} left",
        f"    {ABOUT[step.step.partition('=')[0]]}",
    ]
    for example in step.examples:
        what = f"-> {example.after!r}" if example.after is not None else f"({example.reason})"
        lines.append(f"    {example.document}: {example.before!r} {what}")
    return lines


def _change(name: str, before: str, after: str) -> Example:
    """The first place where the two differ, with a little of what stands before it."""
    pairs = enumerate(zip(before, after, strict=False))
    shorter = min(len(before), len(after))
    same = next((place for place, (old, new) in pairs if old != new), shorter)
    first = max(0, same - _SHOWN // 3)
    return Example(name, before[first : first + _SHOWN], after[first : first + _SHOWN])
