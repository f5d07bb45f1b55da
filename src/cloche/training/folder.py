"""A run's folder: claimed by one process at a time, refused where it holds another run."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from cloche.config import differences, read_toml, to_toml, with_values
from cloche.errors import RunError, SettingError
from cloche.training.options import RunOptions
from cloche.weights.folder import ADAPTER_CONFIG
from cloche.weights.folder import CONFIG as MODEL_CONFIG
from cloche.weights.history import CHECKPOINTS, list_checkpoints

Options = TypeVar("Options")
CONFIG = "config.toml"
LOCK = ".lock"
BEFORE_CONFIG = frozenset({CHECKPOINTS, "began.txt", "reference.safetensors", "replay", "tokens"})
"""What a run that died before its options were frozen may have left."""
_NAMED = 3
CHANGEABLE = frozenset(
    {
        "sources",
        "train.device",
        "train.compile",
        "train.parallel",
        "train.tensor_parallel",
        "train.checkpointing",
        "train.trackers",
        "train.statistics_every",
        "train.keep",
        "train.skip_nonfinite",
    }
)
"""What may differ when a run goes on: where it is computed, who watches and what is kept, not what
is computed.
Of the sources, the text is compared, not the names."""


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold the run folder for this process; RunError where another one holds it.

    A folder with other things in it is refused, and left as it is (see `refuse_foreign`). The
    operating system frees the lock of a process that died, so a stale one never blocks.
    """
    refuse_foreign(run)
    new = not run.exists()
    made = [parent for parent in run.parents if not parent.exists()]
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise RunError(f"{run} cannot be a run folder: {exc.strerror}; name another") from exc
    lock = FileLock(run / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise RunError(
            f"{run} is in use by another training; wait for it, or give another folder with --out"
        ) from exc
    try:
        yield
    except BaseException:
        if new and not (run / CONFIG).exists():  # nothing had begun: leave nothing behind
            shutil.rmtree(run, ignore_errors=True)
            with suppress(OSError):  # another run may have come to lie there meanwhile
                for parent in made:
                    parent.rmdir()
        raise
    finally:
        lock.release()


def refuse_foreign(run: Path) -> None:
    """RunError where the folder holds something, and that is no run: a training would write over
    it, or its links would hide a model that lies there. Names that begin with a point do not count.
    """
    if not run.is_dir() or list_checkpoints(run):
        return
    ways = "Nothing in it was touched: name an empty or a new folder with --out, or move"
    if (run / MODEL_CONFIG).exists() or (run / ADAPTER_CONFIG).exists():
        raise RunError(f"{run} is a model folder, and no run of cloche. {ways} the model away")
    try:
        names = sorted(path.name for path in run.iterdir() if not path.name.startswith("."))
    except OSError as exc:
        raise RunError(f"{run} cannot be read: {exc.strerror}; name another") from exc
    foreign = [name for name in names if name not in BEFORE_CONFIG]
    if foreign and not _begun_here(run / CONFIG):
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise RunError(
            f"{run} is not empty, and no run of cloche: it holds {', '.join(foreign[:_NAMED])}"
            f"{more}. {ways} those away"
        )


def refuse_base(run: Path, base: str) -> None:
    """RunError where a run is to be written into the very model that it begins with."""
    if base and run.exists() and Path(base).exists() and run.samefile(base):
        raise RunError(
            f"{run} is the model to begin with itself. Nothing in it was touched: name another "
            "folder with --out, or leave --out out"
        )


def _begun_here(path: Path) -> bool:
    """Whether this is a config.toml of cloche: it tells how a training goes; or an empty one."""
    if not path.is_file():
        return False
    try:
        values = read_toml(path)
    except SettingError:
        return False
    return not values or isinstance(values.get("train"), dict)


def read_options(run: Path) -> RunOptions | None:
    """The options the run began with, or None where it has not begun."""
    return read_options_of(run, RunOptions(), kind=None)


def read_options_of(run: Path, default: Options, *, kind: str | None) -> Options | None:
    """The same, laid over the tree `default`, for a run of any kind.

    A tuning says its `kind` in config.toml, a training from text none; RunError where the run is
    of another.
    """
    path = run / CONFIG
    if not path.exists():
        if list_checkpoints(run):
            raise RunError(
                f"{run} holds checkpoints but no {CONFIG}, without which a training cannot go on: "
                "put it back, or begin another run with --out"
            )
        return None
    if not path.read_bytes().strip():
        raise RunError(f"{path} is empty: put it back, or begin another run with --out")
    values = read_toml(path)
    _require_kind(run, values.get("kind"), kind)
    return with_values(default, values, source=str(path))


def _require_kind(run: Path, found: Any, wanted: str | None) -> None:
    """RunError where another command began the run."""
    verbs = {None: "cloche train", "tune": "cloche tune"}
    verbs |= {task: f"cloche tune --task {task}" for task in ("text", "classify")}
    if found != wanted:
        begun = verbs.get(found, f"cloche align {found}")
        raise RunError(
            f"{run} was begun by {begun}: go on with that, or begin another run with --out"
        )


def write_options(run: Path, options: Any) -> None:
    """Store the complete options as the run's config.toml."""
    temporary = run / f".{CONFIG}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(to_toml(options))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(run / CONFIG)


def refuse_other_run(run: Path, *, resume: bool) -> None:
    """RunError where the folder holds a checkpoint and the run was not asked to go on."""
    if not resume and list_checkpoints(run):
        raise RunError(
            f"{run} already holds a training: continue it with --resume, "
            "or give another folder with --out"
        )


def refuse_other_options(run: Path, *, stored: Any, given: Any) -> None:
    """RunError naming every option in which a resumed run would differ from how it began."""
    found = differences(stored, given, ignore=CHANGEABLE)
    if found:
        listed = "\n".join(f"  - {line}" for line in found)
        raise RunError(
            f"{run} was begun with other options, and a run keeps those it began with:\n{listed}\n"
            "Leave them out to continue it, or begin another run with --out."
        )
