"""Answers as `cloche generate` collects them from the engine's events, and as JSON tells them."""

import math
from dataclasses import dataclass, field
from typing import Any

from cloche.generation.request import FinishReason, TokenEvent


@dataclass
class WrittenAnswer:
    """What has come of one answer so far."""

    text: str = ""
    tokens: int = 0
    finish_reason: FinishReason | None = None
    error: str | None = None
    """Why it could not go on; what was written before is kept."""
    made: list[TokenEvent] = field(default_factory=list, repr=False)
    """The events of its tokens, where they bear log probabilities."""

    @property
    def ended(self) -> bool:
        """Whether no more will come."""
        return self.finish_reason is not None or self.error is not None

    def add(self, event: TokenEvent) -> None:
        """Take in the next event."""
        self.text += event.text
        self.tokens += event.token_id is not None
        self.finish_reason = event.finish_reason
        self.error = None if event.error is None else str(event.error)
        if event.logprob is not None:
            self.made.append(event)

    def to_json(self) -> dict[str, Any]:
        """What JSON tells of it; of tokens one by one only where the request asked for logprobs."""
        found: dict[str, Any] = {
            "text": self.text,
            "tokens": self.tokens,
            "finish_reason": self.finish_reason,
        }
        if self.error is not None:
            found["error"] = self.error
        if self.made:
            found["token_ids"] = [event.token_id for event in self.made]
            found["logprobs"] = [_number(event.logprob) for event in self.made]
            found["filtered_logprobs"] = [_number(event.filtered_logprob) for event in self.made]
            found["top_logprobs"] = [
                [[token_id, _number(logprob)] for token_id, logprob in event.top_logprobs]
                for event in self.made
            ]
        return found


def _number(value: float | None) -> float | None:
    """The number; null where it is an infinity, which JSON does not know."""
    return value if value is not None and math.isfinite(value) else None
