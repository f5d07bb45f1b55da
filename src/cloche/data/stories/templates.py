"""Sentences with gaps: `{hero} saw {thing.a}.` names a role and, after the dot, its form."""

import re
from dataclasses import dataclass
from functools import lru_cache

_GAP = re.compile(r"\{(\w+)(?:\.(\w+))?\}")


@dataclass(frozen=True)
class Gap:
    """One gap, with the fixed text before it."""

    before: str
    role: str
    form: str


@dataclass(frozen=True)
class Template:
    """A sentence cut at its gaps."""

    gaps: tuple[Gap, ...]
    tail: str

    @property
    def subject(self) -> str | None:
        """The role that the sentence begins with, in its plain form; None for any other start."""
        if not self.gaps:
            return None
        first, following = self.gaps[0], (*(gap.before for gap in self.gaps[1:]), self.tail)[0]
        if first.before or first.form or following.startswith("'"):  # Anna's is not Anna
            return None
        return first.role


@lru_cache(maxsize=8192)
def parse_template(text: str) -> Template:
    """The template that the text writes."""
    gaps, end = [], 0
    for match in _GAP.finditer(text):
        gaps.append(Gap(text[end : match.start()], match[1], match[2] or ""))
        end = match.end()
    return Template(tuple(gaps), text[end:])
