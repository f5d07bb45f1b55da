"""What a tracker calls a run: kept beside the run, so that a resumed one goes on there."""

from dataclasses import dataclass
from pathlib import Path

from cloche.training.tracking.rows import TrackedRun

FOLDER = "trackers"


@dataclass(frozen=True)
class Identity:
    """The name of a run in the tracker `name`, in RUN/trackers/NAME.id."""

    run: TrackedRun
    name: str

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self.run.folder / FOLDER / f"{self.name}.id"

    def recall(self) -> str | None:
        """What an earlier sitting kept; None for a run that begins, or that was not tracked."""
        if self.run.from_step == 0 or not self.path.exists():
            return None
        return self.path.read_text(encoding="utf-8").strip() or None

    def keep(self, identity: str) -> None:
        """Keep it for the next sitting."""
        self.path.write_text(f"{identity}\n", encoding="utf-8")
