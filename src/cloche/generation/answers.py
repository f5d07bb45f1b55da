"""One answer on its way: its tokens, its own random numbers, and what of its text can be shown."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.generation.request import FinishReason, GenerationRequest, TokenEvent
from cloche.generation.sampling import answer_generator, filter_logits, pick, pick_likeliest
from cloche.generation.stopping import StopFilter
from cloche.text.tokenizer import TextStream, Tokenizer

_LONGEST_TAIL = 8  # tokens of the prompt; a character has at most four bytes


@dataclass(frozen=True)
class Draw:
    """A drawn token, and what the model itself thought of it before temperature and filters."""

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Answer:
    """One of a request's answers while it is being written."""

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
        self.request = request
        self.request_id = request_id
        self.choice = choice
        self.generator = answer_generator(seed, choice)
        self.tokens = list(request.prompt)
        """What the model reads next; without the oldest once the context has slid."""
        self.begins_with_prompt = True
        self._made = 0
        self._stop_ids = frozenset(stop_ids)
        self._stream = stream
        self._stops = StopFilter(request.stop)

    def forget_all_but(self, newest: int) -> None:
        """Keep only the `newest` tokens to read."""
        self.tokens = self.tokens[-newest:]
        self.begins_with_prompt = False

    def accept(self, draw: Draw, *, room: bool) -> TokenEvent:
        """The event of one more token; `room` says whether the context can take another."""
        self._made += 1
        self.tokens.append(draw.token_id)
        text, reason = self._show(draw.token_id, room=room)
        return TokenEvent(
            request_id=self.request_id,
            choice=self.choice,
            token_id=draw.token_id,
            text=text,
            logprob=draw.logprob,
            top_logprobs=draw.top_logprobs,
            finish_reason=reason,
        )

    def _show(self, token_id: int, *, room: bool) -> tuple[str, FinishReason | None]:
        if token_id in self._stop_ids:
            return self._rest(), "stop"
        text = self._stops.push(self._stream.push(token_id))
        if self._stops.found:
            return text, "stop"
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
    """The next token of each answer, drawn as its request says.

    Only ids below `vocab_size` are drawn: a model may have more rows than its tokenizer has ids.
    """
    ids = [0] * len(answers)
    for settings, places in _places_by_settings(answers).items():
        chosen = logits[places, :vocab_size]
        if settings[0] == 0.0:
            drawn = pick_likeliest(chosen)
        else:
            temperature, top_k, top_p, min_p = settings
            filtered = filter_logits(
                chosen, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
            )
            drawn = pick(filtered, [answers[place].generator for place in places])
        for place, token_id in zip(places, drawn.tolist(), strict=True):
            ids[place] = token_id
    draws = [Draw(token_id) for token_id in ids]
    for place, answer in enumerate(answers):
        wanted = answer.request.logprobs
        if wanted is not None:
            draws[place] = _with_logprobs(
                ids[place], logits[place], wanted=wanted, vocab_size=vocab_size
            )
    return draws


def _places_by_settings(
    answers: Sequence[Answer],
) -> dict[tuple[float, int | None, float, float], list[int]]:
    """Which answers share their sampling settings, so that they are filtered in one call."""
    groups = defaultdict(list)
    for place, answer in enumerate(answers):
        asked = answer.request
        groups[asked.temperature, asked.top_k, asked.top_p, asked.min_p].append(place)
    return dict(groups)


def _with_logprobs(
    token_id: int, logits: Float[Tensor, " vocab"], *, wanted: int, vocab_size: int
) -> Draw:
    logprobs = logits.log_softmax(dim=-1)[:vocab_size]
    top = torch.topk(logprobs, min(wanted, len(logprobs)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return Draw(token_id, logprob=logprobs[token_id].item(), top_logprobs=tuple(pairs))
