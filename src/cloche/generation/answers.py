"""One answer on its way: its tokens, its own random numbers, and what of its text can be shown."""

from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from cloche.errors import RequestError
from cloche.generation.request import FinishReason, GenerationRequest, TokenEvent
from cloche.generation.rules import Rules
from cloche.generation.sampling import answer_generator, draw, pick_likeliest
from cloche.generation.stopping import StopFilter
from cloche.text.tokenizer import TextStream, Tokenizer

_LONGEST_TAIL = 8  # tokens of the prompt; a character has at most four bytes


@dataclass(frozen=True)
class Draw:
    """A drawn token, and what the model itself thought of it before rules and filters."""

    token_id: int
    """-1 where there was none left to draw."""
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    filtered_logprob: float | None = None
    """Log probability with which it was drawn, after rules, temperature and filters."""
    error: RequestError | None = None
    """Why no token could be drawn."""


class Answer:
    """One of a request's answers while it is being written.

    Its i-th token is drawn with the i-th number of its own generator, so that a number can be
    known before its turn, and drawing changes nothing: only `accept` moves on.
    """

    def __init__(
        self,
        request: GenerationRequest,
        *,
        request_id: int,
        choice: int,
        seed: int,
        stop_ids: Sequence[int],
        stream: TextStream,
    ) -> None:
        """Raises RequestError where a forced word would end the answer."""
        self.request = request
        self.request_id = request_id
        self.choice = choice
        self.tokens = list(request.prompt)
        """What the model reads next; without the oldest once the context has slid."""
        self.begins_with_prompt = True
        self.rules = Rules(request, stop_ids=frozenset(stop_ids))
        """What it has written so far has a say in what comes next; false where it has none."""
        self._generator = answer_generator(seed, choice)
        self._uniforms: deque[float] = deque()
        self._made = 0
        self._stop_ids = frozenset(stop_ids)
        self._stream = stream
        self._stops = StopFilter(request.stop)

    @property
    def tokens_left(self) -> int:
        """How many more it may have."""
        return self.request.max_tokens - self._made

    def forget_all_but(self, newest: int) -> None:
        """Keep only the `newest` tokens to read."""
        self.tokens = self.tokens[-newest:]
        self.begins_with_prompt = False

    def uniform(self, ahead: int = 0) -> float:
        """The number in [0, 1) that draws the next token, or the one `ahead` tokens later."""
        while len(self._uniforms) <= ahead:
            number = torch.rand(1, generator=self._generator, dtype=torch.float64)
            self._uniforms.append(number.item())
        return self._uniforms[ahead]

    def draft_draw(self, logits: Float[Tensor, " vocab"], *, ahead: int = 0) -> int:
        """The id that these logits, a smaller model's for example, would give `ahead` tokens from
        now, with the number of that token and the request's filters but without its rules.

        Where they are nearly the model's own, so is the draw.
        """
        row = logits[None]
        if self.request.temperature == 0.0:
            return int(pick_likeliest(row).item())
        uniform = torch.tensor([self.uniform(ahead)], dtype=torch.float64)
        return int(_draw(row, uniform, _settings(self))[0].item())

    def accept(self, draw: Draw, *, room: bool) -> TokenEvent:
        """The event of one more token; `room` says whether the context can take another.

        A draw with an error ends the answer: the event bears the error beside a finish reason.
        """
        if draw.error is not None:
            return self._failed(draw.error)
        self._made += 1
        self.tokens.append(draw.token_id)
        if self.request.temperature != 0.0:
            self.uniform()  # its number is used up, whoever drew the token
            self._uniforms.popleft()
        self.rules.accept(draw.token_id)
        text, reason = self._show(draw.token_id, room=room)
        return TokenEvent(
            request_id=self.request_id,
            choice=self.choice,
            token_id=draw.token_id,
            text=text,
            logprob=draw.logprob,
            top_logprobs=draw.top_logprobs,
            finish_reason=reason,
            filtered_logprob=draw.filtered_logprob,
        )

    def _failed(self, error: RequestError) -> TokenEvent:
        return TokenEvent(
            self.request_id,
            self.choice,
            token_id=None,
            text=self._rest(),
            finish_reason="stop",
            error=error,
        )

    def _show(self, token_id: int, *, room: bool) -> tuple[str, FinishReason | None]:
        if token_id in self._stop_ids:
            return self._rest(), "stop"
        text = self._stream.push(token_id)
        if not self.rules.must_go_on:
            text = self._stops.push(text)
        if self._stops.found:
            return text, "stop"
        if self.rules.complete:
            return text + self._rest(), "stop"
        if room and self._made < self.request.max_tokens:
            return text, None
        text += self._rest()
        return text, "stop" if self._stops.found else "length"

    def _rest(self) -> str:
        """The text still held back, by the decoder and then by the stop texts."""
        return self._stops.push(self._stream.close()) + self._stops.close()


