"""The engine: writes many answers at once, one token or more for each of them a step.

Answers wait in a queue until a row of the cache is free. Prompts are read in parts between the
steps of those that write already; then every active answer reads its newest token in one shared
forward and draws its next. Whoever asks, the command, a chat, an evaluation, a server, gets the
same text for the same request and seed.

How far that goes depends on the forward. Each answer has its own random numbers, and each row is
filtered and drawn by itself. With the kernels (a forward of its own threads) a row's numbers do not
depend on the batch at all, in any precision. With PyTorch's modules the rounding of a shared
forward remains, which sums in another order for another batch: a few millionths of a logit in
float32. It changes a token only where a draw falls that close to a border, or two likeliest tokens
are that close (less than once in 100,000 tokens). bfloat16 rounds 65,536 times more coarsely:
there, alone and in company may well differ.
"""

import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import RequestError, SettingError
from cloche.generation.answers import Answer, draw_tokens, stream_behind
from cloche.generation.forward import Forward, ModelForward, Place, threads_resting
from cloche.generation.request import FinishReason, GenerationRequest, TokenEvent
from cloche.generation.rows import Row, Rows
from cloche.generation.rules import require_tokenizer
from cloche.generation.speculation import Guesser, Writing
from cloche.generation.waiting import Waiting
from cloche.model.build import LanguageModel
from cloche.text.tokenizer import Tokenizer

KEPT_WHEN_SLIDING = 0.75  # share of the context that stays when a full one slides on
PROMPT_PART = 256
"""Tokens of prompts that are read between two steps of answers that write already."""
LARGEST_PROMPT_PART = 2048
"""Tokens of prompts that are read in a step where none does."""
QUEUE_TOKENS = 1 << 22


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
    filtered_logprobs: tuple[float, ...] = ()
    """The same after temperature and filters."""


