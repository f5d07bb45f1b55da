"""Which trackers there are, by the names that `--train.trackers` takes. Loads no tracker."""

from collections.abc import Sequence

from cloche.config import nearest

NOBODY = "none"
EVENT_FILES = "tensorboard"
EXTRAS = ("aim", "mlflow", "swanlab", "trackio", "wandb")
"""Each is also the name of the library, and of the extra that installs it."""


def split_names(names: Sequence[str]) -> list[str]:
    """Each tracker once, in order: `("tensorboard,wandb", "aim")` names three."""
    found = [part.strip() for name in names for part in name.split(",")]
    return list(dict.fromkeys(name for name in found if name))


def tracker_problems(names: Sequence[str]) -> list[str]:
    """What cannot be used in a list of trackers, one sentence each."""
    wanted = split_names(names)
    known = (EVENT_FILES, *EXTRAS, NOBODY)
    found = [
        f"train.trackers: there is no tracker {name!r}, {nearest(name, known)}"
        for name in wanted
        if name not in known
    ]
    if NOBODY in wanted and len(wanted) > 1:
        others = ", ".join(name for name in wanted if name != NOBODY)
        found.append(f"train.trackers says {NOBODY} and also {others}: leave one of them out")
    return found
