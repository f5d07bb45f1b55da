"""What every search over continuations shares: its prompt, its result, its numbers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor

from cloche.errors import RequestError, SettingError
from cloche.generation.forward import Forward
from cloche.generation.request import FinishReason

PROMPT_PIECE = 512  # tokens read at once, so that a long prompt needs no memory for its square


@dataclass(frozen=True)
class Continuation:
    """What a search found to follow a prompt."""

    ids: tuple[int, ...]
    """Every token of it, the one that ended it included."""
    log_probability: float
    """Of all these tokens together under the model itself, in nats."""
    score: float
    """What the search compared it by."""
    finish_reason: FinishReason


@dataclass(frozen=True)
class Ending:
    """What ends a continuation."""

    stop_ids: frozenset[int]
    """Tokens that end it, and are its last."""
    most: int
    """Tokens after which it is cut off."""
    is_complete: Callable[[tuple[int, ...]], bool] | None = None
    """Asked for each continuation: whether its tokens complete a stop text, say."""

    def reason(self, ids: tuple[int, ...]) -> FinishReason | None:
        """Why nothing follows these tokens; None where something does."""
        if ids[-1] in self.stop_ids or (self.is_complete is not None and self.is_complete(ids)):
            return "stop"
        return "length" if len(ids) >= self.most else None


def most_tokens(
    forward: Forward, prompt: Sequence[int], max_tokens: int, *, last_is_read: bool
) -> int:
    """How many of `max_tokens` tokens there is room for behind the prompt; at least one.

    A last token that is never read needs no room. Raises RequestError where the prompt is empty
    or does not fit.
    """
    longest = forward.capacity - last_is_read
    if not prompt:
        raise RequestError("the prompt holds no token; start from the beginning-of-text token")
    if len(prompt) > longest:
        raise RequestError(
            f"the prompt has {len(prompt)} tokens, but this search has room for {longest}: shorten "
            f"it, or give only its last {longest} tokens"
        )
    return min(max_tokens, longest - len(prompt) + 1)


def require_rows(forward: Forward, rows: int) -> None:
    """Raise SettingError where a search needs more rows than the forward has."""
    if forward.rows < rows:
        raise SettingError(f"this search needs {rows} rows, and the forward has {forward.rows}")


def require_known(prompt: Sequence[int], vocab_size: int) -> None:
    """Raise RequestError where the prompt holds an id the model does not know."""
    foreign = [token_id for token_id in prompt if not 0 <= token_id < vocab_size]
    if foreign:
        raise RequestError(
            f"the prompt holds the id {foreign[0]}, but the model knows 0 to {vocab_size - 1}: "
            "was it encoded with another tokenizer?"
        )


def read_prompt(forward: Forward, prompt: Sequence[int]) -> Iterator[Shaped[Tensor, "time dim"]]:
    """The vectors of a prompt read into row 0, in pieces of some hundred tokens."""
    for start in range(0, len(prompt), PROMPT_PIECE):
        yield forward.read(0, prompt[start : start + PROMPT_PIECE], start=start)


def usable_logits(
    forward: Forward, hidden: Shaped[Tensor, "batch dim"], *, rows: int
) -> Float[Tensor, "batch vocab"]:
    """Logits of the token after each vector, in float32.

    Raises RequestError where they are no numbers; the first `rows` rows are then cleared.
    """
    logits = forward.head(hidden)
    if not bool(logits.amax(dim=-1).isfinite().all()):
        for row in range(rows):
            forward.clear(row)
        raise RequestError(
            "the model gives no usable numbers: its weights are damaged or its training diverged; "
            "use an earlier checkpoint"
        )
    return logits
