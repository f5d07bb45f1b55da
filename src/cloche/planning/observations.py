"""Runs as points of a law: losses at sizes and tokens seen, where they may stand side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cloche.errors import RunError
from cloche.model.config import ModelConfig
from cloche.planning.flops import parameter_count

LEAST_POINTS, LEAST_POINTS_OF_SIZES = 5, 7
"""For a law of one size, which has three numbers, and for one of several, which has five."""
LEAST_SIZES = 3
"""With two, no exponent is to be had."""
FIRST_SHARE = 0.1
"""Of a run, whose evaluations are left out: there the loss does not yet follow any law."""
MANY_PASSES = 4.0
"""Over the text; up to here repetitions are nearly as good as new text (see `laws`)."""
OF_NO_MATTER = frozenset(
    {
        *("sources", "minutes", "train.steps", "train.batch", "train.accumulate", "train.seed"),
        *("train.eval_every", "train.eval_first", "train.eval_batches", "train.save_every"),
        *("train.sample_tokens", "train.trackers", "train.device", "train.compile"),
        *("model.layers", "model.heads", "model.kv_heads", "model.width", "model.mlp_width"),
    }
)
"""Settings that a law speaks of, or that do not change what is learned."""

Which = Literal["auto", "last", "all"]


@dataclass(frozen=True)
class RunRecord:
    """What a run left, as far as a law needs it."""

    name: str
    config: ModelConfig
    batch: int
    """Sequences a step, all of a full context."""
    rows: Sequence[Mapping[str, Any]]
    """Of its metrics.jsonl."""
    text: str
    """What its validation loss was measured on: the same in runs that can be compared."""
    tokenizer: str
    train_tokens: int
    settings: Mapping[str, Any]
    """All its options, by dotted names."""


@dataclass(frozen=True)
class Point:
    """One loss."""

    run: str
    parameters: int
    tokens: float
    """Learned from until then, repetitions counted."""
    loss: float
    """Of the validation part, nats a token."""


@dataclass(frozen=True)
class Observations:
    """The points of some runs, and what has to be known of them."""

    points: tuple[Point, ...]
    which: Literal["last", "all"]
    """Whether they are the ends of runs, or all evaluations."""
    notes: tuple[str, ...]

    @property
    def sizes(self) -> list[int]:
        """Parameters of the models, ascending."""
        return sorted({point.parameters for point in self.points})


def observe(records: Sequence[RunRecord], *, which: Which = "auto") -> Observations:
    """The points of runs that can be compared.

    "last" takes one of each run, its last evaluation; "all" those of a run on the way, too, which
    lie too high, as the learning rate had not come down; "auto" takes the last where they are
    enough. Raises RunError where runs speak of different texts or tokens, or have too few points.
    """
    _require_comparable(records)
    notes = _differences(records)
    curves = []
    for record in records:
        curve, note = _curve(record)
        curves.append(curve)
        notes += note
    last = tuple(curve[-1] for curve in curves if curve)
    every = tuple(point for curve in curves for point in curve)
    chosen = last if which == "last" or (which == "auto" and not _lacking(last)) else every
    if problem := _lacking(chosen):
        raise RunError(problem)
    if chosen is every and which != "last":
        notes.append(
            "evaluations on the way are used: there the learning rate had not come down, so they "
            "lie above what a run of that length reaches; more runs of different lengths are better"
        )
    passes = max(
        point.tokens / record.train_tokens
        for record in records
        for point in chosen
        if point.run == record.name
    )
    if passes > MANY_PASSES:
        notes.append(
            f"the text was seen up to {passes:.1f} times: repeated text teaches less than new "
            "text, so the law holds for this text, and not for more of it"
        )
    return Observations(chosen, "last" if chosen is last else "all", tuple(notes))


def _require_comparable(records: Sequence[RunRecord]) -> None:
    """RunError where losses are not of the same tokens of the same text."""
    for record in records:
        if record.config.family in ("seq2seq", "ngram"):
            raise RunError(
                f"{record.name} is a {record.config.family} model: laws are fitted to runs that "
                "learn from running text"
            )
    for what, of in (("texts", "text"), ("tokenizers", "tokenizer")):
        groups: dict[str, list[str]] = {}
        for record in records:
            groups.setdefault(getattr(record, of), []).append(record.name)
        if len(groups) > 1:
            told = "; ".join(
                f"{of} {key[:12]}: {', '.join(names)}" for key, names in groups.items()
            )
            raise RunError(
                f"these runs have different {what}, and losses a token of different tokens cannot "
                f"be fitted together ({told}): fit each group by itself"
            )


def _curve(record: RunRecord) -> tuple[list[Point], list[str]]:
    """A run's evaluations, without its beginning and without what overfitting came to."""
    found = [row for row in record.rows if "eval/loss" in row and row["step"] > 0]
    if not found:
        return [], [f"{record.name} has no evaluation yet and is left out"]
    end = found[-1]["step"]
    best = min(found, key=lambda row: row["eval/loss"])
    notes = []
    if found[-1]["eval/loss"] > 1.005 * best["eval/loss"]:
        notes.append(
            f"{record.name} was best at step {best['step']:,} ({best['eval/loss']:.4f}) and ended "
            f"at {found[-1]['eval/loss']:.4f}: what follows its best is overfitting, of which no "
            "law of this form knows, and is left out"
        )
        found = [row for row in found if row["step"] <= best["step"]]
    late = [row for row in found if row["step"] >= FIRST_SHARE * end]
    step_tokens = record.batch * record.config.context
    parameters = parameter_count(record.config)
    points = [
        Point(record.name, parameters, float(row["step"] * step_tokens), float(row["eval/loss"]))
        for row in late
    ]
    return points, notes


def _lacking(points: Sequence[Point]) -> str | None:
    """What is missing for a fit; None where there is enough."""
    sizes = {point.parameters for point in points}
    lengths = {point.tokens for point in points}
    if 1 < len(sizes) < LEAST_SIZES:
        return (
            f"a law of sizes needs runs of at least {LEAST_SIZES} sizes, and these have "
            f"{len(sizes)}: add runs of another size, or fit those of one size by themselves"
        )
    least = LEAST_POINTS if len(sizes) <= 1 else LEAST_POINTS_OF_SIZES
    if len(points) < least:
        return (
            f"a law needs at least {least} evaluations, and there are {len(points)}: add runs, or "
            "evaluate more often with --train.eval-every"
        )
    if len(lengths) < 3:
        return (
            f"a law needs losses after at least 3 numbers of tokens, and these are of "
            f"{len(lengths)}: add runs of other lengths"
        )
    return None


def _differences(records: Sequence[RunRecord]) -> list[str]:
    """Settings besides size and length in which the runs differ, and which a law knows not of."""
    names = {name for record in records for name in record.settings} - OF_NO_MATTER
    found = []
    for name in sorted(names):
        values = {str(record.settings.get(name, "not given")) for record in records}
        if len(values) > 1:
            found.append(f"the runs differ in {name}, too: {', '.join(sorted(values))}")
    return found
