"""The libraries of the extra `image`: asked for before any work, and kept from talking."""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from cloche.errors import SettingError

NEEDED = {"diffusers": "diffusers", "transformers": "transformers", "PIL": "pillow"}


def require_libraries() -> None:
    """SettingError, naming the extra, where a library that pictures need is not installed."""
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise SettingError(f"pictures need {', '.join(missing)}: pip install 'cloche[image]'")


@contextmanager
def quietly() -> Iterator[None]:
    """While it lasts, diffusers and transformers neither log, nor warn, nor draw progress bars.

    What of it concerns a user cloche tells itself. All is as before afterwards.
    """
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _without_bars():
            warnings.simplefilter("ignore")
            for logger in loggers:  # the libraries set their own level when they are imported
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _without_bars() -> Iterator[None]:
    import diffusers.utils.logging
    import transformers.utils.logging

    libraries = (diffusers.utils.logging, transformers.utils.logging)
    shown = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, was_shown in zip(libraries, shown, strict=True):
            if was_shown:
                library.enable_progress_bar()
