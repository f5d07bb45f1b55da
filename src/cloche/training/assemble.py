"""Puts a training together from a choice, and back together from a checkpoint."""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from cloche.data.batches import Batch, fixed_starts, training_windows
from cloche.data.prepare import PreparedText
from cloche.errors import CheckpointError, RunError, TokenizerError
from cloche.evaluation.likelihood import evaluation_mode
from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest
from cloche.model.build import LanguageModel, Network, build_network
from cloche.model.initialise import initialise
from cloche.model.seq2seq import EncoderDecoder
from cloche.planning.flops import flops_per_token
from cloche.text.tokenizer import SpecialIds
from cloche.training.card import model_card
from cloche.training.choices import Choice
from cloche.training.distributed import FirstProcessError, World, share_of_step
from cloche.training.events import Sampled
from cloche.training.job import SaveCheckpoint, Training
from cloche.training.machine import dtype_of, require_compiler
from cloche.training.objectives import NextToken, scoring_of
from cloche.training.optim import Optimizers, build_optimizers
from cloche.training.options import TrainOptions
from cloche.training.precision import ComputeModel
from cloche.training.recomputing import recompute_blocks
from cloche.training.replicas import ReplicatedModel
from cloche.training.shards import is_sharded
from cloche.training.shared_evaluation import shared_mean_loss
from cloche.training.state import LoopState
from cloche.weights.checkpoint import TrainerState, load_network, load_trainer, save_checkpoint
from cloche.weights.durable import temporary_beside
from cloche.weights.history import (
    CHECKPOINTS,
    newer_checkpoints,
    newest_whole,
    point,
    prune,
    set_aside,
)


@dataclass(frozen=True)
class Parts:
    """What a checkpoint holds: weights in both precisions, and the optimizers."""

    compute: ComputeModel
    optimizers: Optimizers
    device: torch.device
    world: World = field(default_factory=World)
    """The processes that share the training."""


def build_parts(choice: Choice, world: World | None = None) -> Parts:
    """A new model with seeded weights, shared out over the processes, and its optimizers."""
    options = choice.options.train
    device = torch.device(options.device)
    world = world or World()
    masters = build_network(choice.config)
    initialise(masters, seed=options.seed)
    compute = _share_out(masters, choice, world)
    if options.checkpointing == "on":
        recompute_blocks(compute.model, dropout=choice.config.dropout)
    if options.compile == "on":
        require_compiler(device.type)
        # pairs come in batches of many lengths, windows of text in one
        compute.model.compile(dynamic=choice.config.family == "seq2seq")
    rate = options.learning_rate
    assert rate is not None, "choices completes the options"
    optimizers = build_optimizers(masters, options, learning_rate=rate)
    return Parts(compute, optimizers, device, world)


def _share_out(masters: Network, choice: Choice, world: World) -> ComputeModel:
    """The model as passes run on it: alone, whole in each process, or in shards."""
    options = choice.options.train
    dtype = dtype_of(options.precision)
    if world.size > 1 and options.parallel == "fsdp":
        # imported here: it takes most of a second, which a process alone need not wait for
        from cloche.training.sharding import ShardedModel

        return ShardedModel(masters, dtype=dtype, world=world)  # moved to the device in shards
    masters.to(torch.device(options.device))
    if world.size > 1:
        return ReplicatedModel(masters, dtype=dtype, world=world)
    return ComputeModel(masters, dtype=dtype)


def restore(
    run: Path, parts: Parts, prepared: PreparedText, *, warn: Callable[[str], None]
) -> LoopState | None:
    """Load the newest whole checkpoint into the parts; None where the run has none yet.

    A damaged checkpoint is told by `warn`, and the one before it is taken. Raises RunError where
    the checkpoint was trained on another text than the one prepared.
    """

    def find() -> str:
        found = newest_trainer(run, prepared, warn=warn)
        return "" if found is None else found[0].name

    name = parts.world.first_text(find)
    if not name:
        return None
    folder = run / CHECKPOINTS / name
    trainer = load_trainer(folder)
    model, _ = load_network(folder)
    try:
        parts.compute.load(model.state_dict())
        parts.compute.refresh()
        _restore_optimizers(parts, trainer)
        state = LoopState.from_values(trainer.values["loop"])
        if parts.world.first:  # a kill may have come between the checkpoint and its links
            link(run, folder, state)
        return state
    except (RuntimeError, ValueError, KeyError, TypeError) as exc:
        raise CheckpointError(f"{folder}/trainer does not fit this run: {exc}") from exc


