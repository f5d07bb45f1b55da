"""When a measured value is the published one: equal, or within what the printing left open.

Numbers are compared as the decimal numbers that are shown, all digits, never rounded. Only for a
document are they cut, to two digits more than what they are compared to.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Precision:
    """How exactly numbers were published; at most one is given, and none means exactly."""

    decimals: int | None = None
    """Digits behind the point: one unit of the last is allowed."""
    significant: int | None = None
    """Digits in all, leading zeros not counted: one unit of the last is allowed."""
    tolerance: float | None = None
    """What is allowed, in itself."""

    def __post_init__(self) -> None:
        """ValueError where there are two rules for one number."""
        if sum(rule is not None for rule in (self.decimals, self.significant, self.tolerance)) > 1:
            raise ValueError("give decimals, significant digits or a tolerance, not several")

    def allowed(self, published: float) -> Decimal:
        """How far from `published` a measured number may be."""
        if self.tolerance is not None:
            return Decimal(repr(self.tolerance))
        if self.decimals is not None:
            return Decimal(1).scaleb(-self.decimals)
        if self.significant is not None and published:
            return Decimal(1).scaleb(Decimal(repr(published)).adjusted() - self.significant + 1)
        return Decimal(0)

    def for_document(self, value: Any) -> Any:
        """`value` with its fractions rounded to two digits behind what they are compared to.

        Further digits change with the machine and the build of torch.
        """
        if isinstance(value, dict):
            return {name: self.for_document(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.for_document(inner) for inner in value]
        if not isinstance(value, float) or not math.isfinite(value):
            return value
        allowed = self.allowed(value)
        return round(value, 2 - allowed.adjusted()) if allowed else value


@dataclass(frozen=True)
class Difference:
    """A place where the measured value is not the published one."""

    place: str
    """Such as `[2][0]` or `train`; empty for the whole value."""
    published: Any
    measured: Any
    reason: str


def differences(published: Any, measured: Any, precision: Precision) -> list[Difference]:
    """Every place where `measured` is not `published` within its precision; none when it is met.

    Both are numbers, text, truth values, or lists and dictionaries of them.
    """
    return list(_differences(published, measured, precision, place=""))


def _differences(
    published: Any, measured: Any, precision: Precision, *, place: str
) -> Iterator[Difference]:
    if isinstance(published, dict) and isinstance(measured, dict):
        if published.keys() != measured.keys():
            names = " and ".join(f"{', '.join(value)}" for value in (published, measured))
            yield Difference(place, published, measured, f"other names: {names}")
            return
        for name, value in published.items():
            inner = f"{place}[{name}]" if place else name
            yield from _differences(value, measured[name], precision, place=inner)
    elif isinstance(published, list) and isinstance(measured, list):
        if len(published) != len(measured):
            reason = f"{len(measured)} entries, published {len(published)}"
            yield Difference(place, published, measured, reason)
            return
        for index, pair in enumerate(zip(published, measured, strict=True)):
            yield from _differences(*pair, precision, place=f"{place}[{index}]")
    elif reason := _unequal(published, measured, precision):
        yield Difference(place, published, measured, reason)


def _unequal(published: Any, measured: Any, precision: Precision) -> str | None:
    """Why two single values are not the same; None when they are."""
    if not (_is_number(published) and _is_number(measured)):
        same = type(published) is type(measured) and published == measured
        return None if same else "not the same"
    if not math.isfinite(measured):
        return "no number"
    off = abs(Decimal(repr(published)) - Decimal(repr(measured)))  # as both are shown
    allowed = precision.allowed(published)
    if off <= allowed:
        return None
    return f"off by {float(off):.3g}, allowed is {float(allowed):.3g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
