"""`cloche plan --fit`: a scaling law of one's own runs, with its intervals and its plot."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from cloche.cli.sampling import tell
from cloche.config import flatten, to_values
from cloche.data.prepare import open_prepared
from cloche.errors import CheckpointError, ClocheError, DataError, RunError, SettingError
from cloche.planning.observations import Observations, RunRecord, Which, observe
from cloche.planning.regression import FittedLaw, fit_law
from cloche.planning.wording import format_count
from cloche.plots.charts import law_curves
from cloche.run import read_metrics
from cloche.training.folder import CONFIG as RUN_CONFIG
from cloche.training.folder import read_options
from cloche.weights.folder import CONFIG, read_json
from cloche.weights.hf import from_hf_config
from cloche.weights.opening import folders_to_try

AHEAD = (2, 10)
"""How many times the tokens, or the operations, losses are predicted for."""
IMAGES = (".png", ".svg", ".pdf")
CURVE_POINTS = 60


def fit_runs(names: tuple[str, ...], *, which: Which, out: str | None, as_json: bool) -> int:
    """Fit, draw and print."""
    image = None if out is None else Path(out)
    if image is not None and image.suffix.lower() not in IMAGES:
        raise SettingError(f"--out takes an image file ({', '.join(IMAGES)}), got {image}")
    if len(set(names)) < len(names):
        raise SettingError("--fit names a run twice: each counts once")
    records, left_out = _read_all(names)
    observed = observe(records, which=which)
    observed = replace(observed, notes=(*left_out, *observed.notes))
    fitted = fit_law(observed.points)
    ahead = predictions(observed, fitted)
    if image is not None:
        draw(observed, fitted, image)
    if as_json:
        print(json.dumps(values_of(observed, fitted, ahead), ensure_ascii=False))
        return 0
    print("\n".join(describe_fit(observed, fitted, ahead)))
    if image is not None:
        print(f"plot: {image}")
    return 0


def _read_all(names: Sequence[str]) -> tuple[list[RunRecord], list[str]]:
    """What the runs left, and a sentence for each that has nothing to tell.

    Raises the first one's error where none has.
    """
    records: list[RunRecord] = []
    problems: list[ClocheError] = []
    for name in names:
        try:
            records.append(read_record(name))
        except (RunError, CheckpointError, DataError) as exc:
            problems.append(exc)
    if not records and problems:
        raise problems[0]
    return records, [f"left out: {problem}" for problem in problems]


def read_record(name: str) -> RunRecord:
    """What the run in a folder left. Raises RunError, CheckpointError or DataError."""
    run = Path(name)
    if not (run / RUN_CONFIG).exists():
        raise RunError(f"{run} is no run that cloche trained: it has no {RUN_CONFIG}")
    rows = read_metrics(run)
    options = read_options(run)
    if options is None or options.train.batch is None:
        raise RunError(f"{run / RUN_CONFIG} does not say what batch was trained with")
    config = from_hf_config(read_json(folders_to_try(run, "latest", warn=tell)[0] / CONFIG))
    prepared = open_prepared(run / "tokens")
    validation = prepared.validation.metadata
    settings = flatten(to_values(options))
    return RunRecord(
        name=name,
        config=config,
        batch=options.train.batch,
        rows=rows,
        text=_fingerprint([validation.sources, validation.characters, validation.utf8_bytes]),
        tokenizer=validation.tokenizer,
        train_tokens=len(prepared.train),
        settings=settings,
    )


def _fingerprint(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def predictions(observed: Observations, fitted: FittedLaw) -> list[dict[str, float]]:
    """Losses at more tokens for the largest model, and at more operations shared as is best."""
    size = observed.sizes[-1]
    seen = max(point.tokens for point in observed.points if point.parameters == size)
    wanted = [(float(times), float(size), times * seen, "tokens") for times in AHEAD]
    if fitted.law.has_sizes:
        for times in AHEAD:
            use = fitted.law.best_use(6.0 * size * seen * times)
            wanted.append((float(times), use.parameters, use.tokens, "operations"))
    found = []
    for times, parameters, tokens, of in wanted:
        low, high = fitted.loss_interval(parameters, tokens)
        found.append(
            {
                "times": times,
                "of": of,
                "parameters": parameters,
                "tokens": tokens,
                "loss": fitted.law.loss(parameters, tokens),
                "low": low,
                "high": high,
            }
        )
    return found


def describe_fit(
    observed: Observations, fitted: FittedLaw, ahead: list[dict[str, Any]]
) -> list[str]:
    """The law in lines for the screen."""
    law = fitted.law
    size = f" + {law.parameter_term:.4g} / N^{law.parameter_exponent:.3f}" if law.has_sizes else ""
    kind = "last evaluations" if observed.which == "last" else "evaluations"
    runs = len({point.run for point in observed.points})
    sizes = len(observed.sizes)
    lines = [
        f"Law of {len(observed.points)} {kind} of {runs} run{'s' * (runs > 1)}, {sizes} "
        f"size{'s' * (sizes > 1)}, in nats a token of the validation part",
        f"  L = {law.floor:.4f}{size} + {law.token_term:.4g} / D^{law.token_exponent:.3f}",
        "  N: all parameters; D: tokens learned from, repetitions counted",
    ]
    names = ["floor", "token_exponent", *(["parameter_exponent"] if law.has_sizes else [])]
    for name in names:
        low, high = fitted.interval(name)
        label = name.replace("_", " ")
        lines.append(f"  {label:<20} {getattr(law, name):.4f}   90%: {low:.4f} to {high:.4f}")
    lines += [
        f"  the points lie {fitted.spread:.2%} from it (root mean square); it explains "
        f"{fitted.explained:.1%} of how they differ",
        f"  intervals: {len(fitted.resampled)} fits to points drawn again with replacement "
        f"({fitted.drawn})",
        "Predicted",
    ]
    for each in ahead:
        what = (
            f"{each['times']:g} times the {each['of']}: {format_count(each['parameters'])} "
            f"parameters, {format_count(each['tokens'])} tokens"
        )
        lines.append(
            f"  {each['loss']:.4f}   90%: {each['low']:.4f} to {each['high']:.4f}   {what}"
        )
    return lines + [f"Note: {note}." for note in (*observed.notes, *fitted.notes)]


def values_of(
    observed: Observations, fitted: FittedLaw, ahead: list[dict[str, Any]]
) -> dict[str, Any]:
    """The law as one JSON object."""
    names = [name for name, value in asdict(fitted.law).items() if value]
    return {
        "law": asdict(fitted.law),
        "intervals": {name: fitted.interval(name) for name in names},
        "interval": "middle 90% of fits to points drawn again with replacement",
        "drawn": fitted.drawn,
        "spread": fitted.spread,
        "explained": fitted.explained,
        "points": [asdict(point) for point in observed.points],
        "which": observed.which,
        "predictions": ahead,
        "notes": [*observed.notes, *fitted.notes],
    }


def draw(observed: Observations, fitted: FittedLaw, image: Path) -> None:
    """The plot of the law over the points, up to ten times the tokens."""
    least = min(point.tokens for point in observed.points)
    most = AHEAD[-1] * max(point.tokens for point in observed.points)
    grid = [float(tokens) for tokens in np.geomspace(least, most, CURVE_POINTS)]
    curves = {}
    for size in observed.sizes:
        seen = [(p.tokens, p.loss) for p in observed.points if p.parameters == size]
        line = [(tokens, fitted.law.loss(size, tokens)) for tokens in grid]
        curves[f"{format_count(size)} parameters"] = (seen, line)
    largest = observed.sizes[-1]
    band = [(tokens, *fitted.loss_interval(largest, tokens)) for tokens in grid]
    law = fitted.law
    title = f"L = {law.floor:.3f} + {law.token_term:.3g} / D^{law.token_exponent:.3f}"
    if law.has_sizes:
        title += f" + {law.parameter_term:.3g} / N^{law.parameter_exponent:.3f}"
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        law_curves(curves, image, title=title, band=band)
    except OSError as exc:
        raise SettingError(f"{image} cannot be written: {exc.strerror or exc}") from exc
