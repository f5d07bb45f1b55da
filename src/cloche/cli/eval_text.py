"""`cloche eval` of one model on a text: figures with their errors, surprisal, calibration."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.sampling import tell
from cloche.data.corpora import resolve
from cloche.errors import SettingError
from cloche.evaluation.blocks import Estimate
from cloche.evaluation.measure import (
    Passage,
    default_stride,
    encode_passage,
    read_documents,
    validation_passages,
)
from cloche.evaluation.report import SHORTLIST, Report, report_sources, report_validation
from cloche.evaluation.surprisal import Surprisals, SurprisalSettings, write_json
from cloche.evaluation.surprisal_page import write_page
from cloche.plots.charts import reliability_diagram
from cloche.run import LM, load
from cloche.text.sources import SourceFile, find_sources

if TYPE_CHECKING:
    from cloche.cli.eval import Eval

ALTERNATIVES = 5
PAGE_TOKENS = 20_000
"""A browser scrolls a page of so many smoothly."""


def measure_text(command: "Eval") -> int:
    """Measure one model, print it, write and draw what was asked for."""
    lm = load(command.run, precision=command.precision, checkpoint=command.checkpoint, warn=tell)
    stride = stride_for(lm, command)
    sources = sources_of(command)
    if sources is None:
        found = report_validation(lm, Path(command.run), stride=stride, tell=tell)
    else:
        found = report_sources(lm, sources, encoding=command.encoding, stride=stride, tell=tell)
    what = ", ".join(command.texts) or "validation part"
    if command.plot is not None:
        _draw(found, Path(command.plot), title=f"{command.run} on {what}")
    if command.surprisal is not None:
        settings = SurprisalSettings(
            stride,
            ALTERNATIVES if command.alternatives is None else command.alternatives,
            _limit(command),
        )
        surprisals = Surprisals(lm, passages_of(lm, command, sources), settings)
        _write_surprisal(command, surprisals, lm, what=what, stride=stride)
    if command.json:
        about = {"run": command.run, "checkpoint": str(lm.folder)}
        windows = {"context": lm.config.context, "stride": stride}
        values = {**about, **found.to_values(), **windows}
        print(json.dumps(values, ensure_ascii=False))
        return 0
    _print(found, what=what)
    print(f"  windows of {lm.config.context} tokens, moved by {stride}; checkpoint {lm.folder}")
    warn_of_unknown(found)
    return 0


def stride_for(lm: LM, command: "Eval") -> int:
    """The stride that was asked for, else half the context. SettingError where it is too long."""
    context = lm.config.context
    if command.stride is None:
        return default_stride(context)
    if command.stride > context:
        raise SettingError(
            f"--stride must be from 1 to the model's context {context}, got {command.stride}"
        )
    return command.stride


def sources_of(command: "Eval") -> Sequence[SourceFile] | None:
    """The texts that were named; None where the validation part is meant."""
    if not command.texts:
        return None
    names = resolve(command.texts, data_folder=data_folder(), cache_folder=cache_folder())
    return find_sources(names)


def passages_of(lm: LM, command: "Eval", sources: Sequence[SourceFile] | None) -> Iterable[Passage]:
    """The documents of the named texts, or of the validation part, as tokens."""
    if sources is None:
        return validation_passages(lm, Path(command.run))
    documents = read_documents(sources, encoding=command.encoding)
    return (encode_passage(lm.tokenizer, document) for document in documents)


def plus_or_minus(found: Estimate, digits: int = 4) -> str:
    """A figure with its standard error."""
    error = "" if found.stderr is None else f" ± {found.stderr:.{digits}f}"
    return f"{found.value:.{digits}f}{error}"


def warn_of_unknown(found: Report) -> None:
    """Say where tokens stand for what the vocabulary lacks."""
    costs = found.likelihood
    if costs.unknown_tokens:
        share = costs.unknown_tokens / costs.tokens
        print(
            f"  warning: {costs.unknown_tokens:,} tokens ({share:.2%}) are of what the vocabulary "
            "lacks: bits a byte and nats a character are too good to be true"
        )


def _print(found: Report, *, what: str) -> None:
    costs = found.likelihood
    print(f"{what}: {costs.characters:,} characters, {costs.tokens:,} tokens")
    for name, figure in (
        ("nats a character", found.nats_per_character),
        ("bits a byte", found.bits_per_byte),
        ("nats a token", found.nats_per_token),
    ):
        print(f"  {name:<17} {plus_or_minus(figure)}{_between(figure.interval, digits=4)}")
    choices = _between(found.perplexity_interval, digits=2)
    print(f"  perplexity        {costs.perplexity:.2f}{choices}")
    first, among = found.accuracy.scaled(100), found.shortlist_accuracy.scaled(100)
    print(
        f"  next token right  {plus_or_minus(first, digits=2)} %, among the {SHORTLIST} likeliest "
        f"{plus_or_minus(among, digits=2)} %"
    )
    print(f"  calibration error {100 * found.calibration.expected_error:.2f}%")
    if found.nats_per_token.stderr is None:
        print("  no standard errors: the text is too short to have blocks that vary")
    else:
        print(
            f"  ± standard error and 95% interval, by {len(found.sums)} blocks of "
            f"{found.block_bytes:,} bytes of text"
        )


def _between(interval: tuple[float, float] | None, *, digits: int) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"   ({low:.{digits}f} to {high:.{digits}f})"


def _draw(found: Report, path: Path, *, title: str) -> None:
    bins = [
        (part.low, part.high, part.confidence, part.accuracy, part.tokens)
        for part in found.calibration.bins
    ]
    drawing_to(path, lambda: reliability_diagram(bins, path, title=title))


def drawing_to(path: Path, draw: Callable[[], None]) -> None:
    """Draw; SettingError where the file cannot be written."""
    try:
        draw()
    except OSError as exc:
        raise SettingError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    tell(f"drawn: {path}")


def _limit(command: "Eval") -> int | None:
    if command.surprisal_limit is not None:
        return command.surprisal_limit
    return PAGE_TOKENS if str(command.surprisal).lower().endswith(".html") else None


def _write_surprisal(
    command: "Eval", surprisals: Surprisals, lm: LM, *, what: str, stride: int
) -> None:
    path = Path(str(command.surprisal))
    if path.suffix.lower() == ".html":
        write_page(path, surprisals, title=f"{command.run} on {what}")
    else:
        heading = {
            "run": command.run,
            "checkpoint": str(lm.folder),
            "context": lm.config.context,
            "stride": stride,
        }
        write_json(path, surprisals, heading=heading)
    cut = "the first " if surprisals.limited else ""
    more = "; --surprisal-limit takes more" if surprisals.limited else ""
    tell(f"surprisal of {cut}{surprisals.tokens:,} tokens: {path}{more}")
