"""Commands that are told to end: they clean up first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Have SIGTERM end the command as Ctrl-C does, with status 143: what was begun is removed."""
    earlier = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
