"""The one sentence said where a library of an extra is not installed."""

from cloche.errors import TextError


def missing_library(library: str, *, name: str, what: str) -> TextError:
    """The error for the file `name`: it is `what` (such as "a PDF"), and the library is absent."""
    return TextError(
        f"{name} is {what}, and reading that needs {library}: pip install 'cloche[formats]'. To "
        f"leave such files out, name the others, with a pattern such as 'books/**/*.txt'"
    )
