"""A training on pairs: its own tokens, choices, batches and evaluation for the one loop.

Everything else, the optimizers, events, checkpoints and resuming, is that of any training.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from cloche.data.order import mix
from cloche.data.pair_batches import (
    PairBatch,
    PairOrder,
    PairTokens,
    evenly_spread,
    require_pairs,
)
from cloche.data.pair_tokens import (
    PreparedPairs,
    are_prepared,
    beginning_and_end,
    open_pairs,
    prepare_pairs,
)
from cloche.data.pairs import describe_pairs, inspect_pairs
from cloche.data.plan import read_plan
from cloche.errors import RunError, SettingError, TextError
from cloche.evaluation.likelihood import evaluation_mode
from cloche.evaluation.translation import count_exact, summed_nats
from cloche.generation.beam import Search, find_targets
from cloche.model.build import build_network
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.seq2seq import EncoderDecoder
from cloche.planning.budget import (
    LADDER,
    SMALLEST_BATCH_TOKENS,
    Budget,
    choose_batch,
    choose_dropout,
    choose_size,
    tokens_within,
)
from cloche.planning.flops import flops_per_token, parameter_count
from cloche.text.sources import STANDARD_INPUT, FoundSources
from cloche.training.card import card_with
from cloche.training.choices import (
    NOMINAL_FLOPS,
    OVERHEAD,
    Choice,
    chosen_batch,
    make_choice,
    with_room,
)
from cloche.training.distributed import share_of_step
from cloche.training.events import Sampled
from cloche.training.job import Training
from cloche.training.machine import Machine
from cloche.training.objectives import scoring_of
from cloche.training.options import RunOptions
from cloche.training.pair_objective import TargetTokens
from cloche.training.parts import Parts
from cloche.training.prefetch import Prefetched
from cloche.training.shared_evaluation import measured_by_first
from cloche.training.sizing import fitting_models
from cloche.training.snapshots import saving
from cloche.training.state import LoopState
from cloche.training.timing import measure_step

MOST_CONTEXT = 512
"""The longest context that is chosen without being asked for: a longer pair is told of first."""
EXACT_PAIRS = 128
"""Held-out pairs that are translated at each evaluation."""

Say = Callable[[str], None]


def prepare_run_pairs(
    folder: Path,
    options: RunOptions,
    find: Callable[[], FoundSources],
    *,
    begun: bool,
    say: Say,
    warn: Say,
) -> PreparedPairs:
    """The tokens of the pairs in the sources; of a run that goes on, those it began with.

    `find` gives the files that the options' sources mean.
    """
    begun = begun and are_prepared(folder)
    if begun and STANDARD_INPUT in options.sources:
        return open_pairs(folder)  # what came in then does not come in again
    if read_plan(Path(options.sources[0])) is not None:
        raise SettingError(
            f"{options.sources[0]} holds the tokens of running text, and model.family seq2seq "
            "learns from pairs: name a .tsv, .csv, .jsonl or .json with a source and a target"
        )
    try:
        sources = find().files
    except TextError as exc:
        if not begun:
            raise
        warn(f"{exc}. Going on with the tokens made earlier from it.")
        return open_pairs(folder)
    reports = inspect_pairs(
        sources,
        encoding=options.text.encoding,
        columns=options.data.pair_columns,
        skip_bad=options.text.skip_bad,
    )
    for line in describe_pairs(reports):
        say(line)
    if not begun:
        if folder.is_symlink():
            folder.unlink()  # it leads to tokens that are not ours to make anew
        return prepare_pairs(
            folder, sources, reports, text=options.text, data=options.data, tell=say
        )
    prepared = open_pairs(folder)
    made_of = [source["utf8_sha256"] for source in prepared.train.metadata.sources]
    if made_of != [report.utf8_sha256 for report in reports]:
        raise RunError(
            f"the pairs are not those {folder.parent} began with: put those back, or begin another "
            "run with --out"
        )
    return prepared


def complete_pair_options(
    options: RunOptions, prepared: PreparedPairs, *, machine: Machine, seconds: float
) -> Choice:
    """Fill in the model, the batch and the pace for these pairs, this machine and the time.

    Raises DataError where pairs do not fit the context, unless they may be skipped.
    """
    timed = options.train.steps is None
    context = options.model.context or _choose_context(prepared)
    pairs = usable_pairs(prepared, context=context, options=options)
    typical = max(1, round(float(pairs["train"].lengths.mean())))
    budget = Budget(
        seconds=seconds,
        flops_per_second=machine.flops_per_second if timed else NOMINAL_FLOPS,
        train_tokens=int(pairs["train"].lengths.sum()),
        validation_tokens=int(pairs["validation"].lengths.sum()),
    )
    vocab_size = prepared.tokenizer.vocab_size
    config = choose_pair_model(options.model, budget, vocab_size=vocab_size, context=typical)
    tokens = tokens_within(budget, config)
    if options.train.steps is not None:
        tokens = min(tokens, float(options.train.steps * SMALLEST_BATCH_TOKENS))
    usual = min(choose_batch(config, steps_tokens=tokens), max(4, len(pairs["train"]) // 8))
    batch = chosen_batch(usual, options.train)
    config = replace(config, context=context)
    longest = replace(config, context=int(pairs["train"].lengths.max()))
    options = with_room(options, longest, batch=batch, machine=machine)
    step_seconds = None
    if options.train.steps is None:
        step_seconds = _measure(config, pairs["train"], batch, machine=machine, options=options)
        steps = max(1, int(seconds / (OVERHEAD * step_seconds)))
    else:
        steps = options.train.steps
    if options.model.dropout is None:
        epochs = steps * batch / len(pairs["train"])
        config = replace(config, dropout=choose_dropout(epochs))
    return make_choice(
        options, config, machine=machine, batch=batch, steps=steps, step_seconds=step_seconds
    )


def describe_pair_choice(choice: Choice, prepared: PreparedPairs) -> list[str]:
    """What was chosen, in sentences for the screen."""
    config, options = choice.config, choice.options.train
    assert options.batch is not None, "complete_pair_options fills it in"
    pairs = usable_pairs(prepared, context=config.context, options=choice.options)
    count = len(pairs["train"])
    skipped = sum(part.too_long for part in pairs.values())
    until = f"{choice.options.minutes:g} minutes, about " if choice.options.minutes else ""
    lines = [
        f"Pairs: {count:,} to train on and {len(pairs['validation']):,} to validate on, of up to "
        f"{config.context} tokens on each side.",
        f"Model: {config.family}, {config.encoder_layers} layers read and {config.layers} write, "
        f"width {config.width}, {config.heads} heads, {parameter_count(config):,} parameters.",
        f"Plan: {until}{choice.steps:,} steps of {options.batch} pairs "
        f"({choice.steps * options.batch / count:.1f} passes over the training part), "
        f"{options.optimizer} at {options.learning_rate:g}, dropout {config.dropout:g}.",
    ]
    return [f"Left out: {skipped:,} pairs that are longer.", *lines] if skipped else lines


def usable_pairs(
    prepared: PreparedPairs, *, context: int, options: RunOptions
) -> dict[str, PairTokens]:
    """The pairs of both parts that fit the context; DataError for others, unless to be skipped."""
    bos, _ = beginning_and_end(prepared.tokenizer)
    parts = {"train": prepared.train, "validation": prepared.validation}
    skip_long = options.data.long_pairs == "skip"
    found = {}
    for name, shard in parts.items():
        pairs = found[name] = PairTokens(shard, context=context, bos=bos)
        require_pairs(pairs, context=context, part=name, skip_long=skip_long)
    return found


def choose_pair_model(
    options: ModelOptions, budget: Budget, *, vocab_size: int, context: int
) -> ModelConfig:
    """The model for the budget: the widths of other families, the layers shared by both sides."""
    rungs = list(LADDER)
    if options.width is not None:
        rungs = [min(LADDER, key=lambda rung: abs(rung[1] - (options.width or 0)))]
    shared = [((layers + 1) // 2, width) for layers, width in rungs]
    candidates = fitting_models(
        replace(options, context=None), shared, vocab_size=vocab_size, context=context
    )
    return choose_size(budget, candidates)


def make_pair_training(
    run: Path,
    parts: Parts,
    choice: Choice,
    prepared: PreparedPairs,
    *,
    before_save: Callable[[], None],
) -> Training:
    """The loop's training: batches, evaluation, samples and checkpoints of this run."""
    options, config = choice.options.train, choice.config
    assert options.batch is not None, "complete_pair_options fills it in"
    batch, world = options.batch, parts.world
    pairs = usable_pairs(prepared, context=config.context, options=choice.options)
    order = PairOrder(pairs["train"], batch=options.batch, seed=options.seed)
    typical = max(1, round(float(pairs["train"].lengths.mean())))

    rows = batch // options.accumulate
    writes = options.sample_tokens and world.first

    def batches(step: int, number: int) -> PairBatch:
        begin, size = share_of_step(
            batch, world=world, accumulate=options.accumulate, number=number
        )
        return order.batch(step * batch + begin, size=size)

    def card(state: LoopState) -> str:
        return pair_card(choice, prepared, state)

    return Training(
        compute=parts.compute,
        objective=TargetTokens(scoring_of(options)),
        batches=Prefetched(batches, parts=options.accumulate, device=parts.device),
        optimizers=parts.optimizers,
        options=options,
        average=parts.average,
        evaluate=measured_by_first(_evaluation(prepared, pairs, choice, parts, rows=rows), world),
        write_sample=_sampling(prepared, pairs, choice, parts) if writes else None,
        save=saving(run, parts, choice, prepared, before_save=before_save, card=card),
        device=parts.device,
        world=world,
        flops_per_token=flops_per_token(replace(config, context=typical)),
        peak_flops=choice.peak_flops,
    )