def _restore_optimizers(parts: Parts, trainer: TrainerState) -> None:
    """Put the optimizers' state back, however many processes saved it and go on with it."""
    if trainer.shards is None:
        parts.optimizers.load_state_tensors(trainer.tensors)
        return
    from cloche.training.sharded_state import read_shards

    read_shards(trainer.shards, parts.optimizers, trainer.values["optimizer_numbers"])


def newest_trainer(
    run: Path, prepared: PreparedText, *, warn: Callable[[str], None]
) -> tuple[Path, TrainerState] | None:
    """The run's newest whole checkpoint and the training state in it; None where it has none.

    Raises RunError where it was trained on another text than the one prepared.
    """
    folder = newest_whole(run, warn=warn)
    if folder is None:
        return None
    for damaged in newer_checkpoints(run, folder):
        warn(f"{set_aside(damaged)} holds what was damaged; it is no longer counted.")
    trainer = load_trainer(folder)
    if trainer.values.get("sources") != list(prepared.train.metadata.sources):
        raise RunError(
            f"the text is not the one {folder} was trained on: put that text back, or begin "
            "another run with --out"
        )
    return folder, trainer


def link(run: Path, folder: Path, state: LoopState) -> None:
    """Lead `latest` to this checkpoint, and `best` too where the state says it is the best."""
    if state.best_step == state.step:
        point(run, "best", folder)
    point(run, "latest", folder)


def make_training(
    run: Path,
    parts: Parts,
    choice: Choice,
    prepared: PreparedText,
    *,
    before_save: Callable[[], None],
) -> Training:
    """The loop's training: batches, evaluation, samples and checkpoints of this run."""
    options, config = choice.options.train, choice.config
    batch = options.batch
    assert batch is not None, "choices completes the options"
    world = parts.world
    windows = training_windows(
        prepared.train, context=config.context, seed=options.seed, options=choice.options.data
    )

    def batches(step: int, number: int) -> Batch:
        begin, size = share_of_step(
            batch, world=world, accumulate=options.accumulate, number=number
        )
        return windows.batch(step * batch + begin, size=size)

    return Training(
        compute=parts.compute,
        objective=NextToken(scoring_of(options), config.balance),
        batches=batches,
        optimizers=parts.optimizers,
        options=options,
        evaluate=_evaluation(prepared, choice, world),
        write_sample=_sampling(parts, prepared, choice) if options.sample_tokens else None,
        save=saving(
            run,
            parts,
            choice,
            prepared,
            before_save=before_save,
            card=lambda state: model_card(choice, prepared, state),
        ),
        device=parts.device,
        world=world,
        flops_per_token=flops_per_token(config),
        peak_flops=choice.peak_flops,
    )


