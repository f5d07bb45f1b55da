"""Puts a training together from a choice, and back together from a checkpoint."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

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
from cloche.training.average import WeightAverage
from cloche.training.card import model_card
from cloche.training.choices import Choice
from cloche.training.compiling import compile_blocks, require_compiler
from cloche.training.distributed import World, share_of_step
from cloche.training.events import Sampled
from cloche.training.job import Training
from cloche.training.machine import allow_short_products, dtype_of
from cloche.training.objectives import NextToken, scoring_of
from cloche.training.optim import build_optimizers
from cloche.training.options import TrainOptions
from cloche.training.parts import Parts
from cloche.training.precision import ComputeModel
from cloche.training.prefetch import Prefetched
from cloche.training.recomputing import recompute_blocks
from cloche.training.replicas import ReplicatedModel
from cloche.training.shared_evaluation import shared_mean_loss
from cloche.training.snapshots import MASTERS, apart, learned_special_ids, link, saving
from cloche.training.state import LoopState
from cloche.weights.checkpoint import TrainerState, load_network, load_trainer
from cloche.weights.history import (
    CHECKPOINTS,
    newer_checkpoints,
    newest_whole,
    set_aside,
)


def build_parts(choice: Choice, world: World | None = None) -> Parts:
    """A new model with seeded weights, shared out over the processes, and its optimizers."""
    options = choice.options.train
    device = torch.device(options.device)
    world = world or World()
    allow_short_products(device.type, options.precision)
    masters = build_network(choice.config)
    initialise(masters, seed=options.seed)
    compute = _share_out(masters, choice, world)
    if options.checkpointing == "on":
        recompute_blocks(compute.model, dropout=choice.config.dropout)
    if options.compile == "on":
        require_compiler(device.type)
        # pairs come in batches of many lengths, windows of text in one
        compile_blocks(compute.model, dynamic=choice.config.family == "seq2seq")
    rate = options.learning_rate
    assert rate is not None, "choices completes the options"
    optimizers = build_optimizers(masters, options, learning_rate=rate)
    average = WeightAverage(compute.masters, share=options.average) if options.average else None
    return Parts(compute, optimizers, device, world, average)


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
        masters, others = apart(_trainer_tensors(parts, trainer))
        if parts.average is not None:
            parts.average.load(masters)  # what is saved as the model is the average
        parts.compute.refresh()
        parts.optimizers.load_state_tensors(others)
        state = LoopState.from_values(trainer.values["loop"])
        if parts.world.first:  # a kill may have come between the checkpoint and its links
            link(run, folder, state)
        return state
    except (RuntimeError, ValueError, KeyError, TypeError) as exc:
        raise CheckpointError(f"{folder}/trainer does not fit this run: {exc}") from exc


def _trainer_tensors(parts: Parts, trainer: TrainerState) -> dict[str, Tensor]:
    """The training state's tensors, however many processes saved it and go on with it."""
    if trainer.shards is None:
        return trainer.tensors
    from cloche.training.sharded_state import read_shards

    masters = dict(parts.compute.masters.named_parameters())

    def parameter_of(name: str) -> Tensor:
        own = masters.get(name.removeprefix(MASTERS)) if name.startswith(MASTERS) else None
        return parts.optimizers.parameter_of(name) if own is None else own

    return read_shards(
        trainer.shards, trainer.values["optimizer_numbers"], parameter_of=parameter_of
    )


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
        batches=Prefetched(batches, parts=options.accumulate, device=parts.device),
        optimizers=parts.optimizers,
        options=options,
        average=parts.average,
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
