"""Answers that wait for a row: each request in its turn, and no more of them than was agreed."""

from collections import deque
from collections.abc import Callable

from cloche.errors import RequestError
from cloche.generation.answers import Answer


class QueueFullError(RequestError):
    """Too much is waiting already; the same request can be given again later."""


class Waiting:
    """A queue of requests. They take turns, so that one of many answers does not hold up others."""

    def __init__(self, *, most_tokens: int) -> None:
        self.most_tokens = most_tokens
        self._requests: deque[deque[Answer]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._requests))

    @property
    def tokens(self) -> int:
        """Tokens of all that wait, prompts and the most that they may become."""
        return sum(_tokens(answer) for answers in self._requests for answer in answers)

    def has_room(self, tokens: int) -> bool:
        """Whether so many more may wait. Where nothing waits, anything may."""
        return not self._requests or self.tokens + tokens <= self.most_tokens

    def require_room(self, tokens: int) -> None:
        """Raise QueueFullError where so many more may not wait."""
        if not self.has_room(tokens):
            raise QueueFullError(
                f"{self.tokens:,} tokens wait to be read and written, and this request has "
                f"{tokens:,} more: at most {self.most_tokens:,} may wait, try again later"
            )

    def add(self, answers: list[Answer]) -> None:
        """Have a request's answers wait."""
        self._requests.append(deque(answers))

    def next(self, *, may_start: Callable[[Answer], bool]) -> Answer | None:
        """The answer whose turn it is, of those that may start; None where there is none."""
        for _ in range(len(self._requests)):
            answers = self._requests.popleft()
            if may_start(answers[0]):
                answer = answers.popleft()
                if answers:
                    self._requests.append(answers)
                return answer
            self._requests.append(answers)
        return None

    def cancel(self, request_id: int) -> None:
        """Have none of a request's answers wait any longer."""
        self._requests = deque(
            answers for answers in self._requests if answers[0].request_id != request_id
        )


def _tokens(answer: Answer) -> int:
    return len(answer.request.prompt) + answer.request.max_tokens
