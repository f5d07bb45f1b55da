"""The options of every verb that lets a model write, and what those verbs share."""

import os
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from cloche.errors import SettingError, TextError
from cloche.generation.request import GenerationRequest

USUAL_TEMPERATURE = 0.8
ANY_PROMPT = (0,)  # stands for the prompt until the tokenizer is at hand
DIM, PLAIN = "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How the next token is chosen, and when to stop."""

    max_new_tokens: int = 200
    """Most tokens to write."""
    temperature: float | None = None
    """Below 1 the likely tokens become likelier, above 1 the unlikely ones; 0.8 when not given."""
    top_k: int | None = None
    """Choose among this many likeliest tokens only."""
    top_p: float = 1.0
    """Choose among the fewest likeliest tokens whose probability reaches this."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest one's probability."""
    greedy: bool = False
    """Take the likeliest token each time: no chance at all."""
    seed: int | None = None
    """The same seed gives the same text; drawn anew each time when not given."""
    stop: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """End before this text; can be given several times."""

    def request(self, *, n: int = 1) -> GenerationRequest:
        """The request for these options, its prompt still to be put in.

        Made before any model is loaded, so that settings out of range are told at once.
        """
        if self.greedy and self.temperature:
            raise SettingError(
                f"--greedy takes no chances, --temperature {self.temperature} does: "
                "leave one of them out"
            )
        if n > 1 and (self.greedy or self.temperature == 0):
            raise SettingError(
                f"greedy answers are all the same, so --n {n} would repeat one: leave out --n, or "
                "give a temperature above 0"
            )
        chosen = USUAL_TEMPERATURE if self.temperature is None else self.temperature
        return GenerationRequest(
            ANY_PROMPT,
            max_tokens=self.max_new_tokens,
            temperature=0.0 if self.greedy else chosen,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            seed=self.seed,
            n=n,
            stop=self.stop,
        )


def require_unicode(text: str, *, what: str) -> None:
    """Raise TextError where `text` holds bytes that were no text in this terminal's encoding."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise TextError(
            f"{what} is not valid Unicode at character {exc.start + 1}: {text[exc.start]!r}; "
            "type it again, or give it as UTF-8"
        ) from exc


def dimmed(text: str) -> str:
    """`text` in a fainter colour where standard output is a terminal that shows colours."""
    if text and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        return f"{DIM}{text}{PLAIN}"
    return text


def tell(message: str) -> None:
    """Say something beside the output, on standard error."""
    print(f"cloche: {message}", file=sys.stderr)
