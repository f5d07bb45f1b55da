"""The words on pictures and in the terminal, in English and Chinese."""

from collections.abc import Mapping
from typing import Literal, get_args

from cloche.errors import SettingError
from cloche.plots.canvas import require_cjk_font

Language = Literal["en", "zh"]


class Words:
    """Says a phrase in a language; the phrase's English is its key.

    `Words({"layer": "层"}, "zh")("layer")` gives 层. A phrase that nobody translated is a
    mistake of ours: KeyError.
    """

    def __init__(self, chinese: Mapping[str, str], lang: Language) -> None:
        self.chinese, self.lang = chinese, lang

    def __call__(self, phrase: str, **filled: object) -> str:
        """The phrase in the language; `{name}` in it is filled."""
        said = self.chinese[phrase]
        return (phrase if self.lang == "en" else said).format(**filled)


def check_language(lang: str) -> None:
    """SettingError for a language that there is none of, or whose characters no font here has."""
    if lang not in get_args(Language):
        raise SettingError(f"lang must be one of {', '.join(get_args(Language))}, got {lang!r}")
    if lang == "zh":
        require_cjk_font()
