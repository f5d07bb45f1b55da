"""The engine: writes many answers at once, one token for each of them a step.

Answers wait in a queue until a row of the cache is free. A prompt is read alone; then every
active answer reads its newest token in one shared forward and draws its next. Whoever asks, the
command, a chat, an evaluation, a server, gets the same text for the same request and seed.

How far that goes: each answer has its own random numbers, and each row is filtered and drawn by
itself. What remains is the rounding of the shared forward, which sums in another order for another
batch: a few millionths of a logit in float32. It changes a token only where a draw falls that
close to a border, or two likeliest tokens are that close (less than once in 100,000 tokens).
bfloat16 rounds 65,536 times more coarsely: there, alone and in company may well differ.
"""

import secrets
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import RequestError, SettingError
from cloche.generation.answers import Answer, Draw, draw_tokens, stream_behind
from cloche.generation.request import FinishReason, GenerationRequest, TokenEvent
from cloche.model.build import LanguageModel
from cloche.model.cache import KeyValueCache
from cloche.text.tokenizer import Tokenizer

KEPT_WHEN_SLIDING = 0.75  # share of the context that stays when a full one slides on


@dataclass(frozen=True)
class Completion:
    """One whole answer."""

    text: str
    """What it reads: without the prompt, the token that ended it, and any stop text."""
    token_ids: tuple[int, ...]
    """Every drawn id, the one that ended the answer included."""
    finish_reason: FinishReason
    logprobs: tuple[float, ...] = ()
    """One for each id where the request asked for logprobs."""
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()


