"""Half characters are refused before an engine sees them: some would replace them silently."""

from cloche.errors import TokenizerError
from cloche.text.encodings import find_lone_surrogate


def refuse_lone_surrogate(text: str) -> None:
    """Raise TokenizerError where `text` holds half of a surrogate pair."""
    if half := find_lone_surrogate(text):
        raise TokenizerError(
            f"the text holds the lone surrogate U+{ord(half[0]):04X}, which is half a "
            f"character; mend the text"
        )
