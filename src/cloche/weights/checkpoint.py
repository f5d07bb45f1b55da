"""A model as a folder on disk: whole or absent, and readable wherever Hugging Face models are.

A checkpoint is written to a temporary sibling, put on the disk, read back and only then renamed.
A process that dies leaves the earlier checkpoints as they were, and at most a leftover that
`history.sweep` removes.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cloche.errors import CheckpointError, WrongKindError
from cloche.model.build import LanguageModel, Network, build_network
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.model.seq2seq import EncoderDecoder
from cloche.text.files import TOKENIZER_FILE
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.weights.durable import move_into_place, put_on_disk, temporary_beside
from cloche.weights.folder import CONFIG, WEIGHTS, read_json, write_json
from cloche.weights.hf import from_hf_config, in_layout, layout_in, layout_of
from cloche.weights.history import list_steps
from cloche.weights.manifest import (
    CARD,
    MANIFEST,
    TRAINER,
    file_hash,
    verify_model,
    write_manifest,
)
from cloche.weights.prompting import BEGINS_KEY, make_begin_with, write_prompting
from cloche.weights.reading import (
    TellBroken,
    Weights,
    find_weights,
    read_into,
    require_enough_tensors,
)
from cloche.weights.tensors import read_tensors, write_tensors

TRAINER_TENSORS = f"{TRAINER}/state.safetensors"
TRAINER_VALUES = f"{TRAINER}/state.json"
TRAINER_SHARDS = f"{TRAINER}/optimizer"
"""Optimizer state that many processes wrote, each its own; stands for TRAINER_TENSORS."""
TOKENIZER_KEY = "cloche_tokenizer"
"""In config.json: the fingerprint of the tokenizer that the model was trained with."""
SCORES = "ForSequenceClassification"
"""How the classes of models end that score a text: `weights.scorers` opens those."""
WriteModel = Callable[[Path, SpecialIds, dict[str, Any]], None]
"""Writes the model's part of a folder: the special ids it has learned to use, and what its
config.json is to say beside the model."""


@dataclass(frozen=True)
class TrainerState:
    """What a training needs to go on, beside the model itself."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Optimizer state and the like under flat names; float32, float64, integers or booleans."""
    values: dict[str, Any] = field(default_factory=dict)
    """Everything that is no tensor; JSON values."""
    shards: Path | None = None
    """A folder of safetensors with what is not in `tensors`; saving moves it into place."""


def save_checkpoint(
    folder: Path,
    *,
    model: Network,
    config: ModelConfig,
    tokenizer: Tokenizer,
    trainer: TrainerState | None = None,
    card: str,
    special_ids: SpecialIds | None = None,
    stop_ids: Sequence[int] = (),
    begins_with_bos: bool = False,
    chat_template: str | None = None,
) -> None:
    """Write a whole checkpoint to `folder`, replacing what is there; equal states, equal bytes.

    The weights are stored in float32, integers as they are. `card` is the text of README.md.
    `special_ids` are those the model has learned to use; the tokenizer's when not given.
    `stop_ids` end an answer (eos alone when not given), `begins_with_bos` says whether prompts
    begin with bos, `chat_template` is Jinja. Raises CheckpointError where the disk refuses (full,
    read-only): then nothing has changed.
    """
    write_checkpoint(
        folder,
        partial(_write_model, model=model, config=config),
        tokenizer=tokenizer,
        trainer=trainer,
        card=card,
        special_ids=special_ids,
        stop_ids=stop_ids,
        begins_with_bos=begins_with_bos,
        chat_template=chat_template,
    )


def write_checkpoint(
    folder: Path,
    write_model: WriteModel,
    *,
    tokenizer: Tokenizer,
    trainer: TrainerState | None,
    card: str,
    special_ids: SpecialIds | None,
    stop_ids: Sequence[int],
    begins_with_bos: bool,
    chat_template: str | None,
) -> None:
    """As `save_checkpoint`, for a model that `write_model` writes: a description and weights."""
    temporary = temporary_beside(folder)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        learned = special_ids or tokenizer.special_ids
        own = write_tokenizer(
            temporary, tokenizer, begins_with=learned.bos if begins_with_bos else None
        )
        write_model(temporary, learned, own)
        write_prompting(
            temporary, special_ids=learned, stop_ids=stop_ids, chat_template=chat_template
        )
        if trainer is not None:
            write_trainer(temporary, trainer)
        (temporary / CARD).write_text(card, encoding="utf-8")
        write_manifest(temporary)
        put_on_disk(temporary, mode_of=temporary / CONFIG)
        move_into_place(temporary, folder)
    except OSError as exc:
        raise CheckpointError(_save_failure(folder, exc)) from exc
    finally:  # also after Ctrl-C; what cannot be removed now, `sweep` removes later
        shutil.rmtree(temporary, ignore_errors=True)


def load_model(
    folder: Path, *, dtype: torch.dtype = torch.float32, broken: TellBroken | None = None
) -> tuple[LanguageModel, ModelConfig]:
    """The model of a checkpoint, or of any Hugging Face folder of a known type, on the CPU.

    A manifest, where there is one, is verified first. Raises CheckpointError, also for a model
    that continues no text: see `load_network`. Weights that are NaN or infinite are opened where
    `broken` is given, which is told of them.
    """
    model, config = load_network(folder, dtype=dtype, broken=broken)
    return require_language_model(model, source=folder), config


