"""`cloche eval`: how well a model predicts a text, or translates pairs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.parse import parse
from cloche.cli.sampling import tell


@dataclass(frozen=True)
class Eval:
    """Measure how well a model predicts a text: the run's own validation part, all of it, or the
    texts given."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run, a checkpoint, or a Hugging Face model folder."""
    texts: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="TEXT...")] = ()
    """Texts to measure on; the run's validation part when none is given. Of a seq2seq model, files
    of pairs."""
    stride: int | None = None
    """Tokens from window to window; half the context when not given."""
    checkpoint: str = "best"
    """best, latest, or a step."""
    encoding: str | None = None
    """Encoding of the texts; detected when not given."""
    pair_columns: tuple[str, ...] = ()
    """Of a seq2seq model: the two columns with source and target; those it was trained on."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """float32 is exact; auto takes it on a CPU."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Measure and print."""
    command = parse(Eval, arguments, prog="cloche eval")
    from cloche.data.corpora import resolve
    from cloche.errors import SettingError
    from cloche.evaluation.measure import default_stride, measure_sources, measure_validation
    from cloche.evaluation.translation import is_translator
    from cloche.run import load
    from cloche.text.sources import find_sources

    if is_translator(command.run, checkpoint=command.checkpoint):
        return measure_translations(command)
    if command.pair_columns:
        raise SettingError(
            f"--pair-columns is for models that translate, and {command.run} continues text: "
            "leave it out"
        )
    lm = load(command.run, precision=command.precision, checkpoint=command.checkpoint, warn=tell)
    stride = default_stride(lm.config.context) if command.stride is None else command.stride
    if not 1 <= stride <= lm.config.context:
        raise SettingError(
            f"--stride must be from 1 to the model's context {lm.config.context}, got {stride}"
        )
    if command.texts:
        names = resolve(command.texts, data_folder=data_folder(), cache_folder=cache_folder())
        sources = find_sources(names)
        found = measure_sources(lm, sources, encoding=command.encoding, stride=stride)
    else:
        found = measure_validation(lm, Path(command.run), stride=stride)
    values = {
        "run": command.run,
        "checkpoint": str(lm.folder),
        "nats_per_token": found.nats_per_token,
        "perplexity": found.perplexity,
        "bits_per_byte": found.bits_per_byte,
        "nats_per_character": found.nats_per_character,
        "tokens": found.tokens,
        "unknown_tokens": found.unknown_tokens,
        "characters": found.characters,
        "utf8_bytes": found.utf8_bytes,
        "context": lm.config.context,
        "stride": stride,
    }
    if command.json:
        print(json.dumps(values, ensure_ascii=False))
        return 0
    what = ", ".join(command.texts) or "validation part"
    print(f"{what}: {found.characters:,} characters, {found.tokens:,} tokens")
    print(f"  nats a character  {found.nats_per_character:.4f}")
    print(f"  bits a byte       {found.bits_per_byte:.4f}")
    print(f"  nats a token      {found.nats_per_token:.4f}   perplexity {found.perplexity:.2f}")
    print(f"  windows of {lm.config.context} tokens, moved by {stride}; checkpoint {lm.folder}")
    if found.unknown_tokens:
        share = found.unknown_tokens / found.tokens
        print(
            f"  warning: {found.unknown_tokens:,} tokens ({share:.2%}) are of what the vocabulary "
            "lacks: bits a byte and nats a character are too good to be true"
        )
    return 0


def measure_translations(command: Eval) -> int:
    """Measure a model that translates, on its own held-out pairs or on files of others."""
    from cloche.data.corpora import resolve
    from cloche.errors import SettingError
    from cloche.evaluation.translation import load_translator, measure_files, measure_held_out
    from cloche.text.sources import find_sources

    if command.stride is not None:
        raise SettingError(
            f"--stride moves windows over running text, and {command.run} translates pairs: leave "
            "it out"
        )
    if len(command.pair_columns) not in (0, 2):
        raise SettingError("--pair-columns takes two names: of the source and of the target")
    translator = load_translator(
        command.run, precision=command.precision, checkpoint=command.checkpoint, warn=tell
    )
    if command.texts:
        names = resolve(command.texts, data_folder=data_folder(), cache_folder=cache_folder())
        found = measure_files(
            translator,
            find_sources(names),
            encoding=command.encoding,
            columns=command.pair_columns or columns_of(Path(command.run)),
        )
    else:
        found = measure_held_out(translator, Path(command.run))
    values = {
        "run": command.run,
        "checkpoint": str(translator.folder),
        "pairs": found.pairs,
        "exact": found.exact,
        "exact_pairs": found.exact_pairs,
        "nats_per_token": found.nats_per_token,
        "perplexity": found.perplexity,
        "tokens": found.tokens,
        "too_long": found.too_long,
    }
    if command.json:
        print(json.dumps(values, ensure_ascii=False))
        return 0
    what = ", ".join(command.texts) or "validation part"
    print(f"{what}: {found.pairs:,} pairs, {found.tokens:,} target tokens")
    print(f"  exactly right     {found.exact:.2%} ({found.exact_pairs:,} pairs, greedy search)")
    print(f"  nats a token      {found.nats_per_token:.4f}   perplexity {found.perplexity:.2f}")
    print(f"  checkpoint {translator.folder}")
    if found.too_long:
        print(
            f"  left out: {found.too_long:,} pairs longer than {translator.config.context} tokens"
        )
    return 0


def columns_of(run: Path) -> tuple[str, ...]:
    """The columns of pairs that a run was trained on; none where they were not named."""
    from cloche.training.folder import CONFIG, read_options

    stored = read_options(run) if (run / CONFIG).exists() else None
    return () if stored is None else stored.data.pair_columns
