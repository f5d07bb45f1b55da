"""`cloche eval` of a model that translates: its held-out pairs, or files of others."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.sampling import tell
from cloche.data.corpora import resolve
from cloche.errors import SettingError, join_problems
from cloche.evaluation.translation import load_translator, measure_files, measure_held_out
from cloche.text.sources import find_sources
from cloche.training.folder import CONFIG, read_options

if TYPE_CHECKING:
    from cloche.cli.eval import Eval


def measure_translations(command: "Eval") -> int:
    """Measure a model that translates, on its own held-out pairs or on files of others."""
    problems = find_problems(command)
    if problems:
        raise SettingError(join_problems(problems))
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


def find_problems(command: "Eval") -> list[str]:
    """What was asked for that pairs have no use for."""
    found = []
    if command.stride is not None:
        found.append(
            f"--stride moves windows over running text, and {command.run} translates pairs: leave "
            "it out"
        )
    if len(command.pair_columns) not in (0, 2):
        found.append("--pair-columns takes two names: of the source and of the target")
    found += [
        f"{option} is for models that continue text, and {command.run} translates pairs: leave "
        "it out"
        for option, given in (
            ("--compare", command.compare),
            ("--ngram", command.ngram),
            ("--surprisal", command.surprisal),
            ("--plot", command.plot),
        )
        if given
    ]
    return found


def columns_of(run: Path) -> tuple[str, ...]:
    """The columns of pairs that a run was trained on; none where they were not named."""
    stored = read_options(run) if (run / CONFIG).exists() else None
    return () if stored is None else stored.data.pair_columns
