"""The only place that reads the environment: folders of texts and caches."""

import os
import sys
from pathlib import Path

import psutil


def data_folder() -> Path | None:
    """The folder that CLOCHE_DATA names, where built-in texts may lie already."""
    named = os.environ.get("CLOCHE_DATA")
    return Path(named) if named else None


def cache_folder() -> Path:
    """Where fetched and generated texts are kept: below XDG_CACHE_HOME, else ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "cloche"


BUSY_SHARE = 25.0
"""Percent of all processors that others use, from which on threads should wait without spinning."""


def let_threads_wait_politely() -> bool:
    """Have PyTorch's threads sleep while they wait, where other programs use the processors too.

    Threads that spin are faster alone, and several times slower beside others (docs/log.md). For
    before torch is loaded; what the environment says already stays. Whether it was done.
    """
    if "torch" in sys.modules:  # its threads are settled
        return False
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return False
    if psutil.cpu_percent(interval=0.1) < BUSY_SHARE:
        return False
    os.environ["OMP_WAIT_POLICY"] = "passive"
    return True
