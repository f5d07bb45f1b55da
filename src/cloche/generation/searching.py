"""Continuations of a prompt that are searched for, not drawn: one way in for all searches."""

from collections.abc import Callable, Sequence

from cloche.generation.beams import BeamSettings, find_beams
from cloche.generation.continuation import Continuation
from cloche.generation.contrastive import ContrastiveSettings, find_contrastive
from cloche.generation.forward import Forward, threads_resting

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
    with threads_resting(forward):
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
