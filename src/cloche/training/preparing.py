"""The tokens of a run: made of its sources, or those it began with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from cloche.data.corpora import resolve
from cloche.data.plan import changed_sources, describe_sources, inspect_all, read_plan
from cloche.data.prepare import (
    PreparedText,
    is_prepared,
    open_prepared,
    open_workers,
    prepare_text,
)
from cloche.errors import RunError, SettingError, TextError, join_problems
from cloche.text.ingest import SourceReport
from cloche.text.sources import STANDARD_INPUT, FoundSources, find_with_skipped
from cloche.training.options import RunOptions
from cloche.training.pair_run import prepare_run_pairs

TOKENS = "tokens"


@dataclass(frozen=True)
class Places:
    """Folders outside the run; the command line reads them from the environment."""

    data: Path | None = None
    """Where built-in texts may lie already."""
    cache: Path = field(default_factory=lambda: Path.home() / ".cache" / "cloche")
    standard_input: Path | None = None
    """A file that holds what came in on standard input."""


@dataclass(frozen=True)
class Preparation:
    """What is needed to prepare the sources of a run."""

    run: Path
    options: RunOptions
    places: Places
    say: Callable[[str], None]
    warn: Callable[[str], None]

    def prepare(self, *, begun: bool) -> PreparedText:
        """The tokens of the sources; of a run that goes on, those it began with."""
        folder = self.run / TOKENS
        options = self.options
        if options.model.family == "seq2seq":
            return prepare_run_pairs(
                folder, options, self._find, begun=begun, say=self.say, warn=self.warn
            )
        if self.given_tokens():
            return self._open_given(folder, Path(options.sources[0]))
        begun = begun and is_prepared(folder)
        if folder.is_symlink() and not begun:
            folder.unlink()  # it leads to tokens that are not ours to make anew
        if begun and STANDARD_INPUT in options.sources:
            return open_prepared(folder)  # what came in then does not come in again
        try:
            found = self._find()
        except TextError as exc:
            if not begun:
                raise
            self.warn(f"{exc}. Going on with the tokens made earlier from it.")
            return open_prepared(folder)
        with open_workers(found.files) as workers:
            inspections = inspect_all(found.files, options.text, workers=workers)
            reports = [inspection.report for inspection in inspections]
            for line in describe_sources(reports, found.skipped):
                self.say(line)
            if begun:
                prepared = open_prepared(folder)
                self._refuse_other_text(prepared, reports)
                return prepared
            return prepare_text(
                folder,
                found.files,
                inspections,
                text=options.text,
                data=options.data,
                tell=self.say,
                workers=workers,
            )

    def _find(self) -> FoundSources:
        """The files that the sources name."""
        names = resolve(
            self.options.sources, data_folder=self.places.data, cache_folder=self.places.cache
        )
        return find_with_skipped(names, stdin_file=self.places.standard_input)

    def given_tokens(self) -> bool:
        """Whether the source is no text but tokens prepared before."""
        sources = self.options.sources
        return len(sources) == 1 and read_plan(Path(sources[0])) is not None

    def _open_given(self, link: Path, folder: Path) -> PreparedText:
        """Tokens that were prepared before; the run's own `tokens` leads to them."""
        chosen = [
            f"{name} is settled by the tokens in {folder}: leave it out, or train on the text"
            for name in options_of_preparation(self.options)
        ]
        if chosen:
            raise SettingError(join_problems(chosen))
        prepared = open_prepared(folder)
        if link.exists() and link.resolve() != folder.resolve() and not link.is_symlink():
            raise RunError(
                f"{self.run} holds tokens of its own: to train on those in {folder}, begin another "
                "run with --out"
            )
        for name in changed_sources(folder):
            self.warn(f"{name} has changed since {folder} was made: prepare it again to have it.")
        if not link.exists() or link.resolve() != folder.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(folder.resolve(), target_is_directory=True)
        self.say(
            f"Tokens: {len(prepared.train):,} to train on and {len(prepared.validation):,} to "
            f"validate on, from {folder}."
        )
        return prepared

    def _refuse_other_text(self, prepared: PreparedText, reports: Sequence[SourceReport]) -> None:
        made_of = [source["utf8_sha256"] for source in prepared.train.metadata.sources]
        if made_of != [report.utf8_sha256 for report in reports]:
            raise RunError(
                f"the text is not the one {self.run} began with: put that text back, or begin "
                "another run with --out"
            )


def options_of_preparation(options: RunOptions) -> list[str]:
    """Names of the options that were set and that only the preparation of a text heeds."""
    default = RunOptions()
    data = ("split", "split_by", "clean")
    names = [("text", field.name) for field in fields(options.text)] + [("data", n) for n in data]
    return [
        f"{section}.{name.replace('_', '-')}"
        for section, name in names
        if getattr(getattr(options, section), name) != getattr(getattr(default, section), name)
    ]