class StreamBehind:
    """A streaming decoder for what follows a prompt: the text of both, less that of the prompt.

    What the decoder holds back of the prompt is dropped when it comes, unless the answer made
    something else of it: half a character that the answer completes belongs to the answer.
    """

    def __init__(self, stream: TextStream, *, held: str) -> None:
        """`stream` has read the prompt; `held` is the prompt's text that it has not shown yet."""
        self._stream = stream
        self._held = held

    def push(self, token_id: int) -> str:
        """The text that this id completes, nothing of the prompt's."""
        return self._less_prompt(self._stream.push(token_id))

    def close(self) -> str:
        """What is left: a replacement sign where the answer's bytes never became a character."""
        return self._less_prompt(self._stream.close())

    def _less_prompt(self, text: str) -> str:
        if not text or not self._held:
            return text
        pairs = zip(text, self._held, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        # once the texts part, whatever comes is the answer's
        self._held = self._held[same:] if same == len(text) else ""
        return text[same:]


def stream_behind(tokenizer: Tokenizer, prompt: Sequence[int]) -> TextStream:
    """A streaming decoder for what follows `prompt`, which it has read but does not show.

    A tokenizer of words writes a space before a word, except at the beginning of a text; and bytes
    may be the rest of a character that the prompt begins. A special token begins a text anew,
    except the one for what is unknown.
    """
    tail = _tail(tokenizer, prompt)
    stream = tokenizer.stream()
    shown = "".join(map(stream.push, tail))
    return StreamBehind(stream, held=tokenizer.decode(tail).removeprefix(shown))


def _tail(tokenizer: Tokenizer, prompt: Sequence[int]) -> list[int]:
    """The last tokens of `prompt`, from one on that begins with a whole character."""
    unknown = tokenizer.special_ids.unk
    ends = {number for number in tokenizer.special_tokens.values() if number != unknown}
    tail: list[int] = []
    for token_id in reversed(prompt[-_LONGEST_TAIL:]):
        if token_id in ends:
            break
        tail.insert(0, token_id)
        data = tokenizer.token_bytes(token_id)
        if data and not _is_continuation(data[0]):
            break
    return tail


def _is_continuation(byte: int) -> bool:
    """Whether a UTF-8 character cannot begin with this byte."""
    return byte & 0b1100_0000 == 0b1000_0000


def draw_tokens(
    logits: Float[Tensor, "batch vocab"], answers: Sequence[Answer], *, vocab_size: int
) -> list[Draw]:
    """The next token of each answer, drawn as its request says; no answer is changed.

    Only ids below `vocab_size` are drawn: a model may have more rows than its tokenizer has ids.
    An answer that stands here several times is drawn for as many tokens in a row. That is right
    where it has no rules, which would have to know of the tokens between.
    """
    if not answers:
        return []
    ruled, errors = _apply_rules(logits[:, :vocab_size], answers)
    uniforms = _uniforms(answers)
    ids = [-1] * len(answers)
    filtered_logprobs = [0.0] * len(answers)
    for settings, places in _places_by_settings(answers, leave_out=errors).items():
        rows = ruled if len(places) == len(answers) else ruled[places]
        if settings.temperature == 0.0:
            drawn = pick_likeliest(rows)
            found = torch.zeros(len(places))  # a certain token
        else:
            drawn, found = _draw(rows, uniforms[places], settings)
        for place, token_id, logprob in zip(places, drawn.tolist(), found.tolist(), strict=True):
            ids[place], filtered_logprobs[place] = token_id, logprob
    draws = [Draw(token_id) for token_id in ids]
    for place, answer in enumerate(answers):
        wanted = answer.request.logprobs
        if place in errors:
            draws[place] = Draw(-1, error=errors[place])
        elif wanted is not None:
            draw = replace(draws[place], filtered_logprob=filtered_logprobs[place])
            draws[place] = _with_logprobs(draw, logits[place], wanted=wanted, vocab_size=vocab_size)
    return draws


class _Settings(NamedTuple):
    """What rows must share to be filtered together."""

    temperature: float
    top_k: int | None
    top_p: float
    min_p: float
    typical_p: float


def _settings(answer: Answer) -> _Settings:
    asked = answer.request
    return _Settings(asked.temperature, asked.top_k, asked.top_p, asked.min_p, asked.typical_p)


def _draw(
    logits: Float[Tensor, "batch vocab"], uniforms: Float64[Tensor, " batch"], settings: _Settings
) -> tuple[Int64[Tensor, " batch"], Float[Tensor, " batch"]]:
    return draw(
        logits,
        uniforms,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p,
        typical_p=settings.typical_p,
    )


def _apply_rules(
    logits: Float[Tensor, "batch vocab"], answers: Sequence[Answer]
) -> tuple[Float[Tensor, "batch vocab"], dict[int, RequestError]]:
    """Logits after each answer's own rules, and the errors of rows with no token left."""
    places = [place for place, answer in enumerate(answers) if answer.rules]
    if not places:
        return logits, {}
    logits = logits.clone()
    for place in places:
        logits[place] = answers[place].rules.apply(logits[place])
    left = logits[places].amax(dim=-1).isfinite().tolist()
    return logits, {
        place: answers[place].rules.why_nothing_is_left()
        for place, some in zip(places, left, strict=True)
        if not some
    }


def _uniforms(answers: Sequence[Answer]) -> Float64[Tensor, " batch"]:
    """The number of each answer's next token; the second of the same answer has the one after."""
    ahead: dict[int, int] = defaultdict(int)
    numbers = []
    for answer in answers:
        drawn = answer.request.temperature != 0.0
        numbers.append(answer.uniform(ahead[id(answer)]) if drawn else 0.0)
        ahead[id(answer)] += 1
    return torch.tensor(numbers, dtype=torch.float64)


def _places_by_settings(
    answers: Sequence[Answer], *, leave_out: Collection[int]
) -> dict[_Settings, list[int]]:
    """Which answers share their sampling settings, so that they are filtered in one call."""
    groups = defaultdict(list)
    for place, answer in enumerate(answers):
        if place not in leave_out:
            groups[_settings(answer)].append(place)
    return dict(groups)


def _with_logprobs(
    draw: Draw, logits: Float[Tensor, " vocab"], *, wanted: int, vocab_size: int
) -> Draw:
    logprobs = logits.log_softmax(dim=-1)[:vocab_size]
    top = torch.topk(logprobs, min(wanted, len(logprobs)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return replace(draw, logprob=logprobs[draw.token_id].item(), top_logprobs=tuple(pairs))
