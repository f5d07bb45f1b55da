"""Numbers of a plan in words: bytes, counts, times and money."""


def format_bytes(count: float) -> str:
    """`3.2 GB`: thousands of thousands, as machines are sold."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            digits = 0 if count >= 100 * size else 1
            return f"{count / size:.{digits}f} {unit}"
    return f"{count:.0f} bytes"


def format_count(count: float) -> str:
    """`1.4 million`, in three digits; whole numbers below ten thousand."""
    for unit, size in (("trillion", 1e12), ("billion", 1e9), ("million", 1e6)):
        if count >= size:
            return f"{_three_digits(count / size)} {unit}"
    return f"{count:,.0f}"


def format_seconds(seconds: float) -> str:
    """`3.4 minutes`, in the unit that suits."""
    units = (
        ("years", 365.25 * 24 * 3600),
        ("days", 24 * 3600),
        ("hours", 3600),
        ("minutes", 60),
    )
    for unit, size in units:
        if seconds >= 2 * size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds)} s"


def format_dollars(dollars: float) -> str:
    """`$691,200`; cents below a hundred."""
    if dollars < 0.01:
        return "less than a cent"
    return f"${dollars:,.2f}" if dollars < 100 else f"${dollars:,.0f}"


def _three_digits(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"
