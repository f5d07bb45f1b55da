"""Words of a lesson's code in both languages, said in one."""

from collections.abc import Mapping
from typing import get_args

from cloche.lens.wording import Language

Phrase = str | Mapping[str, str]
"""A string that is the same in both languages, or {"en": ..., "zh": ...}."""


class LessonError(Exception):
    """A lesson is written wrongly: a mistake of its author, never of its reader."""


def in_language(phrase: Phrase, lang: Language) -> str:
    """The phrase in a language. LessonError where it has another set of languages than ours."""
    if isinstance(phrase, str):
        return phrase
    languages = get_args(Language)
    if set(phrase) != set(languages):
        raise LessonError(f"a phrase needs {' and '.join(languages)}, got {dict(phrase)}")
    return phrase[lang]