class Engine:
    """Continues prompts with a model, up to `rows` answers at a time. One thread owns it.

    `stop_ids` end an answer where its request names none; the tokenizer's eos when not given.
    `forward` computes, with that many rows; the model's own modules when not given. `guesser`
    makes it faster and changes no text. At most `queue_tokens` tokens wait.

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
        forward: Forward | None = None,
        guesser: Guesser | None = None,
        queue_tokens: int = QUEUE_TOKENS,
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
        self._require_evaluation_mode()
        self._forward = forward or ModelForward(model, rows=rows, capacity=context)
        if (self._forward.rows, self._forward.capacity) != (rows, context):
            raise ValueError(f"the forward must have {rows} rows of {context} tokens")
        self._guesser = guesser
        self._rows = Rows(self._forward)
        self._waiting = Waiting(most_tokens=queue_tokens)
        self._next_request_id = 0

    @property
    def busy(self) -> bool:
        """Whether any answer is waiting or being written."""
        return bool(len(self._waiting) or self._rows.active)

    @property
    def free_rows(self) -> int:
        """Number of answers that could start at once."""
        return self._rows.free

    def submit(self, request: GenerationRequest) -> int:
        """The number that the request's events will bear; its answers wait for free rows.

        Raises RequestError where the prompt is longer than the context or not the model's, and
        QueueFullError where too much is waiting.
        """
        self._check(request)
        self._waiting.require_room(_most_tokens(request))
        seed = secrets.randbits(63) if request.seed is None else request.seed
        answers = [
            Answer(
                request,
                request_id=self._next_request_id,
                choice=choice,
                seed=seed,
                stop_ids=self._stop_ids if request.stop_ids is None else request.stop_ids,
                stream=stream_behind(self._tokenizer, request.prompt),
            )
            for choice in range(request.n)
        ]
        self._waiting.add(answers)
        self._next_request_id += 1
        return self._next_request_id - 1

    def has_room(self, request: GenerationRequest) -> bool:
        """Whether `submit` would take a request now."""
        return self._waiting.has_room(_most_tokens(request))

    def cancel(self, request_id: int) -> None:
        """End a request and free its rows at once; no more events come of it.

        A request that is unknown or has ended already is left alone.
        """
        self._waiting.cancel(request_id)
        for row in self._rows.active:
            if row.answer is not None and row.answer.request_id == request_id:
                self._rows.release(row)

    @torch.inference_mode()
    def step(self) -> list[TokenEvent]:
        """What came of one more forward: a token or several for each answer that writes, the error
        of one that could not go on. Nothing while prompts are being read.
        """
        self._require_evaluation_mode()
        with threads_resting(self._forward):
            self._admit()
            self._read_prompts()
            self._admit()  # siblings of what has been read
            ready = [row for row in self._rows.active if not row.missing]
            return self._write(ready) if ready else []

    def generate(self, requests: Sequence[GenerationRequest]) -> list[list[Completion]]:
        """The answers to each request, in order; the engine must be idle.

        Nothing starts unless every request can be served. Raises the error of the first answer
        that fails on the way: whoever wants the others nevertheless uses `submit` and `step`.
        """
        self._require_idle()
        for request in requests:
            self._check(request)
        events: list[dict[int, list[TokenEvent]]] = [
            {choice: [] for choice in range(request.n)} for request in requests
        ]
        for number, event in self._run(requests):
            events[number][event.choice].append(event)
        return [
            [_completion(found[choice]) for choice in range(request.n)]
            for found, request in zip(events, requests, strict=True)
        ]

    def stream(self, request: GenerationRequest) -> Generator[TokenEvent]:
        """The events of one request as they come; the engine must be idle.

        Closing the iterator cancels the request. An answer that fails raises its error.
        """
        self._require_idle()
        self._check(request)
        # submitted at the first item, so that an iterator nobody starts leaves nothing behind
        return (event for _, event in self._run([request]))

    def _run(self, requests: Sequence[GenerationRequest]) -> Generator[tuple[int, TokenEvent]]:
        """Each event with the place of its request; they are submitted as there is room."""
        places: dict[int, int] = {}
        try:
            while self.busy or len(places) < len(requests):
                while len(places) < len(requests) and self.has_room(requests[len(places)]):
                    number = len(places)
                    places[self.submit(requests[number])] = number
                for event in self.step():
                    if event.error is not None:
                        raise event.error
                    yield places[event.request_id], event
        finally:
            for request_id in places:
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
        require_tokenizer(request, self._tokenizer)
        most = self._waiting.most_tokens
        if request.n > 1 and _most_tokens(request) > most:
            raise RequestError(
                f"{request.n:,} answers of up to {request.max_tokens:,} tokens, the prompt's "
                f"{len(request.prompt)} with each, are {_most_tokens(request):,} tokens: at most "
                f"{most:,} can be asked for at once; give a smaller n, or several requests"
            )

    def _admit(self) -> None:
        """Give free rows to waiting answers, each request in its turn."""
        # what is still reading: its siblings wait, and then copy what it has read
        reading = {row.answer.request_id for row in self._rows.active if row.answer and row.missing}
        while self._rows.free:
            answer = self._waiting.next(may_start=lambda each: each.request_id not in reading)
            if answer is None:
                return
            row = self._rows.take(answer)
            if row.missing:
                reading.add(answer.request_id)

    def _read_prompts(self) -> None:
        """Read what rows are missing, in parts; a full context slides on first."""
        for row in self._rows.active:
            assert row.answer is not None
            if len(row.answer.tokens) > self.context:
                row.answer.forget_all_but(kept_when_sliding(self.context))
                self._rows.restart(row)
        behind = [row for row in self._rows.active if row.missing]
        others = len(behind) < len(self._rows.active)
        left = PROMPT_PART if others else LARGEST_PROMPT_PART
        for row in behind:
            count = min(row.missing, left)
            if count:
                self._rows.read(row, count)
            left -= count

    def _write(self, rows: list[Row]) -> list[TokenEvent]:
        """Have each row read its newest token, and behind it what is guessed, and draw."""
        guesses = self._guess(rows)
        places, first, stored = [], {}, {}
        for row in rows:
            assert row.answer is not None
            first[row.number] = len(places)
            position = len(row.answer.tokens) - 1
            tokens = (row.answer.tokens[-1], *guesses.get(row.number, ()))
            places += [Place(row.number, position + n, token) for n, token in enumerate(tokens)]
            stored[row.number] = position + len(tokens)
        logits = self._forward.head(self._forward.hidden(places))
        usable = logits.amax(dim=-1).isfinite().tolist()
        events: list[TokenEvent] = []
        guessed_right, ahead = rows, 0
        while guessed_right:
            at = {row.number: first[row.number] + ahead for row in guessed_right}
            for row in [row for row in guessed_right if not usable[at[row.number]]]:
                events.append(self._fail(row))
            fine = [row for row in guessed_right if usable[at[row.number]]]
            guessed_right = []
            for row, event in zip(fine, self._draw(fine, logits, at), strict=True):
                events.append(event)
                if event.finish_reason is not None:
                    self._rows.release(row)
                elif event.token_id in guesses.get(row.number, [])[ahead : ahead + 1]:
                    guessed_right.append(row)
            ahead += 1
        for row in rows:
            self._rows.went_on(row, stored=stored[row.number])
        return events

    def _draw(
        self, rows: list[Row], logits: Float[Tensor, "places vocab"], at: dict[int, int]
    ) -> list[TokenEvent]:
        """The next token of each row, drawn from its place's logits."""
        if not rows:
            return []
        answers = [row.answer for row in rows if row.answer is not None]
        places = [at[row.number] for row in rows]
        chosen = logits if len(places) == len(logits) else logits[places]
        draws = draw_tokens(chosen, answers, vocab_size=self._tokenizer.vocab_size)
        return [
            answer.accept(draw, room=self._has_room(answer))
            for answer, draw in zip(answers, draws, strict=True)
        ]

    def _has_room(self, answer: Answer) -> bool:
        """Whether the context can take another token behind the next one."""
        return answer.request.overflow == "slide" or len(answer.tokens) < self.context

    def _guess(self, rows: list[Row]) -> dict[int, list[int]]:
        if self._guesser is None:
            return {}
        writing = {}
        for row in rows:
            assert row.answer is not None
            room = self.context - len(row.answer.tokens)
            most = min(room, row.answer.tokens_left - 1)
            if most > 0:
                writing[row.number] = Writing(row.answer, most)
        return self._guesser.guess(writing)

    def _fail(self, row: Row) -> TokenEvent:
        answer = row.answer
        assert answer is not None
        self._rows.discard(row)
        error = RequestError(
            f"the model gives no usable number after the token {answer.tokens[-1]}: its weights "
            "are damaged or its training diverged; use an earlier checkpoint"
        )
        return TokenEvent(
            answer.request_id,
            answer.choice,
            token_id=None,
            text="",
            finish_reason="stop",
            error=error,
        )

    def _require_evaluation_mode(self) -> None:
        if self._model.training:
            raise RuntimeError("the model is in training mode: call model.eval() before generating")

    def _require_idle(self) -> None:
        if self.busy:
            raise RuntimeError("the engine is busy: use submit and step, or cancel what runs")


def kept_when_sliding(context: int) -> int:
    """How many of the newest tokens stay when a full context of this size slides on."""
    return max(1, int(context * KEPT_WHEN_SLIDING))


def _most_tokens(request: GenerationRequest) -> int:
    return request.n * (len(request.prompt) + request.max_tokens)


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
        filtered_logprobs=tuple(
            event.filtered_logprob for event in events if event.filtered_logprob is not None
        ),
    )