class Engine:
    """Continues prompts with a model, up to `rows` answers at a time. One thread owns it.

    `stop_ids` end an answer where its request names none; the tokenizer's eos when not given.

    An exception that escapes `step` (out of memory, Ctrl-C) leaves the answers where they were:
    step again, or cancel them. The weights must not change while the engine is busy.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        context: int,
        rows: int = 8,
        stop_ids: Sequence[int] | None = None,
    ) -> None:
        if not 1 <= context <= model.config.context:
            raise SettingError(
                f"the context must be between 1 and the model's {model.config.context} tokens, "
                f"got {context}"
            )
        if rows < 1:
            raise SettingError(f"an engine needs at least 1 row, got {rows}")
        self.context = context
        self._stop_ids = _stop_ids(tokenizer) if stop_ids is None else tuple(stop_ids)
        self._model = model
        self._tokenizer = tokenizer
        weight = model.embed_tokens.weight
        self._device = weight.device
        self._cache = KeyValueCache(
            model.config, rows=rows, capacity=context, device=weight.device, dtype=weight.dtype
        )
        self._waiting: deque[Answer] = deque()
        self._active: dict[int, Answer] = {}
        self._next_request_id = 0
        self._require_evaluation_mode()

    @property
    def busy(self) -> bool:
        """Whether any answer is waiting or being written."""
        return bool(self._waiting or self._active)

    @property
    def free_rows(self) -> int:
        """Number of answers that could start at once."""
        return len(self._cache.free_rows)

    def submit(self, request: GenerationRequest) -> int:
        """The number that the request's events will bear; its answers wait for free rows.

        Raises RequestError where the prompt is longer than the context or not the model's.
        """
        self._check(request)
        request_id = self._next_request_id
        self._next_request_id += 1
        seed = secrets.randbits(63) if request.seed is None else request.seed
        for choice in range(request.n):
            self._waiting.append(
                Answer(
                    request,
                    request_id=request_id,
                    choice=choice,
                    seed=seed,
                    stop_ids=self._stop_ids if request.stop_ids is None else request.stop_ids,
                    stream=stream_behind(self._tokenizer, request.prompt),
                )
            )
        return request_id

    def cancel(self, request_id: int) -> None:
        """End a request and free its rows at once; no more events come of it.

        A request that is unknown or has ended already is left alone.
        """
        self._waiting = deque(a for a in self._waiting if a.request_id != request_id)
        for row in [row for row, a in self._active.items() if a.request_id == request_id]:
            self._release(row)

    @torch.inference_mode()
    def step(self) -> list[TokenEvent]:
        """One event for each answer that has a row: its next token, or the error that ended it."""
        self._require_evaluation_mode()
        self._admit()
        rows = sorted(self._active)  # neighbouring rows of the cache are read without a copy
        if not rows:
            return []
        for row in rows:
            self._catch_up(row)
        logits = self._next_logits(rows)
        usable = logits.amax(dim=-1).isfinite()
        draws = draw_tokens(
            logits[usable],
            [self._active[row] for row, fine in zip(rows, usable.tolist(), strict=True) if fine],
            vocab_size=self._tokenizer.vocab_size,
        )
        remaining = iter(draws)
        return [
            self._advance(row, next(remaining)) if fine else self._fail(row)
            for row, fine in zip(rows, usable.tolist(), strict=True)
        ]

    def generate(self, requests: Sequence[GenerationRequest]) -> list[list[Completion]]:
        """The answers to each request, in order; the engine must be idle.

        Nothing starts unless every request can be served. Raises the error of the first answer
        that fails on the way: whoever wants the others nevertheless uses `submit` and `step`.
        """
        self._require_idle()
        for request in requests:
            self._check(request)
        ids = [self.submit(request) for request in requests]
        events: dict[tuple[int, int], list[TokenEvent]] = {
            (request_id, choice): []
            for request_id, request in zip(ids, requests, strict=True)
            for choice in range(request.n)
        }
        for event in self._run(ids):
            events[event.request_id, event.choice].append(event)
        return [
            [_completion(events[request_id, choice]) for choice in range(request.n)]
            for request_id, request in zip(ids, requests, strict=True)
        ]

    def stream(self, request: GenerationRequest) -> Generator[TokenEvent]:
        """The events of one request as they come; the engine must be idle.

        Closing the iterator cancels the request. An answer that fails raises its error.
        """
        self._require_idle()
        self._check(request)
        return self._stream(request)

    def _stream(self, request: GenerationRequest) -> Generator[TokenEvent]:
        # submitted at the first item, so that an iterator nobody starts leaves nothing behind
        yield from self._run([self.submit(request)])

    def _run(self, request_ids: list[int]) -> Generator[TokenEvent]:
        try:
            while self.busy:
                for event in self.step():
                    if event.error is not None:
                        raise event.error
                    yield event
        finally:
            for request_id in request_ids:
                self.cancel(request_id)

    def _check(self, request: GenerationRequest) -> None:
        if len(request.prompt) > self.context:
            raise RequestError(
                f"the prompt has {len(request.prompt)} tokens, but the context holds "
                f"{self.context}: shorten it, or give only its last {self.context} tokens"
            )
        vocab_size = self._model.config.vocab_size
        foreign = [token_id for token_id in request.prompt if not 0 <= token_id < vocab_size]
        if foreign:
            raise RequestError(
                f"the prompt holds the id {foreign[0]}, but the model knows 0 to "
                f"{vocab_size - 1}: was it encoded with another tokenizer?"
            )

    def _admit(self) -> None:
        """Give free rows to waiting answers, and have each read its prompt."""
        while self._waiting and self._cache.free_rows:
            answer = self._waiting.popleft()
            row = self._cache.allocate()
            self._active[row] = answer
            sibling = self._row_with_same_prompt(row)
            if sibling is not None:
                self._cache.copy(sibling, row)
            self._catch_up(row)

    def _row_with_same_prompt(self, row: int) -> int | None:
        """A row whose cache begins with the prompt of this one; None where there is none."""
        wanted = self._active[row].request_id
        for other, answer in self._active.items():
            if other != row and answer.request_id == wanted and answer.begins_with_prompt:
                return other
        return None

    def _catch_up(self, row: int) -> None:
        """Have the cache hold all the row's tokens but the newest, sliding where they are too many.

        Reads a prompt, or what is left of the tokens after sliding, alone: what else is in the
        batch has no influence. A row that is up to date costs nothing.
        """
        answer = self._active[row]
        if len(answer.tokens) > self.context:
            self._cache.crop(row, 0)
            answer.forget_all_but(kept_when_sliding(self.context))
        held = min(self._cache.lengths[row], len(answer.tokens) - 1)
        self._cache.crop(row, held)
        missing = answer.tokens[held:-1]
        if missing:
            ids = torch.tensor([missing], device=self._device)
            self._model.hidden(ids, cache=self._cache.view([row], [len(missing)]))

    def _next_logits(self, rows: Sequence[int]) -> Float[Tensor, "batch vocab"]:
        """Read each row's newest token; float32 logits of the one after it."""
        ids = torch.tensor([[self._active[row].tokens[-1]] for row in rows], device=self._device)
        hidden = self._model.hidden(ids, cache=self._cache.view(rows, [1] * len(rows)))
        return self._model.head(hidden[:, -1]).float()

    def _advance(self, row: int, draw: Draw) -> TokenEvent:
        answer = self._active[row]
        slides = answer.request.overflow == "slide"
        event = answer.accept(draw, room=slides or len(answer.tokens) < self.context)
        if event.finish_reason is not None:
            self._release(row)
        return event

    def _fail(self, row: int) -> TokenEvent:
        answer = self._active[row]
        # what is masked is still multiplied, and 0 times NaN is NaN: it must not stay in the row
        self._cache.keys[:, row].zero_()
        self._cache.values[:, row].zero_()
        self._release(row)
        error = RequestError(
            f"the model gives no usable number after the token {answer.tokens[-1]}: its weights "
            "are damaged or its training diverged; use an earlier checkpoint"
        )
        return TokenEvent(answer.request_id, answer.choice, token_id=None, text="", error=error)

    def _release(self, row: int) -> None:
        del self._active[row]
        self._cache.free(row)

    def _require_evaluation_mode(self) -> None:
        if self._model.training:
            raise RuntimeError("the model is in training mode: call model.eval() before generating")

    def _require_idle(self) -> None:
        if self.busy:
            raise RuntimeError("the engine is busy: use submit and step, or cancel what runs")


def kept_when_sliding(context: int) -> int:
    """How many of the newest tokens stay when a full context of this size slides on."""
    return max(1, int(context * KEPT_WHEN_SLIDING))


def _stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    eos = tokenizer.special_ids.eos
    return () if eos is None else (eos,)


def _completion(events: Sequence[TokenEvent]) -> Completion:
    reason = events[-1].finish_reason
    assert reason is not None, "only a finished answer is complete"
    return Completion(
        text="".join(event.text for event in events),
        token_ids=tuple(event.token_id for event in events if event.token_id is not None),
        finish_reason=reason,
        logprobs=tuple(event.logprob for event in events if event.logprob is not None),
        top_logprobs=tuple(event.top_logprobs for event in events if event.top_logprobs),
    )
