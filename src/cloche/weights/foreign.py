"""Whatever a person brings as a model, opened by the reader that it is for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloche.errors import CheckpointError, SettingError
from cloche.weights.folder import CONFIG
from cloche.weights.gguf_reading import import_gguf
from cloche.weights.history import CHECKPOINTS
from cloche.weights.imported import Imported
from cloche.weights.importing import import_folder
from cloche.weights.pickles import (
    PICKLED,
    holds_only_pickles,
    import_pickle,
    import_pickled_folder,
    import_state_dict,
)
from cloche.weights.tensors import PICKLES, refuse_pickle

GGUF = ".gguf"
SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class ForeignOptions:
    """What a foreign model does not say itself."""

    pickles_allowed: bool = False
    """Whether the user trusts the source, so that pickled weights may be read."""
    tokenizer: str | None = None
    """Of weights that come without their own: a name or a path."""
    heads: int | None = None
    """Of a lone state dict: its number of attention heads."""


def open_foreign(source: Path, options: ForeignOptions, *, tell: Callable[[str], None]) -> Imported:
    """The model in a Hugging Face folder, a GGUF file, or a file with a state dict of known kind.

    `tell` is told what had to be assumed. Raises CheckpointError for what is none of these and for
    what is broken, SettingError where an option does not go with the source.
    """
    if not source.exists():
        raise CheckpointError(
            f"{source} does not exist: give the path of a Hugging Face folder, a {GGUF} file or a "
            "PyTorch file"
        )
    if source.is_dir():
        _refuse(options.heads, "--heads", source, "whose config.json says how many heads it has")
        return _open_folder(source, options)
    if source.suffix.lower() == GGUF:
        _refuse(options.heads, "--heads", source, "which says how many heads it has")
        _refuse(options.tokenizer, "--tokenizer", source, "which brings its own")
        return import_gguf(source)
    if source.suffix.lower() == SAFETENSORS:
        return import_state_dict(
            source, source=source, tokenizer=options.tokenizer, heads=options.heads, tell=tell
        )
    if source.suffix.lower() not in PICKLES:
        kinds = ", ".join(sorted(PICKLES))
        raise CheckpointError(
            f"{source} is no model that cloche knows: give a Hugging Face folder, a {GGUF} file, a "
            f"state dict in a {SAFETENSORS} file, or a PyTorch file ({kinds})"
        )
    if not options.pickles_allowed:
        refuse_pickle(source)
    return import_pickle(source, tokenizer=options.tokenizer, heads=options.heads, tell=tell)


def _open_folder(folder: Path, options: ForeignOptions) -> Imported:
    if (folder / CHECKPOINTS).is_dir():
        raise CheckpointError(
            f"{folder} is a run of cloche already, and needs no import; one of its checkpoints can "
            f"be copied, as {folder / 'best'}"
        )
    files = sorted(folder.glob(f"*{GGUF}"))
    if files and not (folder / CONFIG).exists():
        names = ", ".join(path.name for path in files)
        raise CheckpointError(f"{folder} holds GGUF files: name one of them ({names:.300})")
    if not (folder / CONFIG).exists():
        raise CheckpointError(
            f"{folder / CONFIG} is missing, without which a folder is no Hugging Face model: give "
            "the folder that holds it, beside the weights and the tokenizer"
        )
    if not holds_only_pickles(folder):
        return import_folder(folder, tokenizer=options.tokenizer)
    if not options.pickles_allowed:
        refuse_pickle(folder / PICKLED)
    return import_pickled_folder(folder, tokenizer=options.tokenizer)


def _refuse(given: object, option: str, source: Path, reason: str) -> None:
    if given is not None:
        raise SettingError(f"{option} has no meaning for {source}, {reason}: leave it out")
