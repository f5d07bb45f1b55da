"""What a plan is about: a text, a model that there is, a recipe; with its tokens counted."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.train import recipe_file
from cloche.config import differences
from cloche.data.corpora import CORPORA, resolve
from cloche.data.plan import inspect_all, read_plan
from cloche.data.prepare import PreparedText, open_prepared, open_workers, prepare_text
from cloche.errors import DataError, SettingError
from cloche.model.config import ModelConfig
from cloche.planning.estimate import TextSize
from cloche.text.kinds import MADE
from cloche.text.names import open_tokenizer
from cloche.text.sources import STANDARD_INPUT, find_with_skipped
from cloche.training.folder import CONFIG as RUN_CONFIG
from cloche.training.folder import read_options
from cloche.training.options import RunOptions
from cloche.weights.folder import CONFIG, read_json
from cloche.weights.hf import from_hf_config
from cloche.weights.opening import folders_to_try

ASSUMED_VOCAB, ASSUMED_CHARACTERS = 32_768, 100
TOKENS = "tokens"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """What is planned, as far as it is given."""

    options: RunOptions
    vocab_size: int
    config: ModelConfig | None = None
    """Of a model that there is; else the options and the budget make one."""
    text: TextSize | None = None
    validation_tokens: int | None = None
    vocab_is_free: bool = False
    """Whether the vocabulary is that of a trained BPE, and could be smaller."""
    notes: tuple[str, ...] = ()


def names_recipe(name: str) -> bool:
    """Whether a name given where a text is means a recipe: no path, and no text's name."""
    if Path(name).exists():
        return Path(name).suffix == ".toml" and Path(name).is_file()
    if name in {corpus.name for corpus in CORPORA}:
        return False
    try:
        recipe_file(name)
    except SettingError:
        return False
    return True


def open_subject(given: RunOptions, *, tell: Tell) -> Subject:
    """The subject that the sources name; its text is tokenized in a folder that is then gone."""
    names = given.sources
    if not names:
        return _without_text(given)
    if len(names) == 1 and _is_model(Path(names[0])):
        return _of_model(Path(names[0]), given, tell)
    if given.model.family == "seq2seq":
        raise SettingError(
            "plan counts running text, not pairs: leave the file out, and give the vocabulary with "
            "--text.vocab-size"
        )
    if len(names) == 1 and read_plan(Path(names[0])) is not None:
        return _of_prepared(names[0], open_prepared(Path(names[0])), given)
    if STANDARD_INPUT in names:
        raise SettingError("plan reads no standard input: give it a file")
    found = find_with_skipped(
        resolve(names, data_folder=data_folder(), cache_folder=cache_folder())
    )
    with (
        tempfile.TemporaryDirectory(prefix="cloche-plan-") as folder,
        open_workers(found.files) as workers,
    ):
        inspections = inspect_all(found.files, given.text, workers=workers)
        prepared = prepare_text(
            Path(folder) / TOKENS,
            found.files,
            inspections,
            text=given.text,
            data=given.data,
            tell=tell,
            workers=workers,
        )
        return _of_prepared(", ".join(names), prepared, given)


def _is_model(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in (CONFIG, RUN_CONFIG))


def _without_text(given: RunOptions) -> Subject:
    """Options alone: the vocabulary is the named tokenizer's, the one given, or assumed."""
    text = given.text
    if text.tokenizer not in ("auto", *MADE):
        return Subject(given, open_tokenizer(text.tokenizer).vocab_size)
    if text.vocab_size is not None:
        return Subject(given, text.vocab_size, vocab_is_free=True)
    assumed = ASSUMED_CHARACTERS if text.tokenizer == "characters" else ASSUMED_VOCAB
    note = (
        f"No text is given: a vocabulary of {assumed:,} is assumed; --text.vocab-size gives "
        "another, a text its own."
    )
    return Subject(given, assumed, vocab_is_free=text.tokenizer != "characters", notes=(note,))


def _of_prepared(name: str, prepared: PreparedText, given: RunOptions) -> Subject:
    return Subject(
        given,
        prepared.tokenizer.vocab_size,
        text=_text_size(name, prepared),
        validation_tokens=len(prepared.validation),
        vocab_is_free=prepared.choice.kind == "bpe",
    )


def _text_size(name: str, prepared: PreparedText) -> TextSize:
    train, validation = prepared.train, prepared.validation
    return TextSize(
        name=name,
        tokens=len(train) + len(validation),
        train_tokens=len(train),
        characters=train.metadata.characters + validation.metadata.characters,
        tokenizer=f"{prepared.choice.name or prepared.choice.kind}, vocabulary "
        f"{prepared.tokenizer.vocab_size:,}",
    )


def _of_model(folder: Path, given: RunOptions, tell: Tell) -> Subject:
    """A model as it is, with the options its run began with, and the run's own text."""
    config = from_hf_config(read_json(folders_to_try(folder, "best", warn=tell)[0] / CONFIG))
    if config.family == "ngram":
        raise SettingError(f"{folder} holds an ngram model, which is counted: nothing to plan")
    asked = replace(RunOptions(), model=given.model, text=given.text, data=given.data)
    settled = [line.partition(":")[0] for line in differences(RunOptions(), asked)]
    if settled:
        raise SettingError(
            f"the model and the text are those of {folder}; leave out: "
            + ", ".join(name.replace("_", "-") for name in settled)
        )
    stored = read_options(folder) if (folder / RUN_CONFIG).exists() else None
    options = given if stored is None else _over(stored, given)
    try:
        prepared = open_prepared(folder / TOKENS)
    except DataError:  # an imported model, or one whose tokens were taken away: no text to speak of
        return Subject(options, config.vocab_size, config=config)
    return replace(_of_prepared(str(folder), prepared, options), config=config)


def _over(stored: RunOptions, given: RunOptions) -> RunOptions:
    """The options a run began with, and over them what is asked of its training and its length."""
    default = RunOptions()
    changes = {
        field.name: value
        for field in fields(given.train)
        if (value := getattr(given.train, field.name)) != getattr(default.train, field.name)
    }
    train, minutes = replace(stored.train, **changes), stored.minutes
    if given.minutes is not None:
        train, minutes = replace(train, steps=None), given.minutes
    elif given.train.steps is not None:
        minutes = None
    return replace(stored, train=train, minutes=minutes)