def load_network(
    folder: Path, *, dtype: torch.dtype = torch.float32, broken: TellBroken | None = None
) -> tuple[Network, ModelConfig]:
    """The same for any model there is, an encoder-decoder too."""
    check_tokenizer(folder)
    if (folder / MANIFEST).exists():
        verify_model(folder)
    values = read_json(folder / CONFIG)
    return fill_network(values, find_weights(folder), dtype=dtype, broken=broken)


def fill_network(
    values: dict[str, Any],
    weights: Weights,
    *,
    dtype: torch.dtype = torch.float32,
    broken: TellBroken | None = None,
) -> tuple[Network, ModelConfig]:
    """The model that the contents of a config.json describe, with the weights of some files.

    Raises CheckpointError where it is none of ours, or where the weights are not its own.
    """
    if is_scorer(values):
        raise WrongKindError(
            f"{weights.source} holds a model that scores texts and writes none: a class or a "
            "reward is what it gives"
        )
    config = from_hf_config(values)
    require_enough_tensors(config, weights)
    with torch.device("meta"):  # no memory and no random numbers for weights replaced below
        model = build_network(config)
    read_into(model, config, layout_in(values).names, weights, dtype=dtype, broken=broken)
    if isinstance(model, Decoder | EncoderDecoder):
        model.tie_weights()
    return model, config


def is_scorer(values: dict[str, Any]) -> bool:
    """Whether the contents of a config.json describe a model that scores texts."""
    named = values.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    return isinstance(first, str) and first.endswith(SCORES)


def require_language_model(model: Network, *, source: Path) -> LanguageModel:
    """The model, if it continues a text; CheckpointError otherwise."""
    if isinstance(model, EncoderDecoder):
        raise CheckpointError(
            f"{source} holds a {model.config.family} model, which writes a target for a source "
            "and continues no text: use cloche generate or cloche eval"
        )
    return model


def check_tokenizer(folder: Path) -> None:
    """Raise CheckpointError, naming both, where the tokenizer is not the one the model knows.

    Folders that cloche has not written do not say which one that is.
    """
    expected = read_json(folder / CONFIG).get(TOKENIZER_KEY)
    path = folder / TOKENIZER_FILE
    if expected is None or not path.is_file():
        return
    found = file_hash(path)
    if found != expected:
        raise CheckpointError(
            f"{path} is damaged or another model's tokenizer: its SHA-256 is {found[:12]}, this "
            f"model was trained with {expected[:12]}. Put that one back"
        )


def load_trainer(folder: Path) -> TrainerState:
    """The training state of a checkpoint; CheckpointError where it has none."""
    if not (folder / TRAINER_VALUES).exists():
        raise CheckpointError(
            f"{folder} holds no training state: it can write, but not be trained on with --resume"
        )
    values = read_json(folder / TRAINER_VALUES)
    if (folder / TRAINER_SHARDS).is_dir():
        return TrainerState(values=values, shards=folder / TRAINER_SHARDS)
    tensors = read_tensors(folder / TRAINER_TENSORS)
    return TrainerState({name: tensor.clone() for name, tensor in tensors.items()}, values)


def write_tokenizer(
    folder: Path, tokenizer: Tokenizer, *, begins_with: int | None
) -> dict[str, Any]:
    """Save it; what config.json is to say of it, and of the token that prompts begin with."""
    tokenizer.save(folder)
    if begins_with is None:
        return {TOKENIZER_KEY: tokenizer.fingerprint}
    names = {number: name for name, number in tokenizer.special_tokens.items()}
    name = names.get(begins_with) or tokenizer.token_text(begins_with)
    make_begin_with(folder, bos=begins_with, name=name)
    return {TOKENIZER_KEY: file_hash(folder / TOKENIZER_FILE), BEGINS_KEY: True}


def _write_model(
    folder: Path,
    special_ids: SpecialIds,
    own: dict[str, Any],
    *,
    model: Network,
    config: ModelConfig,
) -> None:
    layout = layout_of(config, folder=folder)
    write_json(folder / CONFIG, in_layout(layout, config, special_ids, dtype="float32") | own)
    if from_hf_config(read_json(folder / CONFIG)) != config:
        raise CheckpointError(f"{folder / CONFIG} does not describe the model just written to it")
    write_tensors(folder / WEIGHTS, layout.names.to_stored(stored_tensors(model), config))


def stored_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors as a checkpoint holds them: what is learned in float32, on the CPU."""
    return {name: _as_stored(tensor.detach().cpu()) for name, tensor in model.state_dict().items()}


def _as_stored(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def write_trainer(folder: Path, trainer: TrainerState) -> None:
    """Write a training's state into a folder that is being written."""
    for name, tensor in trainer.tensors.items():
        if tensor.dtype in (torch.bfloat16, torch.float16):
            raise ValueError(f"{name} is {tensor.dtype}; a training state is kept in float32")
    (folder / TRAINER).mkdir()
    if trainer.shards is not None:
        trainer.shards.rename(folder / TRAINER_SHARDS)
    else:
        write_tensors(folder / TRAINER_TENSORS, trainer.tensors)
    write_json(folder / TRAINER_VALUES, trainer.values)


def _save_failure(folder: Path, exc: OSError) -> str:
    earlier = [path.name for path in list_steps(folder.parent) if path != folder]
    stays = (
        f"The earlier checkpoint {earlier[-1]} is untouched."
        if earlier
        else "There is no earlier checkpoint."
    )
    return f"could not save {folder}: {exc}. {stays} Make room or choose another disk."
