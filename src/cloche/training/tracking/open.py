"""From the names in `--train.trackers` to listeners of a training."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cloche.config import flatten, to_values
from cloche.errors import SettingError, join_problems
from cloche.training.events import Notice
from cloche.training.tracking.event_files import EventFiles
from cloche.training.tracking.names import (
    EVENT_FILES,
    EXTRAS,
    NOBODY,
    split_names,
    tracker_problems,
)
from cloche.training.tracking.process import ProcessSink
from cloche.training.tracking.rows import TrackedRun
from cloche.training.tracking.tracker import Tracker


def open_trackers(
    names: Sequence[str],
    *,
    run: Path,
    options: Any,
    from_step: int,
    tell: Callable[[Notice], None],
) -> list[Tracker]:
    """A listener for each name, to be closed by `close_trackers`; none for `none`.

    `run` is the run's folder, `options` its complete options (a dataclass), `from_step` the step
    it goes on from. `tell` hears, in the thread that trains, of what goes wrong. In a training of
    several ranks, one opens trackers. Raises SettingError for unknown names and libraries that
    are not installed.
    """
    problems = tracker_problems(names) + missing_libraries(names)
    if problems:
        raise SettingError(join_problems(problems))
    tracked = TrackedRun(run.absolute(), from_step, flatten(to_values(options)))
    return [
        Tracker(
            name,
            partial(EventFiles, tracked)
            if name == EVENT_FILES
            else partial(ProcessSink, tracked, name),
            tell=tell,
        )
        for name in split_names(names)
        if name != NOBODY
    ]


def missing_libraries(names: Sequence[str]) -> list[str]:
    """A sentence for each tracker whose library is not installed. Loads none of them."""
    return [
        f"train.trackers {name} needs a library that is not installed: pip install 'cloche[{name}]'"
        for name in split_names(names)
        if name in EXTRAS and not _is_installed(name)
    ]


def _is_installed(library: str) -> bool:
    """Whether a package of that name is found; a folder that a tracker left here is none."""
    found = find_spec(library)
    return found is not None and found.origin is not None
