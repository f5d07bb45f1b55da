"""What a lesson's code is given: where it shows, says and keeps what it finds, and its texts.

The script of a lesson opens a stage in its head and runs as it is (`python cells.py`); who runs a
lesson otherwise gives the cells a stage of their own in place of that head.
"""

import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cloche.data.corpora import fetch
from cloche.errors import RequestError
from cloche.lens.view import View
from cloche.lens.wording import Language
from cloche.lessons.charts import Chart
from cloche.lessons.outputs import Drawing, Output, Rows, Said, Shown, phrases_of
from cloche.lessons.phrases import LessonError, Phrase
from cloche.lessons.showing import display_output, print_output
from cloche.replays.materials import Materials
from cloche.replays.published import load_published
from cloche.replays.replay import Row, replay_row
from cloche.text.ingest import documents, find_sources, inspect_source
from cloche.training.preparing import Places
from cloche.training.start import TrainedRun, train


def default_cache() -> Path:
    """Where fetched texts are kept when nobody says otherwise."""
    return Path.home() / ".cache" / "cloche"


class Stage:
    """What the cells of a lesson are given under the name `stage`."""

    def __init__(
        self,
        tell: Callable[[Output], None],
        *,
        folder: Path,
        data_folder: Path | None = None,
        cache_folder: Path | None = None,
        model: str | None = None,
    ) -> None:
        """`tell` hears each output; `folder` is the lesson's own, for what it trains."""
        self.folder = folder
        self.values: dict[str, Any] = {}
        """What was kept for the texts."""
        self._tell, self._model = tell, model
        self._places = Places(data_folder, cache_folder or default_cache())
        self._materials = Materials(data_folder=data_folder, cache_folder=self._places.cache)

    def show(self, what: View | Chart | Drawing, caption: Phrase = "") -> None:
        """Show a view of the lens, a chart, or a function that draws a Figure."""
        self._tell(Shown(what, caption))

    def say(self, *, en: str, zh: str) -> None:
        """Print a line in the reader's language."""
        self._tell(Said({"en": en, "zh": zh}))

    def table(self, columns: list[Any], rows: list[list[Any]]) -> None:
        """Show a table. LessonError for a row of another width."""
        for row in rows:
            if len(row) != len(columns):
                raise LessonError(f"a row of {len(row)} cells in a table of {len(columns)}: {row}")
        self._tell(Rows(phrases_of(columns), tuple(phrases_of(row) for row in rows)))

    def keep(self, **values: Any) -> None:
        """Keep numbers, strings or phrases for the texts of the lesson, each name once."""
        for name, value in values.items():
            if name in self.values:
                raise LessonError(f"{name!r} was kept already")
            kept = value if isinstance(value, str | Mapping) else _number(value)
            self.values[name] = kept

    def source(self, name: str) -> str:
        """The path of a text that cloche knows by name, for `cloche.train`."""
        places = self._places
        return str(fetch(name, data_folder=places.data, cache_folder=places.cache))

    def text(self, name: str) -> str:
        """The whole of a text that cloche knows by name."""
        source = find_sources([self.source(name)])[0]
        found = documents(source, inspect_source(source).encoding)
        return "\n\n".join("".join(document.pieces()) for document in found)

    def train(self, *sources: str, out: str, **given: Any) -> TrainedRun:
        """`cloche.train` into the lesson's own folder, without its lines about the progress."""
        return train(*sources, out=self.folder / out, listeners=[], places=self._places, **given)

    def replay(self, name: str) -> Row:
        """A published number computed anew. LessonError where it does not come out as it should."""
        published = next((each for each in load_published() if each.name == name), None)
        if published is None:
            raise LessonError(f"no published result is called {name!r}")
        row = replay_row(published, self._materials)
        if row.lacking is not None:
            raise RequestError(row.cause or name)
        if not row.expected:
            raise LessonError(f"{name}: {row.cause}")
        return row

    @property
    def model(self) -> str:
        """Path of the pretrained model that the reader gave. RequestError where none was."""
        if self._model is None:
            raise RequestError(
                "this lesson looks at a pretrained model: name its folder by --model"
            )
        return self._model


def open_stage(
    *,
    lang: Language = "en",
    data_folder: str | Path | None = None,
    cache_folder: str | Path | None = None,
    model: str | None = None,
) -> Stage:
    """A stage for a program or a notebook of one's own: outputs appear where they arise."""
    torch.set_printoptions(precision=4, sci_mode=False, linewidth=88)
    folder = Path(tempfile.mkdtemp(prefix="cloche-lesson-"))
    is_notebook = "ipykernel" in sys.modules
    stage = Stage(
        partial(display_output if is_notebook else print_output, lang=lang),
        folder=folder,
        data_folder=Path(data_folder) if data_folder else None,
        cache_folder=Path(cache_folder) if cache_folder else None,
        model=model,
    )
    weakref.finalize(stage, shutil.rmtree, folder, ignore_errors=True)
    return stage


def _number(value: Any) -> Any:
    """A plain number of Python. LessonError for anything else."""
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, int | float):
        raise LessonError(f"numbers and strings are kept for texts, not {type(value).__name__}")
    return plain
