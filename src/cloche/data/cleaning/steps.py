"""The cleaning steps by name: what each does, and how a list of them is written.

A list reads `nfc,whitespace,language=en,zh,near-duplicates=0.8,min-length=200`: the steps in the
order in which they are done, some with a value. Nothing is cleaned that is not asked for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cloche.config import nearest
from cloche.errors import SettingError, join_problems

NEAR_DUPLICATE = 0.8
"""Similarity from which a document is a near duplicate, where none is given."""

_LANGUAGES = (
    "af ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gu he hi hr hu hy id is it "
    "ja ka kk ko la lg lt lv mi mk mn mr ms nb nl nn pa pl pt ro ru sk sl sn so sq sr st sv sw ta "
    "te th tl tn tr ts uk ur vi xh yo zh zu"
)
LANGUAGES = tuple(_LANGUAGES.split())
"""Languages that can be told apart, as ISO 639-1 has them."""

ABOUT = {
    "nfc": "characters in composed Unicode form: e and an accent become one letter",
    "nfkc": "nfc, and full-width letters, ligatures and odd spaces become their plain forms",
    "controls": "control characters, byte order marks and invisible break hints taken out",
    "whitespace": "line ends as \\n, no white space before them, at most one blank line in a row",
    "exact-duplicates": "documents that differ from an earlier one at most in white space",
    "near-duplicates": "documents that share most of their text with an earlier one; =0.8 says how "
    "much, from 0 to 1",
    "language": "documents in other languages than those named: =en or =en,zh",
    "min-length": "documents of fewer characters: =200",
    "max-length": "documents of more characters: =100000",
}
"""What each step changes or takes out, in the order in which they are best done."""


_PLAIN = ("nfc", "nfkc", "controls", "whitespace", "exact-duplicates")


@dataclass(frozen=True)
class Step:
    """One step of cleaning, and its value where it takes one."""

    name: str
    value: float | int | tuple[str, ...] | None = None
    """Similarity, number of characters, or languages."""

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        value = ",".join(self.value) if isinstance(self.value, tuple) else str(self.value)
        return f"{self.name}={value}"


def parse_steps(text: str) -> tuple[Step, ...]:
    """The steps that `text` lists, in its order; none where it is blank.

    Raises SettingError with all that is wrong: an unknown step and the nearest name, a value that
    is missing, out of range or not taken, lengths that no document can have.
    """
    steps, problems = [], []
    for name, value in _items(text):
        try:
            steps.append(_step(name, value))
        except ValueError as exc:
            problems.append(str(exc))
    problems.extend(_contradictions(steps))
    if problems:
        raise SettingError(join_problems(problems))
    return tuple(steps)


def write_steps(steps: Iterable[Step]) -> str:
    """The list that `parse_steps` reads as these steps."""
    return ",".join(map(str, steps))


def _items(text: str) -> list[tuple[str, str | None]]:
    """(name, value) of each item. Two letters behind `language=` are one more language."""
    found: list[tuple[str, str | None]] = []
    for item in (part.strip() for part in text.split(",")):
        more_languages = re.fullmatch("[A-Za-z]{2}", item) and found and found[-1][0] == "language"
        if more_languages:
            found[-1] = ("language", f"{found[-1][1]},{item}")
        elif item:
            name, equals, value = item.partition("=")
            name = name.strip().lower().replace("_", "-")
            found.append((name, value.strip() if equals else None))
    return found


def _step(name: str, value: str | None) -> Step:
    """One step. ValueError says what is wrong with it."""
    if name not in ABOUT:
        raise ValueError(f"there is no cleaning step {name!r}: {nearest(name, ABOUT)}")
    if name in _PLAIN:
        if value is not None:
            raise ValueError(f"the cleaning step {name} takes no value, got {value!r}")
        return Step(name)
    if name == "near-duplicates":
        return Step(name, NEAR_DUPLICATE if value is None else _similarity(value))
    if name == "language":
        return Step(name, _languages(value or ""))
    return Step(name, _length(name, value or ""))


def _similarity(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0.0 < number <= 1.0:
        raise ValueError(
            f"near-duplicates takes a similarity above 0 and at most 1, got {value!r}; 0.8 is usual"
        )
    return number


def _languages(value: str) -> tuple[str, ...]:
    codes = tuple(dict.fromkeys(code.strip().lower() for code in value.split(",")))
    if unknown := [code for code in codes if code not in LANGUAGES]:
        raise ValueError(
            f"language takes two-letter names such as en or en,zh, got {unknown[0]!r}; "
            f"known are: {', '.join(LANGUAGES)}"
        )
    return codes


def _length(name: str, value: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", value) or int(value) < 1:
        raise ValueError(f"{name} takes a number of characters, such as {name}=200, got {value!r}")
    return int(value)


def _contradictions(steps: list[Step]) -> list[str]:
    least, most = (
        [step.value for step in steps if step.name == name and isinstance(step.value, int)]
        for name in ("min-length", "max-length")
    )
    if least and most and max(least) > min(most):
        return [
            f"no document has at least {max(least)} and at most {min(most)} characters: change "
            "min-length or max-length"
        ]
    return []
