"""What the engine takes and gives: requests with OpenAI's names in, token events out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cloche.errors import ClocheError, RequestError, join_problems
from cloche.generation.ranges import (
    id_problems,
    number_problems,
    temperature_problems,
    whole_number_problems,
)

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, eq=False)
class Constraint:
    """A grammar that answers must follow, ready for one tokenizer; any number of them may use it.

    Made by a `ConstraintCompiler`, never by hand.
    """

    what: str
    """What messages call it."""
    matcher: Any
    """llguidance's matcher before the first token; only copies of it move on."""
    vocab_size: int
    fingerprint: str
    """Of the tokenizer that it was made for."""


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
    """Texts that end an answer; they are not part of it. What is written while an answer may not
    end yet (`min_tokens`, `forced_words`) is not searched for them."""
    stop_ids: tuple[int, ...] | None = None
    """Ids that end an answer; the tokenizer's eos when not given."""
    logprobs: int | None = None
    """Log probabilities of this many likeliest tokens with each token (before filtering)."""
    overflow: Literal["slide", "stop"] = "slide"
    """At a full context: forget the oldest tokens and go on, or finish with `length`."""
    typical_p: float = 1.0
    """Keep the fewest tokens, of those that surprise about as much as expected, whose probability
    reaches this."""
    repetition_penalty: float = 1.0
    """Divides the logits of what stands in the prompt or the answer (multiplies negative ones)."""
    presence_penalty: float = 0.0
    """Taken from the logits of what the answer holds."""
    frequency_penalty: float = 0.0
    """Taken from the logits of what the answer holds, for each time it does."""
    no_repeat_ngram: int | None = None
    """No sequence of so many tokens comes twice in prompt and answer."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Pairs of an id and what is added to its logit."""
    banned: tuple[tuple[int, ...], ...] = ()
    """Sequences of ids that do not come."""
    forced_words: tuple[tuple[int, ...], ...] = ()
    """Sequences of ids each of which the answer holds before it ends."""
    min_tokens: int = 0
    """The answer does not end before it has so many tokens, the one that ends it not counted."""
    constraint: Constraint | None = None
    """A JSON schema or regular expression that the answer follows."""

    def __post_init__(self) -> None:
        problems = [*self._sampling_problems(), *self._rule_problems(), *self._stop_problems()]
        problems = problems or self._contradictions()
        if problems:
            raise RequestError(join_problems(problems))

    def _sampling_problems(self) -> list[str]:
        keep_all = "leave it out to keep all"
        every = "1.0 keeps every token"
        found = []
        if not self.prompt:
            found.append("the prompt holds no token; start from the beginning-of-text token")
        found += id_problems("prompt", self.prompt)
        found += whole_number_problems("max_tokens", self.max_tokens, lowest=1)
        found += temperature_problems(self.temperature)
        found += whole_number_problems("top_k", self.top_k, lowest=1, hint=keep_all, optional=True)
        found += number_problems(
            "top_p", self.top_p, lowest=0, highest=1, above_lowest=True, hint=every
        )
        found += number_problems(
            "min_p", self.min_p, lowest=0, highest=1, hint="0 keeps every token"
        )
        found += number_problems(
            "typical_p", self.typical_p, lowest=0, highest=1, above_lowest=True, hint=every
        )
        if self.seed is not None and type(self.seed) is not int:
            found.append(f"seed must be a whole number, got {self.seed!r}")
        found += whole_number_problems("n", self.n, lowest=1)
        return found + whole_number_problems("logprobs", self.logprobs, lowest=0, optional=True)

    def _rule_problems(self) -> list[str]:
        found = number_problems(
            "repetition_penalty",
            self.repetition_penalty,
            lowest=0.01,
            highest=100,
            hint="1.0 penalises nothing",
        )
        for name in ("presence_penalty", "frequency_penalty"):
            found += number_problems(
                name, getattr(self, name), lowest=-2, highest=2, hint="0 penalises nothing"
            )
        found += whole_number_problems(
            "no_repeat_ngram",
            self.no_repeat_ngram,
            lowest=1,
            hint="leave it out to let everything repeat",
            optional=True,
        )
        found += whole_number_problems("min_tokens", self.min_tokens, lowest=0)
        found += _bias_problems(self.logit_bias)
        found += _sequence_problems("banned", self.banned)
        found += _sequence_problems("forced_words", self.forced_words)
        if self.constraint is not None and not isinstance(self.constraint, Constraint):
            found.append(f"constraint must come of a ConstraintCompiler, got {self.constraint!r}")
        return found

    def _stop_problems(self) -> list[str]:
        found = [] if self.stop_ids is None else id_problems("stop_ids", self.stop_ids)
        if not isinstance(self.stop, tuple) or any(not isinstance(t, str) for t in self.stop):
            found.append(f"stop must be a tuple of texts, got {self.stop!r:.80}")
        elif any(not text for text in self.stop):
            found.append("a stop text is empty; it would end every answer at once")
        if self.overflow not in ("slide", "stop"):
            found.append(f"overflow must be slide or stop, got {self.overflow!r}")
        return found

    def _contradictions(self) -> list[str]:
        found = []
        if self.min_tokens > self.max_tokens:
            found.append(
                f"min_tokens is {self.min_tokens}, but max_tokens allows {self.max_tokens}"
            )
        forced = sum(map(len, set(self.forced_words)))
        if forced > self.max_tokens:
            found.append(
                f"the forced words take {forced} tokens, but max_tokens allows {self.max_tokens}"
            )
        found += [
            f"the forced word {word} holds the banned sequence {sequence}"
            for word in self.forced_words
            for sequence in self.banned
            if _holds(word, sequence)
        ]
        if self.temperature == 0 and self.typical_p < 1:
            found.append(
                f"typical_p {self.typical_p} chooses what may be drawn, but at temperature 0 "
                "nothing is drawn: leave it out, or give a temperature"
            )
        if self.constraint is not None and (self.forced_words or self.min_tokens):
            found.append(
                "a constraint says itself what an answer holds and when it ends: put forced words "
                "and lengths into the schema or expression, and leave out forced_words and "
                "min_tokens"
            )
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
    """Log probability of the token under the model itself, before all rules and filters."""
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish_reason: FinishReason | None = None
    error: ClocheError | None = None
    """Why this answer could not go on; the others do. The answer's last event."""
    filtered_logprob: float | None = None
    """Log probability with which the token was drawn: after all rules, temperature and filters."""


def _bias_problems(pairs: object) -> list[str]:
    if not isinstance(pairs, tuple) or any(
        not isinstance(pair, tuple) or len(pair) != 2 for pair in pairs
    ):
        return [f"logit_bias must be a tuple of pairs of an id and a number, got {pairs!r:.80}"]
    found = id_problems("logit_bias", tuple(token_id for token_id, _ in pairs))
    for token_id, value in pairs:
        found += number_problems(f"logit_bias of {token_id}", value, lowest=-100, highest=100)
    times = Counter(str(token_id) for token_id, _ in pairs)
    return found + [f"logit_bias names the id {i} twice" for i, count in times.items() if count > 1]


def _sequence_problems(name: str, sequences: object) -> list[str]:
    if not isinstance(sequences, tuple):
        return [f"{name} must be a tuple of tuples of token ids, got {sequences!r:.80}"]
    found = []
    for sequence in sequences:
        found += id_problems(name, sequence)
        if sequence == ():
            found.append(f"{name} holds an empty sequence")
    return found


def _holds(word: Sequence[int], sequence: Sequence[int]) -> bool:
    starts = range(len(word) - len(sequence) + 1)
    return any(word[start : start + len(sequence)] == sequence for start in starts)
