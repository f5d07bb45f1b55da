"""The errors a user can cause: what was wrong, the value, and what to do next.

Anything else that is raised is a bug of cloche. The command line turns these into one message and
exit status 2.
"""


class ClocheError(Exception):
    """A user's mistake, or a condition only the user can mend."""


class SettingError(ClocheError, ValueError):
    """One or more settings are out of range, unknown or contradict each other."""


class TextError(ClocheError, ValueError):
    """A source text is missing, empty, undecodable or malformed."""


class TokenizerError(ClocheError, ValueError):
    """A tokenizer cannot be built or loaded, or cannot encode the given text."""


class DataError(ClocheError, ValueError):
    """Token data is absent, damaged, or too small for the model."""


class CheckpointError(ClocheError):
    """A checkpoint or model folder is absent, damaged, unsafe or of an unknown kind."""


class BaseModelError(CheckpointError):
    """An adapter's base is not where it was, or is another model: no other checkpoint helps."""


class WrongKindError(CheckpointError):
    """A model folder is whole, but of another kind than is asked for: no other checkpoint helps."""


class RunError(ClocheError):
    """A run folder is in use, is not a run, or holds another run."""


class RequestError(ClocheError, ValueError):
    """A generation request cannot be served as it stands."""


def join_problems(problems: list[str]) -> str:
    """All problems as one message, one a line, so that none has to be found by a second try."""
    if len(problems) == 1:
        return problems[0]
    return "\n".join([f"{len(problems)} settings cannot be used:", *(f"  - {p}" for p in problems)])
