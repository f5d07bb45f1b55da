"""Stop texts in answers that exist only as tokens: several beginnings at once, no stream."""

from collections.abc import Sequence

from cloche.generation.answers import stream_behind
from cloche.generation.stopping import find_first_stop
from cloche.text.tokenizer import Tokenizer

_CHARACTER_BYTES = 4  # of UTF-8, at most


class StopTexts:
    """Tells of any continuation of a prompt what it reads, and whether a stop text ends it.

    Stop texts count from the token on that makes `min_tokens`; before it they are plain text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        *,
        stops: Sequence[str],
        min_tokens: int = 0,
    ) -> None:
        self._tokenizer, self._prompt, self._stops = tokenizer, tuple(prompt), tuple(stops)
        longest = max((len(stop.encode()) for stop in stops), default=0)
        self._first = max(0, min_tokens - 1)
        self._reach = longest + _CHARACTER_BYTES

    def is_complete(self, ids: tuple[int, ...]) -> bool:
        """Whether a stop text is complete with the last token; it was not before.

        Only the end is read, as much of it as a stop text can begin in.
        """
        start, missing = len(ids) - 1, self._reach
        if start < self._first:
            return False
        while start > self._first and missing > 0:
            start -= 1
            missing -= len(self._tokenizer.token_bytes(ids[start]))
        stream = stream_behind(self._tokenizer, (*self._prompt, *ids[:start]))
        text = "".join(map(stream.push, ids[start:]))
        return find_first_stop(text, self._stops) is not None

    def text_of(self, ids: Sequence[int]) -> str:
        """What the continuation reads, up to the first stop text."""
        stream = stream_behind(self._tokenizer, self._prompt)
        beginning = "".join(map(stream.push, ids[: self._first]))
        text = "".join(map(stream.push, ids[self._first :])) + stream.close()
        start = find_first_stop(text, self._stops)
        return beginning + (text if start is None else text[:start])