def _evaluation(
    prepared: PreparedText, choice: Choice, world: World
) -> Callable[[nn.Module], dict[str, float]]:
    """Both parts' losses on fixed windows, as many of one as of the other."""
    context, options = choice.config.context, choice.options.train
    batches, batch = options.eval_batches, options.batch
    assert batches is not None, "choices completes the options"
    assert batch is not None, "choices completes the options"
    validation, train = prepared.validation, prepared.train
    # counted in whole batches, whatever parts they are computed in
    count = batches * batch
    rows = -(-batch // (options.accumulate * world.data_size))
    starts = fixed_starts(validation, context=context, count=count)
    train_starts = fixed_starts(train, context=context, count=len(starts))
    tokens_per_byte = len(validation) / validation.metadata.utf8_bytes

    def evaluate(model: nn.Module) -> dict[str, float]:
        measured = partial(shared_mean_loss, model, context=context, rows=rows, world=world)
        loss = measured(validation, starts=starts)
        train_loss = measured(train, starts=train_starts)
        return {
            "eval/loss": loss,
            "eval/train_loss": train_loss,
            "eval/bits_per_byte": loss / math.log(2) * tokens_per_byte,
        }

    return evaluate


def _sampling(parts: Parts, prepared: PreparedText, choice: Choice) -> Callable[[int], Sampled]:
    """Writes with the masters after a step: the first process does."""
    options = choice.options.train

    def write(step: int) -> Sampled:
        masters = parts.compute.gathered()
        if masters is None:
            return Sampled(step, "", "")  # told to nobody
        assert not isinstance(masters, EncoderDecoder), "pairs have samples of their own"
        return sample(masters.to(parts.device), prepared, options=options, step=step)

    return write


def sample(
    model: LanguageModel, prepared: PreparedText, *, options: TrainOptions, step: int
) -> Sampled:
    """What the model writes from the beginning of a document, or on from a line of the
    validation part."""
    tokenizer, context = prepared.tokenizer, model.config.context
    bos = tokenizer.special_ids.bos
    prompt = (
        (bos,)
        if prepared.validation.separated and bos is not None
        else first_line(prepared, tokens=min(8, context))
    )
    request = GenerationRequest(
        prompt=prompt,
        max_tokens=options.sample_tokens,
        temperature=0.8,
        seed=options.seed + step,
    )
    with evaluation_mode(model):
        eos = learned_special_ids(prepared).eos
        engine = Engine(
            model,
            tokenizer,
            context=context,
            rows=1,
            # a token that nothing was learned of does not end a text
            stop_ids=() if eos is None else (eos,),
        )
        answer = engine.generate([request])[0][0]
    return Sampled(step, tokenizer.decode(prompt), answer.text)


def first_line(prepared: PreparedText, *, tokens: int) -> tuple[int, ...]:
    """The first tokens of the validation part's first whole line, or of the part itself."""
    found = [int(token) for token in prepared.validation.tokens[:500]]
    try:
        newline = prepared.tokenizer.encode_training("\n")[:1]  # words have none
    except TokenizerError:  # nor has a vocabulary of characters from a single line
        newline = []
    after = found.index(newline[0]) + 1 if newline and newline[0] in found else 0
    return tuple(found[after : after + tokens] or found[:tokens])


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

    def write(folder: Path, state: LoopState, model: Network, trainer: TrainerState) -> str:
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
        prune(run, keep=2)
        return folder.name

    def save(state: LoopState) -> Path:
        before_save()
        folder = run / CHECKPOINTS / f"step-{state.step:06}"
        model = parts.compute.gathered()
        trainer = _trainer_state(run, parts, prepared, state)
        try:
            parts.world.first_text(lambda: write(folder, state, _present(model), trainer))
        except FirstProcessError as exc:
            raise CheckpointError(str(exc)) from exc
        finally:
            if trainer.shards is not None and parts.world.first:
                shutil.rmtree(trainer.shards, ignore_errors=True)
        return folder

    return save


def _trainer_state(
    run: Path, parts: Parts, prepared: PreparedText, state: LoopState
) -> TrainerState:
    """What the training needs to go on; from many processes, where each holds a shard of it."""
    tensors = parts.optimizers.state_tensors()
    values = {"loop": state.to_values(), "sources": list(prepared.train.metadata.sources)}
    if not any(map(is_sharded, tensors.values())):
        return TrainerState(tensors, values)
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


def _present(model: Network | None) -> Network:
    assert model is not None, "gathered in the first process"
    return model


def learned_special_ids(prepared: PreparedText) -> SpecialIds:
    """The special tokens a model learns of: in a single text, none ever begins or ends one."""
    return prepared.tokenizer.special_ids if prepared.train.separated else SpecialIds()
