"""Continuations of many prompts by the engine, some at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice

from cloche.data.order import mix
from cloche.generation.engine import Completion
from cloche.generation.request import GenerationRequest
from cloche.run import LM

ROWS = 8
"""Answers written at once."""
_AT_HAND = 8 * ROWS  # requests that are handed over together


def continue_prompts(
    lm: LM,
    prompts: Iterable[tuple[int, ...]],
    *,
    tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    stop_ids: tuple[int, ...] = (),
    stop: tuple[str, ...] = (),
) -> Iterator[Completion]:
    """One continuation of each prompt, in order; the same `seed` gives the same ones.

    Temperature 0 takes the likeliest token each time, 1 draws from the model as it is. A
    continuation ends after `tokens`, with one of `stop_ids`, or at one of the texts `stop`. Each
    prompt has to fit into the context together with what is written.
    """
    rest = enumerate(prompts)
    while group := list(islice(rest, _AT_HAND)):
        longest = max(len(prompt) for _, prompt in group)
        engine = lm.engine(rows=min(ROWS, len(group)), tokens=longest + tokens)
        requests = [
            GenerationRequest(
                prompt=prompt,
                max_tokens=tokens,
                temperature=temperature,
                seed=mix(seed, number) >> 1,
                stop_ids=stop_ids,
                stop=stop,
            )
            for number, prompt in group
        ]
        for answers in engine.generate(requests):
            yield from answers
