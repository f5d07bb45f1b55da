"""Standard input as a file, so that it can be read more than once."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def standard_input() -> Iterator[Path | None]:
    """A file with all of standard input, gone afterwards; None where nothing is piped in."""
    if sys.stdin.isatty():
        yield None
        return
    with tempfile.NamedTemporaryFile(prefix="cloche-", suffix=".txt") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield Path(file.name)
