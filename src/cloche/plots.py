"""The one place that knows matplotlib: sizes, colours, fonts for Chinese, Japanese and Korean."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

TRAIN, VALIDATION, FAINT = "#2f6f4f", "#c2542d", "#b9cfc3"
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
)


def loss_curve(rows: Iterable[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draw training and validation loss, in nats a token over steps, to an image file.

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
    axes.set_ylabel("loss (nats a token)")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
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
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=110)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    cjk = next((name for name in CJK_FONTS if name in installed), None)
    needs_cjk = any(ord(character) > 0x2E7F for character in title)
    if needs_cjk and cjk is None:  # boxes would be worse than the name spelled out
        title = title.encode("unicode_escape").decode("ascii")
    axes.set_title(title, fontname=cjk if needs_cjk and cjk else None)
    return figure, axes