def pair_card(choice: Choice, prepared: PreparedPairs, state: LoopState) -> str:
    """The README.md of a checkpoint: what the model is and how it came about, all measured."""
    config, options = choice.config, choice.options.train
    best = "not evaluated yet" if state.best_loss is None else f"{state.best_loss:.4f}"
    rows = {
        "family": "seq2seq: an encoder-decoder, which only cloche opens",
        "parameters": f"{parameter_count(config):,}",
        "layers, width, heads": (
            f"{config.encoder_layers} + {config.layers}, {config.width}, {config.heads}"
        ),
        "longest source and target": f"{config.context} tokens",
        "vocabulary": f"{config.vocab_size:,} ({prepared.tokenizer.kind}), one for both sides",
        "trained on": f"{len(prepared.train.ends) // 2:,} pairs",
        "steps": f"{state.step:,} of {state.plan.steps:,}",
        "target tokens seen": f"{state.tokens:,}",
        "lowest validation loss": f"{best} nats a target token (step {state.best_step})",
        "optimizer": f"{options.optimizer}, learning rate {options.learning_rate}",
        "seed": str(options.seed),
    }
    return card_with(
        rows,
        library="cloche",
        task="translation",
        about="It writes a target for a source, as it learned from pairs; it continues no text.",
    )


