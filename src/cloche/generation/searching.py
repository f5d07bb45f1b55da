"""Continuations of a prompt that are searched for, not drawn: one way in for all searches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from cloche.generation.beams import BeamSettings, find_beams
from cloche.generation.continuation import Continuation
from cloche.generation.contrastive import ContrastiveSettings, find_contrastive
from cloche.generation.forward import Forward

Search = BeamSettings | ContrastiveSettings


def find_continuations(
    forward: Forward,
    prompt: Sequence[int],
    settings: Search,
    *,
    vocab_size: int,
    stop_ids: Sequence[int] = (),
    is_complete: Callable[[tuple[int, ...]], bool] | None = None,
) -> list[Continuation]:
    """What the search finds to follow the prompt, the best first.

    Reads into the forward's first `settings.rows` rows. A continuation ends with a token of
    `stop_ids`, where `is_complete` says so of its tokens, or, with `length`, where `max_tokens` or
    the context are used up. Only ids below `vocab_size` are read and chosen: a model may have more
    rows than its tokenizer has ids. Raises RequestError where the prompt does not fit, the model
    gives no numbers, or the settings leave no token to go on with.
    """
    with _resting_threads(forward):
        if isinstance(settings, ContrastiveSettings):
            found = find_contrastive(
                forward,
                prompt,
                settings,
                vocab_size=vocab_size,
                stop_ids=stop_ids,
                is_complete=is_complete,
            )
            return [found]
        return find_beams(
            forward,
            prompt,
            settings,
            vocab_size=vocab_size,
            stop_ids=stop_ids,
            is_complete=is_complete,
        )


@contextmanager
def _resting_threads(forward: Forward) -> Iterator[None]:
    """PyTorch's own threads rest where the forward has its own, as in the engine."""
    threads = torch.get_num_threads()
    if not forward.own_threads or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
