"""The view `training`: a run's figures over its steps, and what it wrote on the way.

Everything is read from the run's own files; no model is loaded, and the run may still be going.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cloche.config import nearest
from cloche.errors import RequestError, SettingError
from cloche.lens.training_rows import (
    Curve,
    WrittenSample,
    folder_of_run,
    read_curves,
    read_samples,
    read_standing,
)
from cloche.lens.view import Provenance, View

GRADIENTS, UPDATES = "train/grad_norm/", "train/update_ratio/"
"""Before the layer, in the names of figures by layer."""
LOSSES = ("train/loss", "eval/train_loss", "eval/loss")
PANELS = {
    "loss": LOSSES,
    "learning rate": ("train/learning_rate",),
    "gradient norm": ("train/grad_norm",),
    "gradient norm by layer": (GRADIENTS,),
    "update to weight ratio by layer": (UPDATES,),
    "tokens per second": ("perf/tokens_per_sec",),
}


@dataclass(frozen=True)
class Panel:
    """Figures that belong together."""

    title: str
    """One of `PANELS`, or the name of the one figure that was asked for."""
    figures: list[str]
    """Names that any of the runs has."""
    by_layer: bool = False


@dataclass(frozen=True, eq=False)
class RunCurves:
    """One run's figures."""

    run: str
    """Its folder's name, with as much of the path as tells it from the others."""
    state: str
    """running, finished, interrupted or failed; empty where it does not say."""
    step: int
    """The last one with a figure."""
    steps: int | None
    """As many as are planned."""
    curves: dict[str, Curve]
    """By the names of metrics.jsonl."""
    samples: list[WrittenSample]


@dataclass(frozen=True, eq=False)
class TrainingView(View):
    """Figures over steps, of one run or of several over one another."""

    name: ClassVar[str] = "training"
    runs: list[RunCurves]
    panels: list[Panel]
    """What is drawn, in this order; only what some run has."""
    others: list[str]
    """Further figures of these runs, which can be asked for by name."""


def see_training(
    runs: Sequence[str | Path] | str | Path, *, metrics: Sequence[str] = ()
) -> TrainingView:
    """Loss, learning rate, gradient norms, update-to-weight ratios and speed over the steps.

    `runs` are run folders, or one; `metrics` are names of metrics.jsonl to see in their place, of
    any kind of training (eval/pair_accuracy, train/kl, ...); one that ends in / means all that
    begin so. RunError where a run has no figures or damaged ones, SettingError for a name that no
    run has.
    """
    given = [runs] if isinstance(runs, str | Path) else list(runs)
    folders = list(dict.fromkeys(folder_of_run(run) for run in given))
    if not folders:
        raise RequestError("there is no run to look at: name one at least")
    names = _short_names(folders)
    found = [_read(folder, name) for folder, name in zip(folders, names, strict=True)]
    known = list(dict.fromkeys(figure for run in found for figure in run.curves))
    panels = _asked(metrics, known) if metrics else _usual(known)
    shown = {figure for panel in panels for figure in panel.figures}
    others = [figure for figure in known if figure not in shown]
    return TrainingView(Provenance(", ".join(names), "", ""), found, panels, others)


def layer_name(figure: str) -> str:
    """The layer in the name of a figure by layer; the name itself for another."""
    for prefix in (GRADIENTS, UPDATES):
        if figure.startswith(prefix):
            return figure.removeprefix(prefix)
    return figure


def _read(folder: Path, name: str) -> RunCurves:
    curves = read_curves(folder)
    standing = read_standing(folder)
    step = max(curve.steps[-1] for curve in curves.values())
    return RunCurves(name, standing.state, step, standing.steps, curves, read_samples(folder))


def _usual(known: Sequence[str]) -> list[Panel]:
    """The panels that have something to show; of a training without any of them, all it has."""
    found = []
    for title, figures in PANELS.items():
        by_layer = figures[0].endswith("/")
        here = [name for figure in figures for name in _named(figure, known)]
        if here:
            found.append(Panel(title, here, by_layer))
    return found or [Panel(name, [name]) for name in known]


def _asked(metrics: Sequence[str], known: Sequence[str]) -> list[Panel]:
    found = []
    for asked in dict.fromkeys(metrics):
        here = _named(asked, known)
        if not here:
            raise SettingError(
                f"no figure of the training is called {asked}: {nearest(asked, known)}"
            )
        by_layer = asked.endswith("/")
        title = next(
            (t for t, figures in PANELS.items() if by_layer and figures == (asked,)), asked
        )
        found.append(Panel(title, here, by_layer))
    return found


def _named(figure: str, known: Sequence[str]) -> list[str]:
    """The known figures of a name; of one that ends in /, all that begin so."""
    if figure.endswith("/"):
        return [name for name in known if name.startswith(figure)]
    return [figure] if figure in known else []


def _short_names(folders: Sequence[Path]) -> list[str]:
    """As many last parts of each path as tell all of them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
