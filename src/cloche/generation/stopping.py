"""Stop texts, found although they arrive in pieces; nothing of them is ever shown."""

from collections.abc import Sequence


class StopFilter:
    """Lets text through up to the first stop text, and holds back what might begin one.

    The first stop text is the one complete first; of two that end together, the longer one. So
    the result does not depend on how the text was cut into pieces.
    """

    def __init__(self, stops: Sequence[str]):
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """The text that can be shown now that `piece` has come; nothing once a stop was found."""
        if self.found:
            return ""
        text = self._held + piece
        start = find_first_stop(text, self._stops)
        self.found = start is not None
        if start is None:
            start = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = "" if self.found else text[start:]
        return text[:start]

    def close(self) -> str:
        """The text held back, which after all began no stop text."""
        held, self._held = self._held, ""
        return held


def find_first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the stop text begins that is complete first in `text`; None where there is none."""
    spans = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    return min(spans)[1] if spans else None


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, shorter than it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
