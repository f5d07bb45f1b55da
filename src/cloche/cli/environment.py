"""The only place that reads the environment: folders of texts and caches."""

import os
from pathlib import Path


def data_folder() -> Path | None:
    """The folder that CLOCHE_DATA names, where built-in texts may lie already."""
    named = os.environ.get("CLOCHE_DATA")
    return Path(named) if named else None


def cache_folder() -> Path:
    """Where fetched and generated texts are kept: below XDG_CACHE_HOME, else ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "cloche"
