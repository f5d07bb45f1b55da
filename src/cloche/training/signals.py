"""Ctrl-C and SIGTERM as wishes: the training ends after its step, and saves."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals_noted(*, repeated_by_launcher: bool) -> Iterator[list[int]]:
    """Inside, the first Ctrl-C or SIGTERM is only noted; a second one acts as it always does.

    A launcher passes on what it gets, so that one Ctrl-C may come twice: with
    `repeated_by_launcher` all are only noted, and the launcher ends who takes too long.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may set handlers
        return
    earlier: dict[int, Any] = {}

    def note(number: int, _frame: object) -> None:
        caught.append(number)
        if repeated_by_launcher:
            return
        for signal_number, handler in earlier.items():
            signal.signal(signal_number, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        earlier[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
