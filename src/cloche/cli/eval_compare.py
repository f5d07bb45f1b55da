"""`cloche eval --compare`: several models on one text, in one table."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cloche.cli.eval_text import (
    drawing_to,
    plus_or_minus,
    sources_of,
    stride_for,
)
from cloche.cli.sampling import tell
from cloche.cli.token_tables import print_columns
from cloche.data.batches import require_length
from cloche.data.prepare import open_prepared
from cloche.errors import CheckpointError, DataError, SettingError, TokenizerError, join_problems
from cloche.evaluation.comparison import Comparison, Difference, Measured
from cloche.evaluation.measure import (
    read_documents,
    same_validation,
    tokens_of,
    validation_documents,
)
from cloche.evaluation.report import report_documents
from cloche.model.build import parameter_count
from cloche.model.config import ModelOptions
from cloche.model.presets import MAX_NGRAMS, complete
from cloche.plots.charts import intervals_chart
from cloche.run import LM, load
from cloche.text.ingest import Document
from cloche.training.counted_model import count_model
from cloche.training.snapshots import learned_special_ids
from cloche.weights.folder import CONFIG, read_json
from cloche.weights.hf import from_hf_config
from cloche.weights.opening import folders_to_try

if TYPE_CHECKING:
    from cloche.cli.eval import Eval


def measure_several(command: "Eval") -> int:
    """Measure the models one after the other, print the table, draw what was asked for."""
    problems = find_problems(command)
    if problems:
        raise SettingError(join_problems(problems))
    sources = sources_of(command)
    if sources is None:
        _tell_of_other_cuts(command)

    def documents() -> Iterable[Document]:
        if sources is None:
            return validation_documents(Path(command.run))
        return read_documents(sources, encoding=command.encoding)

    rows = tuple(
        _measured(name, lm, documents(), stride=stride_for(lm, command))
        for name, lm in _models(command)
    )
    found = Comparison(rows)
    what = ", ".join(command.texts) or f"validation part of {command.run}"
    if command.plot is not None:
        path = Path(command.plot)
        figures = [(row.name, row.report.bits_per_byte) for row in rows]
        points = [(name, figure.value, figure.interval) for name, figure in figures]
        label = "bits a byte, with the 95% interval"
        drawing_to(path, lambda: intervals_chart(points, path, title=what, label=label))
    if command.json:
        print(json.dumps({"text": what, **found.to_values()}, ensure_ascii=False))
        return 0
    _print(found, what=what)
    return 0


def find_problems(command: "Eval") -> list[str]:
    """What would end the comparison after some models were measured already."""
    found = []
    for name in (command.run, *command.compare):
        try:
            folder = folders_to_try(Path(name), command.checkpoint, warn=lambda _: None)[0]
        except CheckpointError as exc:
            found.append(str(exc))
            continue
        try:
            config = from_hf_config(read_json(folder / CONFIG))
        except CheckpointError:  # opening it will tell, or take an older one
            continue
        if config.family == "seq2seq":
            found.append(f"{name} translates pairs and continues no text: leave it out")
        if command.stride is not None and command.stride > config.context:
            found.append(
                f"--stride must be from 1 to the context of {name}, {config.context}, got "
                f"{command.stride}"
            )
    if command.ngram:
        try:
            open_prepared(tokens_of(Path(command.run)))
        except DataError as exc:
            found.append(f"--ngram counts a run's training part: {exc}")
    return found


def count_ngrams_of(run: Path) -> LM:
    """n-grams counted on the training part of a run, with its tokenizer, nothing kept on disk."""
    prepared = open_prepared(tokens_of(run))
    require_length(prepared.train, context=1, part="training")
    config = complete(
        ModelOptions(family="ngram"),
        vocab_size=prepared.tokenizer.vocab_size,
        layers=1,
        width=1,
        context=1,
    )
    with tempfile.TemporaryDirectory(prefix="cloche-counting-") as folder:
        model = count_model(config, prepared.train, max_ngrams=MAX_NGRAMS, folder=Path(folder))
    bos = learned_special_ids(prepared).bos
    return LM(model.eval(), prepared.tokenizer, model.config, tokens_of(run), bos=bos)


def _models(command: "Eval") -> Iterator[tuple[str, LM]]:
    """The models by name, each opened when the one before is done with."""
    for name in (command.run, *command.compare):
        yield (
            name,
            load(name, precision=command.precision, checkpoint=command.checkpoint, warn=tell),
        )
    if command.ngram:
        lm = count_ngrams_of(Path(command.run))
        yield f"n-grams up to {lm.config.order} of {command.run}", lm


def _measured(name: str, lm: LM, documents: Iterable[Document], *, stride: int) -> Measured:
    try:
        report = report_documents(lm, documents, stride=stride)
    except TokenizerError as exc:
        raise TokenizerError(f"{name} cannot read the text: {exc}") from exc
    tell(f"measured: {name}")
    return Measured(
        name,
        checkpoint=str(lm.folder),
        parameters=parameter_count(lm.model),
        tokenizer=lm.tokenizer.fingerprint,
        context=lm.config.context,
        stride=stride,
        report=report,
    )


def _tell_of_other_cuts(command: "Eval") -> None:
    """Say which models may have learned from the text they are about to be measured on."""
    for name in command.compare:
        try:
            same = same_validation(Path(command.run), Path(name))
        except DataError:
            same = False
        if not same:
            tell(
                f"warning: nothing says that {name} never learned from the validation part of "
                f"{command.run}; a text that is new to both is a fairer test"
            )


def _print(found: Comparison, *, what: str) -> None:
    first = found.rows[0].report
    print(f"{what}: {first.likelihood.characters:,} characters")
    heading = ("model", "bits a byte", "95% interval", "nats a character", "nats a token")
    rows = [
        (
            row.name,
            plus_or_minus(row.report.bits_per_byte),
            _interval(row.report.bits_per_byte.interval),
            f"{row.report.likelihood.nats_per_character:.4f}",
            f"{row.report.likelihood.nats_per_token:.4f}",
            f"{row.report.accuracy.value:.2%}",
            f"{row.report.calibration.expected_error:.2%}",
        )
        for row in found.rows
    ]
    print_columns((*heading, "next token", "calibration error"), rows, right=range(1, 7))
    print(f"bits a byte more than {found.rows[0].name}, block by block:")
    lines = [_line_of(each) for each in found.to_first]
    print_columns(("model", "difference", "95% interval", ""), lines, right=(1, 2))
    print(
        f"  ± standard error, by {len(first.sums)} blocks of {first.block_bytes:,} bytes of text. "
        "Tokens differ with the tokenizer, bytes do not."
    )
    for row in found.rows:
        if row.report.likelihood.unknown_tokens:
            print(
                f"  warning: {row.report.likelihood.unknown_tokens:,} tokens of {row.name} are of "
                "what its vocabulary lacks: its figures are too good to be true"
            )


def _line_of(found: Difference) -> tuple[str, ...]:
    figure = found.bits_per_byte
    verdict = "within chance"
    if figure.interval is None:
        verdict = "too short a text to say"
    elif found.sure:
        verdict = "worse" if figure.value > 0 else "better"
    return found.name, plus_or_minus(figure), _interval(figure.interval), verdict


def _interval(found: tuple[float, float] | None) -> str:
    return "" if found is None else f"{found[0]:.4f} to {found[1]:.4f}"
