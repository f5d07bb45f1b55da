"""Where words part: two published regular expressions by name, or one of the user's own."""

import re
from dataclasses import dataclass

from cloche.errors import TokenizerError

PATTERNS = {
    "colons": r"""([,.:;?_!"()\']|--|\s)""",
    "no-colons": r"""([,.?_!"()\']|--|\s)""",
}
"""Both from Raschka, "Build a Large Language Model (From Scratch)", chapter 2:
https://github.com/rasbt/LLMs-from-scratch"""


@dataclass(frozen=True)
class Separator:
    """What parts words, as `re.split` would read it."""

    regex: str
    """Without the parentheses around it."""
    kept: bool
    """Whether its matches are words, too: so it is where the pattern stood in parentheses."""

    @property
    def pattern(self) -> str:
        """The pattern it came from: a name where it has one."""
        written = f"({self.regex})" if self.kept else self.regex
        return next((name for name, known in PATTERNS.items() if known == written), written)


def find_separator(pattern: str) -> Separator:
    """The separator that a name of PATTERNS or a regular expression stands for.

    Raises TokenizerError where it is neither, or has groups other than one around the whole.
    """
    written = PATTERNS.get(pattern, pattern)
    groups = _groups(written)
    if groups is None or not written:
        raise TokenizerError(
            f"the pattern {pattern!r} is no regular expression; it may be one, or a name: "
            f"{', '.join(PATTERNS)}"
        )
    if groups == 0:
        return Separator(written, kept=False)
    inside = written[1:-1]
    if groups == 1 and f"({inside})" == written and _groups(inside) == 0:
        return Separator(inside, kept=True)
    raise TokenizerError(
        f"the pattern {pattern!r} has {groups} groups in parentheses; it may have one, around the "
        f"whole, which keeps what it matches as words; write (?:...) for others"
    )


def _groups(regex: str) -> int | None:
    """How many groups a regular expression has; None where it is none."""
    try:
        return re.compile(regex).groups
    except re.error:
        return None