def _choose_context(prepared: PreparedPairs) -> int:
    """Twice the longest side of any pair, up to a limit: what is translated later may be longer."""
    bos, _ = beginning_and_end(prepared.tokenizer)
    parts = (prepared.train, prepared.validation)
    longest = max(PairTokens(part, context=1, bos=bos).longest for part in parts)
    return max(2, min(MOST_CONTEXT, 2 * longest))


def _evaluation(
    prepared: PreparedPairs,
    pairs: dict[str, PairTokens],
    choice: Choice,
    parts: Parts,
    *,
    rows: int,
) -> Callable[[nn.Module], dict[str, float]]:
    """Both parts' losses on fixed pairs, and how many of some held-out ones come out exactly."""
    options = choice.options.train
    assert options.eval_batches is not None, "complete_pair_options fills it in"
    most = options.eval_batches * (options.batch or rows)
    held_out = evenly_spread(pairs["validation"], most=most)
    seen = evenly_spread(pairs["train"], most=len(held_out))
    translated = evenly_spread(pairs["validation"], most=EXACT_PAIRS)
    search = _greedy(prepared, choice.config)
    tokens_per_byte = prepared.target_tokens / prepared.target_bytes

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, EncoderDecoder), "built by build_network for this family"
        nats, tokens = summed_nats(model, pairs["validation"], held_out, rows=rows)
        train_nats, train_tokens = summed_nats(model, pairs["train"], seen, rows=rows)
        exact = count_exact(
            _masters(parts), prepared.tokenizer, pairs["validation"], translated, search=search
        )
        return {
            "eval/loss": nats / tokens,
            "eval/train_loss": train_nats / train_tokens,
            "eval/bits_per_byte": nats / tokens / math.log(2) * tokens_per_byte,
            "eval/exact": exact / len(translated),
        }

    return evaluate


def _sampling(
    prepared: PreparedPairs, pairs: dict[str, PairTokens], choice: Choice, parts: Parts
) -> Callable[[int], Sampled]:
    """Translates a held-out source after a step, and shows what it should have become."""
    tokenizer, options = prepared.tokenizer, choice.options.train
    search = _greedy(prepared, choice.config, most=options.sample_tokens)

    def write(step: int) -> Sampled:
        number = mix(options.seed, step, 6) % len(pairs["validation"])
        source, target = pairs["validation"].texts(number)
        with evaluation_mode(_masters(parts)):
            found = find_targets(_masters(parts), [source], search)[0]
        text = f"\n{tokenizer.decode(found.ids)}\nexpected: {tokenizer.decode(target)}"
        return Sampled(step, tokenizer.decode(source), text)

    return write


def _greedy(prepared: PreparedPairs, config: ModelConfig, *, most: int | None = None) -> Search:
    bos, eos = beginning_and_end(prepared.tokenizer)
    return Search(bos, eos, max_tokens=min(most or config.context, config.context))


def _masters(parts: Parts) -> EncoderDecoder:
    masters = parts.compute.masters
    assert isinstance(masters, EncoderDecoder), "built by build_network for this family"
    return masters


def _measure(
    config: ModelConfig, pairs: PairTokens, batch: int, *, machine: Machine, options: RunOptions
) -> float:
    """Seconds for the passes of one step of this model on this machine, over usual pairs."""
    part = machine.rows_of(batch, parts=options.train.accumulate)
    usual = evenly_spread(pairs, most=2 * part)[: 2 * part]
    middle = usual[len(usual) // 4 :][:part]  # of like length, as they come in training
    with torch.random.fork_rng():
        model = build_network(config).to(machine.device)
        found = measure_step(
            model,
            TargetTokens(),
            pairs.batch(middle),
            machine=machine,
            options=options.train,
        )
    return found.seconds(options.train.accumulate)
