"""Charts of trainings and measurements: loss, laws, calibration, intervals, confusion, margins."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloche.plots.canvas import name_axes, name_ticks

TRAIN, VALIDATION, FAINT = "#2f6f4f", "#c2542d", "#b9cfc3"


def loss_curve(
    rows: Iterable[Mapping[str, Any]], path: Path, *, title: str, unit: str = "nats a token"
) -> None:
    """Draw training and validation loss over steps to an image file; `unit` may be empty.

    `rows` are those of metrics.jsonl. The training loss of single steps is drawn faintly behind
    the evaluations of both parts, which are comparable: same number of windows, dropout off.
    """
    found = list(rows)
    figure, axes = _figure(title)
    _line(axes, found, "train/loss", color=FAINT, label="training, each step", width=1.0)
    _line(axes, found, "eval/train_loss", color=TRAIN, label="training, evaluated", width=2.0)
    _line(axes, found, "eval/loss", color=VALIDATION, label="validation", width=2.0)
    evaluated = [row for row in found if "eval/loss" in row]
    if evaluated:
        best = min(evaluated, key=lambda row: row["eval/loss"])
        axes.plot(best["step"], best["eval/loss"], "o", color=VALIDATION)
        axes.annotate(
            f"{best['eval/loss']:.4f}",
            (best["step"], best["eval/loss"]),
            textcoords="offset points",
            xytext=(0, 8),
            ha="center",
            color=VALIDATION,
        )
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss ({unit})" if unit else "loss")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="upper right")
    _save(figure, path)


def law_curves(
    curves: Mapping[str, tuple[Sequence[tuple[float, float]], Sequence[tuple[float, float]]]],
    path: Path,
    *,
    title: str,
    band: Sequence[tuple[float, float, float]] = (),
) -> None:
    """Draw losses over tokens and the law fitted to them, both axes logarithmic, to an image file.

    `curves` has, by the name of each size, the points observed and the points of its law; `band`
    is (tokens, low, high) of the interval about the last of them.
    """
    figure, axes = _figure(title)
    steps = max(1, len(curves) - 1)
    for number, (label, (seen, law)) in enumerate(curves.items()):
        # one size is drawn as a validation loss is; several from light to dark, as they grow
        color = VALIDATION if len(curves) == 1 else str(0.65 - 0.65 * number / steps)
        axes.plot(*zip(*seen, strict=True), "o", color=color, markersize=4)
        axes.plot(*zip(*law, strict=True), color=color, linewidth=1.2, label=label)
    if band:
        tokens, low, high = zip(*band, strict=True)
        axes.fill_between(tokens, low, high, color=FAINT, alpha=0.5, label="90% of the fits")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter("{x:.3g}")
    axes.set_xlabel("tokens learned from")
    axes.set_ylabel("validation loss (nats a token)")
    axes.legend(frameon=False)
    _save(figure, path)


def reliability_diagram(
    bins: Sequence[tuple[float, float, float, float, int]],
    path: Path,
    *,
    title: str,
    labels: tuple[str, str, str] = (
        "probability of the likeliest token",
        "how often it was the true one",
        "tokens",
    ),
) -> None:
    """Draw how often a model is right over how sure it is, to an image file.

    `bins` are (low, high, confidence, accuracy, tokens), `labels` those of the axes, and what is
    counted. The points would lie on the dashed line
    if the model were right as often as it says; the bars are the share of the tokens in each bin.
    """
    figure, axes = _figure(title)
    total = sum(tokens for *_, tokens in bins)
    axes.plot([0, 1], [0, 1], "--", color="0.4", linewidth=1.2, label="as sure as right")
    for low, high, _, _, tokens in bins:
        axes.bar(low, tokens / total, width=high - low, align="edge", color=FAINT)
    points = [(confidence, accuracy) for _, _, confidence, accuracy, _ in bins]
    axes.plot(*zip(*points, strict=True), "o-", color=TRAIN, label="the model")
    axes.bar(0, 0, color=FAINT, label=f"share of the {labels[2]}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend(frameon=False, loc="upper left")
    _save(figure, path)


def intervals_chart(
    rows: Sequence[tuple[str, float, tuple[float, float] | None]],
    path: Path,
    *,
    title: str,
    label: str,
) -> None:
    """Draw figures of several models with their intervals, the first on top, to an image file.

    `rows` are (name, value, interval or None).
    """
    figure, axes = _figure(title)
    for place, (_, value, interval) in enumerate(rows):
        if interval is not None:
            axes.plot(interval, (place, place), color=TRAIN, linewidth=2.0)
        axes.plot(value, place, "o", color=VALIDATION)
        axes.annotate(
            f"{value:.4f}", (value, place), textcoords="offset points", xytext=(0, 7), ha="center"
        )
    name_ticks(axes.yaxis, range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(label)
    _save(figure, path)


def confusion_chart(
    counts: Sequence[Sequence[int]], path: Path, *, classes: Sequence[str], title: str
) -> None:
    """Draw how many texts of a class (row) were taken for one (column), to an image file.

    The shade of a cell is the share of its row; numbers are written where there is room.
    """
    figure, axes = _figure(title)
    figure.set_size_inches(6, 6)
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    axes.imshow(shares, cmap="Greens", vmin=0.0, vmax=1.0)
    axes.grid(visible=False)
    if len(classes) <= 20:
        for row, line in enumerate(counts):
            for column, count in enumerate(line):
                color = "white" if shares[row][column] > 0.5 else "black"
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=color)
        for axis, angle in ((axes.xaxis, 45), (axes.yaxis, 0)):
            name_ticks(axis, range(len(classes)), classes, angle=angle)
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    _save(figure, path)


def margin_histogram(margins: Sequence[float], path: Path, *, title: str) -> None:
    """Draw by how much the preferred answers are scored above the others, to an image file.

    What lies left of zero was judged the other way round.
    """
    figure, axes = _figure(title)
    wrong = [margin for margin in margins if margin <= 0]
    right = [margin for margin in margins if margin > 0]
    edge = max((abs(margin) for margin in margins), default=1.0) or 1.0
    low, high = (-edge if wrong else 0.0), (edge if right else 0.0)
    for part, color, name in ((right, TRAIN, "right"), (wrong, VALIDATION, "wrong")):
        axes.hist(part, bins=40, range=(low, high), color=color, label=f"{name}: {len(part):,}")
    axes.axvline(0.0, color="0.4", linestyle="--", linewidth=1.2)
    axes.set_xlabel("score of the preferred answer above that of the other")
    axes.set_ylabel("pairs")
    axes.legend(frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """Write the image whole or not at all."""
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    figure.savefig(temporary, bbox_inches="tight")
    temporary.replace(path)


def _line(
    axes: Any, rows: Sequence[Mapping[str, Any]], name: str, *, color: str, label: str, width: float
) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=color, label=label, linewidth=width)


def _figure(title: str) -> tuple[Any, Any]:
    """A figure of its own, outside pyplot's global state, in the house's size."""
    # matplotlib takes half a second to import: only who draws pays for it
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=110)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    name_axes(axes, title=title)
    return figure, axes
