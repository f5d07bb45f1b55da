"""Opens the models of verbs that write."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cloche.cli.adapters import AdapterOptions
from cloche.cli.environment import cache_folder
from cloche.cli.sampling import tell
from cloche.errors import CheckpointError, SettingError

if TYPE_CHECKING:
    from cloche.generation.speculation import Guesser
    from cloche.run import LM

LOOKUP = "lookup"


@runtime_checkable
class NamesModel(Protocol):
    """The options that say which model it is."""

    @property
    def run(self) -> str:
        """A run, a checkpoint or a folder."""
        ...

    @property
    def checkpoint(self) -> str:
        """Which of a run's."""
        ...

    @property
    def precision(self) -> str:
        """How its weights are kept."""
        ...


def require_folder(source: str) -> None:
    """CheckpointError where nothing has that name; at once, before anything large is imported."""
    from cloche.text.sources import nearest_name

    if source and not Path(source).exists():
        near = nearest_name(Path(source))
        meant = f"; did you mean {near}?" if near else ""
        raise CheckpointError(f"{source} does not exist{meant}")


def open_writer(command: NamesModel) -> "LM":
    """The model, which writes by kernels out of the user's cache; with the adapter asked for."""
    adapters = command.named_adapters() if isinstance(command, AdapterOptions) else {}
    lm = _open(
        command.run, checkpoint=command.checkpoint, precision=command.precision, adapters=adapters
    )
    return command.chosen(lm) if isinstance(command, AdapterOptions) else lm


def make_guesser(
    named: str | None, lm: "LM", *, precision: str, rows: int, tokens: int
) -> "Guesser | None":
    """What --speculate names: `lookup`, or a smaller model of the same tokenizer."""
    from cloche.generation.speculation import DraftModel, PromptLookup

    if named is None:
        return None
    if named == LOOKUP and not Path(named).exists():
        return PromptLookup()
    draft = _open(named, checkpoint="best", precision=precision)
    if draft.tokenizer.fingerprint != lm.tokenizer.fingerprint:
        raise SettingError(
            f"--speculate {named}: it guesses in other tokens than {lm.folder} writes in. A model "
            "that guesses needs the same tokenizer; --speculate lookup guesses from the text"
        )
    capacity = min(tokens, draft.config.context)
    return DraftModel(draft.forward(rows=rows, capacity=capacity))


def _open(
    run: str, *, checkpoint: str, precision: str, adapters: Mapping[str, str] | None = None
) -> "LM":
    from cloche.run import load

    return load(
        run,
        checkpoint=checkpoint,
        precision=precision,
        warn=tell,
        tell=tell,
        kernels=cache_folder() / "kernels",
        adapters=adapters,
    )
