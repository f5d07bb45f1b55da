"""Numbers of a request, checked: each with its name and the range it may lie in."""

import math


def whole_number_problems(
    name: str, value: object, *, lowest: int, hint: str = "", optional: bool = False
) -> list[str]:
    """What is wrong with a number that must be whole and at least `lowest`; nothing if it is."""
    if optional and value is None:
        return []
    rest = f"; {hint}" if hint else ""
    if not isinstance(value, int) or isinstance(value, bool):
        return [f"{name} must be a whole number, {lowest} or more, got {value!r}{rest}"]
    if value < lowest:
        return [f"{name} must be at least {lowest}, got {value}{rest}"]
    return []


def number_problems(
    name: str,
    value: object,
    *,
    lowest: float,
    highest: float,
    above_lowest: bool = False,
    hint: str = "",
) -> list[str]:
    """What is wrong with a number that must lie between two others; nothing if it does.

    Both ends are allowed, the lower one not where the number must lie `above_lowest`.
    """
    interval = f"{'(' if above_lowest else '['}{lowest:g}, {highest:g}]"
    rest = f"; {hint}" if hint else ""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return [f"{name} must be a number in {interval}, got {value!r}{rest}"]
    fits = lowest < value <= highest if above_lowest else lowest <= value <= highest
    if not fits:  # nor does what is no number (NaN)
        return [f"{name} must be in {interval}, got {value}{rest}"]
    return []


def temperature_problems(value: object) -> list[str]:
    """What is wrong with a temperature; nothing if it is finite and not negative."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value) and value >= 0:
            return []
        value = str(value)
    else:
        value = repr(value)
    return [f"temperature must be 0 (greedy) or more, got {value}"]


def id_problems(name: str, ids: object) -> list[str]:
    """What is wrong with a sequence of token ids; nothing if all are whole numbers from 0 on."""
    if not isinstance(ids, tuple):
        return [f"{name} must be a tuple of token ids, got {ids!r:.80}"]
    for token_id in ids:
        if not isinstance(token_id, int) or isinstance(token_id, bool) or token_id < 0:
            return [f"{name} must hold token ids, whole numbers from 0 on, got {token_id!r}"]
    return []
