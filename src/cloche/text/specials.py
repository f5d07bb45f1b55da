"""Special tokens typed in a text: plain text, unless the caller allows them by name."""

import re
from collections.abc import Collection, Iterator, Mapping

from cloche.errors import TokenizerError


def split_special(
    text: str, *, ids: Mapping[str, int], allowed: Collection[str]
) -> Iterator[str | int]:
    """Stretches of plain text, and the ids of the special tokens allowed between them.

    `ids` gives the special tokens there are. Raises TokenizerError where another one is allowed.
    """
    unknown = sorted(set(allowed) - set(ids))
    if unknown:
        raise TokenizerError(
            f"{unknown[0]!r} is not a special token of this tokenizer; it has "
            f"{', '.join(sorted(ids)) or 'none'}"
        )
    if not allowed:
        yield from [text] if text else []
        return
    longest_first = sorted(allowed, key=lambda token: (-len(token), token))
    for part in re.split(f"({'|'.join(map(re.escape, longest_first))})", text):
        if part in allowed:
            yield ids[part]
        elif part:
            yield part
