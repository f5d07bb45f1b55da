"""What the engine takes and gives: requests with OpenAI's names in, token events out."""

import math
from dataclasses import dataclass
from typing import Literal

from cloche.errors import ClocheError, RequestError, join_problems

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt and how to continue it. Checked when made; all problems are told at once."""

    prompt: tuple[int, ...]
    """Ids of the prompt; at least one."""
    max_tokens: int = 200
    """Most tokens to make for each answer."""
    temperature: float = 1.0
    """Divides the logits before the softmax; 0 takes the likeliest token (greedy)."""
    top_k: int | None = None
    """Keep only the k likeliest tokens."""
    top_p: float = 1.0
    """Keep the fewest tokens whose probability reaches this (nucleus sampling)."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest one's probability."""
    seed: int | None = None
    """Seed of this request's own random numbers; drawn by the engine when not given."""
    n: int = 1
    """Number of answers."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer; they are not part of it."""
    stop_ids: tuple[int, ...] | None = None
    """Ids that end an answer; the tokenizer's eos when not given."""
    logprobs: int | None = None
    """Log probabilities of this many likeliest tokens with each token (before filtering)."""
    overflow: Literal["slide", "stop"] = "slide"
    """At a full context: forget the oldest tokens and go on, or finish with `length`."""

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise RequestError(join_problems(problems))

    def _problems(self) -> list[str]:
        found = []
        if not self.prompt:
            found.append("the prompt holds no token; start from the beginning-of-text token")
        if self.max_tokens < 1:
            found.append(f"max_tokens must be at least 1, got {self.max_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            found.append(f"temperature must be 0 (greedy) or more, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            found.append(f"top_k must be at least 1, got {self.top_k}; leave it out to keep all")
        if not 0.0 < self.top_p <= 1.0:
            found.append(f"top_p must be in (0, 1], got {self.top_p}; 1.0 keeps every token")
        if not 0.0 <= self.min_p <= 1.0:
            found.append(f"min_p must be in [0, 1], got {self.min_p}; 0 keeps every token")
        if self.n < 1:
            found.append(f"n must be at least 1, got {self.n}")
        if any(not text for text in self.stop):
            found.append("a stop text is empty; it would end every answer at once")
        if self.logprobs is not None and self.logprobs < 0:
            found.append(f"logprobs must be 0 or more, got {self.logprobs}")
        return found


@dataclass(frozen=True)
class TokenEvent:
    """One token of one answer, or its end."""

    request_id: int
    choice: int
    """Which of the `n` answers, from 0."""
    token_id: int | None
    """None only in a last event that carries held-back text and the finish reason."""
    text: str
    """What can be shown now: whole characters only, nothing of a possible stop text."""
    logprob: float | None = None
    """Log probability of the token under the model itself, before temperature and filters."""
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish_reason: FinishReason | None = None
    error: ClocheError | None = None
    """Why this answer could not go on; the others do. The answer's last event."""
