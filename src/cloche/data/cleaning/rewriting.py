"""Steps that rewrite a text: Unicode forms, control characters, white space.

Each is done when it was done once: a second time changes nothing.
"""

import re
import unicodedata

# Of the control characters, tabs and line ends stay. Beside them go the marks that show nothing
# and join nothing: soft hyphen, zero-width space, word joiner, byte order mark. The joiners of
# emoji and of Indic and Persian letters (U+200C, U+200D) and marks of writing direction stay.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff]+")
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_BLANK_LINES = re.compile("\n{3,}")


def compose(text: str) -> str:
    """The text in Unicode form NFC. Source: Unicode Standard Annex 15."""
    return unicodedata.normalize("NFC", text)


def compose_plain(text: str) -> str:
    """The text in Unicode form NFKC: full-width letters, ligatures and odd spaces become plain."""
    return unicodedata.normalize("NFKC", text)


def without_controls(text: str) -> str:
    """The text without control characters, but for tabs and line ends, and invisible marks."""
    return _CONTROLS.sub("", text)


def with_tidy_whitespace(text: str) -> str:
    """The text with \\n as its only line end, none but single blank lines, and no trailing space.

    Every line end that Unicode knows counts as one, a form feed too. White space within and before
    a line stays, whether plain, no-break or ideographic: it can be an indent. Blank lines at the
    beginning and the end go; a line end behind the last line stays.
    """
    lines = _LINE_ENDS.sub("\n", text).split("\n")
    # by lines, as a pattern for trailing space needs quadratic time where spaces are many
    tidy = _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in lines))
    inner = tidy.strip("\n")
    return inner + "\n" if inner and tidy.endswith("\n") else inner
