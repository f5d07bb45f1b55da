"""The rules of an answer, in the order in which they change its logits.

The order is that of transformers' processors: bias, repetition penalty, presence and frequency
penalties, no repeated n-grams, forced words, banned sequences, minimum length, the constraint.
transformers has no presence and frequency penalties (they follow the repetition penalty, as in
vLLM) and forces words only in beam search. Forced words come before the bans, so that what is
banned stays banned, and after the penalties, which do not hinder them.
"""

from collections.abc import Collection
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from cloche.errors import RequestError, join_problems
from cloche.generation.constraints import ConstrainedText
from cloche.generation.penalties import Bias, PresenceAndFrequencyPenalty, RepetitionPenalty
from cloche.generation.request import GenerationRequest
from cloche.generation.sequences import (
    BannedSequences,
    ForcedWords,
    MinimumLength,
    NoRepeatedNGrams,
)
from cloche.text.tokenizer import Tokenizer


@runtime_checkable
class Rule(Protocol):
    """Something that changes the logits of one answer, by what it has written so far."""

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits of the next token as this rule wants them; those given are left as they are."""
        ...

    def accept(self, token_id: int, /) -> None:
        """Take in the token that was drawn."""
        ...


class Rules:
    """All rules of one answer."""

    def __init__(self, request: GenerationRequest, *, stop_ids: Collection[int]) -> None:
        """Raises RequestError where a forced word holds a token that ends the answer."""
        _require_words_that_do_not_end(request, stop_ids)
        self._lengths: list[MinimumLength | ForcedWords] = []
        self._rules: list[Rule] = [*_penalties(request)]
        if request.forced_words:
            forced = ForcedWords(
                request.forced_words, max_tokens=request.max_tokens, stop_ids=stop_ids
            )
            self._lengths.append(forced)
            self._rules.append(forced)
        if request.banned:
            self._rules.append(BannedSequences(request.banned, prompt=request.prompt))
        if request.min_tokens:
            minimum = MinimumLength(request.min_tokens, stop_ids=stop_ids)
            self._lengths.append(minimum)
            self._rules.append(minimum)
        self._grammar = None
        if request.constraint is not None:
            self._grammar = ConstrainedText(request.constraint, stop_ids=stop_ids)
            self._rules.append(self._grammar)

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def must_go_on(self) -> bool:
        """Whether the answer may not end yet, by whatever token or text."""
        return any(rule.must_go_on for rule in self._lengths)

    @property
    def complete(self) -> bool:
        """Whether the constraint has been met and allows nothing more."""
        return self._grammar is not None and self._grammar.complete

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits after all rules, in order."""
        for rule in self._rules:
            logits = rule.apply(logits)
        return logits

    def accept(self, token_id: int) -> None:
        """Tell every rule which token was drawn."""
        for rule in self._rules:
            rule.accept(token_id)

    def why_nothing_is_left(self) -> RequestError:
        """The error of an answer that has no token to go on with."""
        if self._grammar is not None and (trouble := self._grammar.trouble):
            return RequestError(trouble)
        return RequestError(
            "no token is left to go on with: what is banned, forced, repeated or constrained "
            "forbids every one; loosen one of these settings"
        )


def require_tokenizer(request: GenerationRequest, tokenizer: Tokenizer) -> None:
    """Raise RequestError where a request names ids that `tokenizer` has not, or was made for
    another one. The prompt is the model's affair: it may read more ids than the tokenizer writes.
    """
    named = [
        ("logit_bias", [token_id for token_id, _ in request.logit_bias]),
        ("banned", [token_id for sequence in request.banned for token_id in sequence]),
        ("forced_words", [token_id for word in request.forced_words for token_id in word]),
    ]
    problems = [
        f"{name} holds the id {max(ids)}, but the tokenizer knows 0 to {tokenizer.vocab_size - 1}"
        for name, ids in named
        if max(ids, default=0) >= tokenizer.vocab_size
    ]
    constraint = request.constraint
    if constraint is not None and (constraint.vocab_size, constraint.fingerprint) != (
        tokenizer.vocab_size,
        tokenizer.fingerprint,
    ):
        problems.append("the constraint was made for another tokenizer: make it for this one")
    if problems:
        raise RequestError(join_problems(problems))


def _penalties(request: GenerationRequest) -> list[Rule]:
    rules: list[Rule] = []
    if request.logit_bias:
        rules.append(Bias(request.logit_bias))
    if request.repetition_penalty != 1.0:
        rules.append(RepetitionPenalty(request.repetition_penalty, prompt=request.prompt))
    presence, frequency = request.presence_penalty, request.frequency_penalty
    if presence or frequency:
        rules.append(PresenceAndFrequencyPenalty(presence=presence, frequency=frequency))
    if request.no_repeat_ngram is not None:
        rules.append(NoRepeatedNGrams(request.no_repeat_ngram, prompt=request.prompt))
    return rules


def _require_words_that_do_not_end(request: GenerationRequest, stop_ids: Collection[int]) -> None:
    for word in request.forced_words:
        for token_id in word:
            if token_id in stop_ids:
                raise RequestError(
                    f"a forced word holds the id {token_id}, which ends the answer: leave it out"
                )
