"""Checkpoints written while the training goes on, with all that was promised of them.

The state is copied at once; a thread then writes the copy to the disk. One is written at a time,
and what came of it is told in the training's own thread: at the next step, or when the run ends.
Where many processes share a training they write together, and the training waits for them.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cloche.errors import CheckpointError
from cloche.training.events import CheckpointSaved, Event, Notice
from cloche.training.job import SaveCheckpoint
from cloche.training.state import LoopState


@dataclass(frozen=True)
class _Begun:
    """A save that was begun: of which state, and what will come of it."""

    step: int
    evaluated_step: int | None
    best_loss: float | None
    best_step: int | None
    folder: Future[Path]


class Checkpoints:
    """The checkpoints of one sitting: which one is on disk, which one is being written."""

    def __init__(self, save: SaveCheckpoint, state: LoopState, *, alone: bool) -> None:
        self._save = save
        self._state = state
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints") if alone else None
        self._writing: _Begun | None = None
        self._on_disk = (state.step, state.evaluated_step)
        self._best = (state.best_loss, state.best_step)

    def begin(self) -> list[Event]:
        """Save the state as it is now; what is to be told of this save and the one before.

        A full disk is told as a warning: the training goes on.
        """
        told = self.settle()
        try:
            self._start()
        except CheckpointError as exc:
            return [*told, self._failed(self._state.step, exc)]
        return told if self._thread else [*told, *self.settle()]

    def poll(self) -> list[Event]:
        """What is to be told of a save that is over by now."""
        return self._outcome(wait=False)

    def settle(self) -> list[Event]:
        """Wait for the save that is being written; what is to be told of it."""
        return self._outcome(wait=True)

    @property
    def behind(self) -> bool:
        """Whether the disk does not yet have the state as it is now."""
        return self._on_disk != (self._state.step, self._state.evaluated_step)

    def finish(self) -> list[Event]:
        """Have the last state on disk, once all is settled; CheckpointError if that cannot be."""
        assert self._writing is None, "settled before"
        if not self.behind:
            return []
        begun = self._start()
        self._writing = None
        return [self._saved(begun, begun.folder.result())]

    def close(self) -> None:
        """Let a save that is being written come to its end."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    def _start(self) -> _Begun:
        state = self._state
        write = self._save(state)
        if self._thread is not None:
            folder = self._thread.submit(write)
        else:
            folder = Future[Path]()
            try:
                folder.set_result(write())
            except CheckpointError as exc:
                folder.set_exception(exc)
        self._writing = _Begun(
            state.step, state.evaluated_step, state.best_loss, state.best_step, folder
        )
        return self._writing

    def _outcome(self, *, wait: bool) -> list[Event]:
        begun = self._writing
        if begun is None or not (wait or begun.folder.done()):
            return []
        self._writing = None
        try:
            return [self._saved(begun, begun.folder.result())]
        except CheckpointError as exc:
            return [self._failed(begun.step, exc)]

    def _saved(self, begun: _Begun, folder: Path) -> CheckpointSaved:
        self._on_disk = (begun.step, begun.evaluated_step)
        self._best = (begun.best_loss, begun.best_step)
        return CheckpointSaved(begun.step, folder, best=begun.best_step == begun.step)

    def _failed(self, step: int, exc: CheckpointError) -> Notice:
        if self._state.best_step == step:
            # what is not on disk cannot be the best: a later one may take its place
            self._state.best_loss, self._state.best_step = self._best
        said = str(exc).rstrip(".")
        text = f"{said}. Training goes on; the next save is tried as planned."
        return Notice(text, warning=True)
