"""Numbers of things, as sentences for the screen count them."""


def counted(number: int, noun: str) -> str:
    """`1 step`, `2,000 steps`: the noun takes an s where there is not exactly one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
