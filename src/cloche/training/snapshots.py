"""A copy of the training's state at one moment, and the checkpoint that is written of it."""

import copy
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from cloche.data.prepare import PreparedText
from cloche.errors import CheckpointError
from cloche.model.build import Network
from cloche.planning.available import available_memory
from cloche.planning.fitting import ROOM_FOR_COPY
from cloche.text.tokenizer import SpecialIds
from cloche.training.choices import Choice
from cloche.training.distributed import World
from cloche.training.job import SaveCheckpoint
from cloche.training.launch import FirstProcessError
from cloche.training.parts import Parts
from cloche.training.shards import is_sharded
from cloche.training.state import LoopState
from cloche.weights.checkpoint import TrainerState, save_checkpoint
from cloche.weights.durable import temporary_beside
from cloche.weights.history import CHECKPOINTS, point, prune

MASTERS = "masters/"
"""Before the names of the true weights, where the model that is saved is their average."""


def saving(
    run: Path,
    parts: Parts,
    choice: Choice,
    prepared: PreparedText,
    *,
    before_save: Callable[[], None],
    card: Callable[[LoopState], str],
) -> SaveCheckpoint:
    """Writes checkpoints/step-..., moves `latest` and `best` to it, and removes what is old."""
    world = parts.world

    def write(folder: Path, state: LoopState, model: Network, trainer: TrainerState) -> None:
        save_checkpoint(
            folder,
            model=model,
            config=choice.config,
            tokenizer=prepared.tokenizer,
            trainer=trainer,
            card=card(state),
            special_ids=learned_special_ids(prepared),
        )
        link(run, folder, state)
        prune(run, keep=choice.options.train.keep)

    def save(state: LoopState) -> Callable[[], Path]:
        in_the_first(world, before_save)
        folder = run / CHECKPOINTS / f"step-{state.step:06}"
        taken = replace(state)
        trainer = _trainer_state(run, parts, prepared, taken)
        # alone, the training goes on while a copy is written; without room for one it waits
        copied = parts.average is not None or (world.size == 1 and _has_room_for_copy(parts))
        if copied:
            trainer = _frozen_trainer(trainer)
        with parts.average.in_place() if parts.average else nullcontext():
            model = parts.compute.gathered()
            if model is not None and copied:
                model = frozen(model)

        def write_agreed() -> Path:
            try:
                in_the_first(world, lambda: write(folder, taken, _present(model), trainer))
            finally:
                if trainer.shards is not None and world.first:
                    shutil.rmtree(trainer.shards, ignore_errors=True)
            return folder

        if copied or world.size > 1:
            return write_agreed
        written = write_agreed()
        return lambda: written

    return save


def in_the_first(world: World, work: Callable[[], None]) -> None:
    """Have the first process do it; CheckpointError in all where that fails there."""

    def done() -> str:
        work()
        return ""

    try:
        world.first_text(done)
    except FirstProcessError as exc:
        raise CheckpointError(str(exc)) from exc


def frozen(model: Network) -> Network:
    """A copy of the model in the machine's memory, which further steps do not change."""
    tensors = [*model.parameters(), *model.buffers()]
    # told beforehand of its copies, deepcopy makes none where the tensors lie
    copies: dict[int, object] = {
        id(tensor): _like(tensor, tensor.detach().to("cpu", copy=True)) for tensor in tensors
    }
    return copy.deepcopy(model, copies)


def apart(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The true weights among a training state's tensors, by their names, and all others."""
    masters = {
        name.removeprefix(MASTERS): tensor
        for name, tensor in tensors.items()
        if name.startswith(MASTERS)
    }
    others = {name: value for name, value in tensors.items() if not name.startswith(MASTERS)}
    return masters, others


def link(run: Path, folder: Path, state: LoopState) -> None:
    """Lead `latest` to this checkpoint, and `best` too where the state says it is the best."""
    if state.best_step == state.step:
        point(run, "best", folder)
    point(run, "latest", folder)


def learned_special_ids(prepared: PreparedText) -> SpecialIds:
    """The special tokens a model learns of: in a single text, none ever begins or ends one."""
    return prepared.tokenizer.special_ids if prepared.train.separated else SpecialIds()


def _trainer_state(
    run: Path, parts: Parts, prepared: PreparedText, state: LoopState
) -> TrainerState:
    """What the training needs to go on; from many processes, where each holds a shard of it."""
    tensors = parts.optimizers.state_tensors()
    values = {"loop": state.to_values(), "sources": list(prepared.train.metadata.sources)}
    if parts.average is not None:
        named = parts.compute.masters.named_parameters()
        tensors |= {MASTERS + name: weight.detach() for name, weight in named}
    if not any(map(is_sharded, tensors.values())):
        return TrainerState(tensors, values)
    # imported here: it takes most of a second, which a process alone need not wait for
    from cloche.training.sharded_state import split_numbers, write_shards

    sharded, numbers = split_numbers(tensors)
    place = parts.world.first_text(lambda: temporary_beside(run / CHECKPOINTS / "optimizer").name)
    folder = run / CHECKPOINTS / place
    try:
        write_shards(folder, sharded, world=parts.world)
    except CheckpointError:
        if parts.world.first:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return TrainerState(values={**values, "optimizer_numbers": numbers}, shards=folder)


def _has_room_for_copy(parts: Parts) -> bool:
    tensors = [*parts.compute.masters.parameters(), *parts.optimizers.state_tensors().values()]
    return available_memory() >= ROOM_FOR_COPY * sum(tensor.nbytes for tensor in tensors)


def _frozen_trainer(trainer: TrainerState) -> TrainerState:
    copies = {name: value.detach().to("cpu", copy=True) for name, value in trainer.tensors.items()}
    return replace(trainer, tensors=copies)


def _like(tensor: Tensor, copied: Tensor) -> Tensor:
    return nn.Parameter(copied) if isinstance(tensor, nn.Parameter) else copied


def _present(model: Network | None) -> Network:
    assert model is not None, "gathered in the first process"
    return model
