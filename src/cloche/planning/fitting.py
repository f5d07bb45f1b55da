"""Whether a training fits into memory: in how many parts its batch is computed, or what to change.

Every part of a batch is computed by itself, and gradients add up over the parts, so that fewer
sequences at once take less memory and the result stays the same. Where even a single sequence is
too much, only another model, optimizer or precision helps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from cloche.model.config import GPT_FAMILIES, Activation, ModelConfig, nearest_multiple
from cloche.model.presets import GPT2_SIZES
from cloche.planning.activations import Path
from cloche.planning.memory import (
    TOKENIZER_BYTES,
    Memory,
    Precision,
    copy_bytes,
    training_memory,
)
from cloche.planning.parameters import parameters_by_part
from cloche.planning.wording import format_bytes

SHARE = 0.9
"""Of the memory that is there, what is planned with: the reckoning is not exact, and others live
here, too."""
SMALLEST_VOCAB = 512
TYING_COST = 0.05
"""Of a head that is the embedding: a rule of thumb, as in `change_cost`."""
ROOM_FOR_COPY = 1.5
"""Of the memory that is free, against what a copy for a checkpoint takes; else training waits
until it is written."""
CHANGES = 3
"""How many ways out are told."""

Optimizer = Literal["adamw", "muon"]
Vocab = Literal["free", "given"]
"""Whether the vocabulary is that of a BPE learned from the text, and could be smaller."""


@dataclass(frozen=True)
class Setting:
    """A training as far as its memory goes."""

    config: ModelConfig
    batch: int
    """Sequences in a step."""
    precision: Precision
    optimizer: Optimizer
    attention: Path
    vocab: Vocab

    def memory(self, micro_batch: int) -> Memory:
        """Bytes by part with so many sequences computed at once."""
        found = training_memory(
            self.config,
            batch=micro_batch,
            parts=self.batch // micro_batch,
            precision=self.precision,
            optimizer=self.optimizer,
            attention=self.attention,
        )
        learned = TOKENIZER_BYTES if self.vocab == "free" else 0
        return replace(found, working=found.working + learned)


@dataclass(frozen=True)
class Fit:
    """How a batch is computed so that it fits."""

    micro_batch: int
    """Sequences at once."""
    accumulate: int
    """Parts, one after the other: micro_batch x accumulate is the batch."""
    memory: Memory
    available_bytes: int


@dataclass(frozen=True)
class Change:
    """Another training that fits."""

    options: tuple[str, ...]
    """To be typed: `--model.context 256`."""
    about: str
    """What it costs, in words."""
    cost: float
    """How much of the model is lost, from 0 to 1 and a little more; see `change_cost`."""
    memory: Memory
    """With one sequence at once."""


@dataclass(frozen=True)
class TooLarge:
    """Not even one sequence at a time fits."""

    memory: Memory
    """Predicted with one sequence at once."""
    available_bytes: int
    share: float
    changes: tuple[Change, ...]
    """The mildest that fit, mildest first; none where nothing of this kind does."""


def fit_training(
    config: ModelConfig,
    *,
    batch: int,
    precision: Precision,
    optimizer: Optimizer,
    attention: Path,
    available_bytes: int,
    accumulate: int = 1,
    share: float = SHARE,
    vocab: Vocab = "given",
) -> Fit | TooLarge:
    """The fewest parts of the batch, from `accumulate` on, with which the training fits.

    What fits is predicted to take at most `share` of `available_bytes`. A `vocab` that is
    "free" is one of a trained BPE, which may be made smaller. `batch` is that of one device.
    """
    setting = Setting(config, batch, precision, optimizer, attention, vocab)
    most = int(share * available_bytes)
    for parts in range(accumulate, batch + 1):
        if batch % parts:
            continue
        memory = setting.memory(batch // parts)
        if memory.total <= most:
            copy = copy_bytes(config, optimizer=optimizer)
            if memory.total + ROOM_FOR_COPY * copy <= available_bytes:
                memory = replace(memory, copies=copy)
            return Fit(batch // parts, parts, memory, available_bytes)
    found = tuple(_changes(setting, most=most))
    mildest = sorted(found, key=lambda change: change.cost)[:CHANGES]
    return TooLarge(setting.memory(1), available_bytes, share, tuple(mildest))


def describe_too_large(too_large: TooLarge) -> str:
    """The message for whoever asked for that training: what it takes, and what would fit."""
    memory = too_large.memory
    parts = ", ".join(f"{name} {format_bytes(count)}" for name, count in memory_parts(memory))
    usable = too_large.share * too_large.available_bytes
    lines = [
        f"this training takes about {format_bytes(memory.total)} with one sequence at a time "
        f"({parts}), and {format_bytes(usable)} can be planned with: {too_large.share:.0%} of the "
        f"{format_bytes(too_large.available_bytes)} that are available"
    ]
    if not too_large.changes:
        return f"{lines[0]}. No smaller model of this kind fits either: free some memory"
    lines.append("Each of these would fit:")
    for change in too_large.changes:
        typed = " ".join(change.options)
        lines.append(f"  {typed}   ({format_bytes(change.memory.total)}: {change.about})")
    return "\n".join(lines)


def memory_parts(memory: Memory) -> list[tuple[str, int]]:
    """Names and bytes of the parts that take any."""
    named = [
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer", memory.optimizer),
        ("activations", memory.activations),
        ("cache", memory.cache),
        ("working memory", memory.working),
        ("copies", memory.copies),
    ]
    return [(name, count) for name, count in named if count]


def change_cost(before: ModelConfig, after: ModelConfig) -> float:
    """How much of a model a change takes away: a rule of thumb to put changes in order.

    The share of the numbers in its blocks, and a quarter of the shares of context and vocabulary:
    a model thinks with the former, while halving the latter costs a small model little.
    """
    blocks = _share_lost(_block_numbers(before), _block_numbers(after))
    context = _share_lost(before.context, after.context)
    vocab = _share_lost(before.vocab_size, after.vocab_size)
    return blocks + (context + vocab) / 4


def _share_lost(before: float, after: float) -> float:
    return max(0.0, 1 - after / before) if before else 0.0


def _block_numbers(config: ModelConfig) -> int:
    parts = parameters_by_part(config)
    return parts.get("attention", 0) + parts.get("MLP", 0)


def _changes(setting: Setting, *, most: int) -> Iterator[Change]:
    """All single changes that fit; where they are few, those on top of all that costs no model,
    and a model smaller all round.
    """
    found = [*_free_changes(setting, most), *_model_changes(setting, (), most=most)]
    thrifty, options = _thriftiest(setting)
    if options and len(found) < CHANGES:
        found += _model_changes(thrifty, options, most=most)
    if len(found) < CHANGES:
        found += _scaled(thrifty, options, most=most)
    yield from found


def _free_changes(setting: Setting, most: int) -> Iterator[Change]:
    """Those that leave the model as it is."""
    thrifty = []
    if setting.optimizer == "adamw" and setting.config.family != "bigram":
        muon = replace(setting, optimizer="muon")
        about = "one number of state for each of the matrices in the blocks instead of two"
        thrifty.append((muon, ("--train.optimizer muon",), about, 0.001))
    if setting.precision == "float32":
        half = replace(setting, precision="bfloat16")
        about = "passes in half the width, less exact"
        thrifty.append((half, ("--train.precision bfloat16",), about, 0.002))
    both, options = _thriftiest(setting)
    if len(options) > 1:
        thrifty.append((both, options, "both, and the same model", 0.003))
    for changed, options, about, cost in thrifty:
        memory = changed.memory(1)
        if memory.total <= most:
            yield Change(options, about, cost, memory)


def _thriftiest(setting: Setting) -> tuple[Setting, tuple[str, ...]]:
    """The same model with the optimizer and the precision that take least, and their options."""
    found, options = setting, ()
    if setting.optimizer == "adamw" and setting.config.family != "bigram":
        found, options = replace(found, optimizer="muon"), ("--train.optimizer muon",)
    half = replace(found, precision="bfloat16")
    # the copy that computes has weights and gradients of its own: it pays for large activations
    if half.memory(1).total < found.memory(1).total:
        found, options = half, (*options, "--train.precision bfloat16")
    return found, options


def _model_changes(setting: Setting, given: tuple[str, ...], *, most: int) -> Iterator[Change]:
    """The mildest value of each of the model's sizes that fits by itself."""
    config = setting.config
    for name, unit, least, make in _sizes(config, setting.vocab):
        before = _value(config, name)
        value = _largest_that_fits(setting, make, unit=unit, least=least, below=before, most=most)
        if value is not None:
            after = make(value)
            yield _change(setting, after, (*given, f"{name} {value}"), f"{before:,} -> {value:,}")
    if _is_published(config):
        yield from _published(setting, given, most)
    yield from _tying(setting, given, most)


Make = Callable[[int], ModelConfig]


def _sizes(config: ModelConfig, vocab: Vocab) -> Iterator[tuple[str, int, int, Make]]:
    """Option, step, least value and the model with another value, for each size that may change."""
    unit = 64 if config.context >= 256 else 8
    yield "--model.context", unit, unit, lambda value: replace(config, context=value)
    if vocab == "free" and config.family != "bigram":
        yield "--text.vocab-size", 256, SMALLEST_VOCAB, lambda v: replace(config, vocab_size=v)
    if config.family in ("bigram", "ngram"):
        return
    if _is_published(config):
        return  # its layers and width go with its name
    yield "--model.layers", 1, 1, lambda value: replace(config, layers=value)
    unit = config.heads if config.positions != "rotary" else 2 * config.heads
    while unit % 8:
        unit *= 2
    yield "--model.width", unit, unit, lambda value: with_width(config, value)
    if config.experts:
        yield "--model.experts", 1, config.experts_used, lambda v: replace(config, experts=v)


def _is_published(config: ModelConfig) -> bool:
    """Whether it has one of GPT-2's published sizes."""
    shape = (config.layers, config.heads, config.width)
    return config.family == "gpt2" and shape in GPT2_SIZES.values()


def _value(config: ModelConfig, option: str) -> int:
    return getattr(config, option.split(".")[1].replace("-", "_"))


def with_width(config: ModelConfig, width: int) -> ModelConfig:
    """The model with another width, which its heads share, and the MLP that goes with it.

    An MLP whose width is not the usual one was asked for, and stays.
    """
    head_dim = max(1, round(config.head_dim * width / config.width))
    if config.positions == "rotary" or config.family in GPT_FAMILIES:
        head_dim = width // config.heads
    mlp = config.mlp_width
    if mlp == _usual_mlp(config.width, config.activation):
        mlp = _usual_mlp(width, config.activation)
    return replace(config, width=width, head_dim=head_dim, mlp_width=mlp)


def _usual_mlp(width: int, activation: Activation) -> int:
    """As the presets have it: 4 x width, or 2/3 of that where the MLP is gated."""
    return nearest_multiple(round(8 * width / 3), 64) if activation == "swiglu" else 4 * width


def _largest_that_fits(
    setting: Setting, make: Make, *, unit: int, least: int, below: int, most: int
) -> int | None:
    """The largest multiple of `unit` below a value with which one sequence fits, or None."""

    def fits(count: int) -> bool:
        return replace(setting, config=make(count * unit)).memory(1).total <= most

    low, high = -(-least // unit), (below - 1) // unit
    if low > high or not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low * unit


def _published(setting: Setting, given: tuple[str, ...], most: int) -> Iterator[Change]:
    """The next smaller published size of GPT-2 that fits."""
    config = setting.config
    for name, (layers, heads, width) in reversed(GPT2_SIZES.items()):
        if width >= config.width:
            continue
        smaller = replace(with_width(replace(config, heads=heads, kv_heads=heads), width))
        smaller = replace(smaller, layers=layers)
        if replace(setting, config=smaller).memory(1).total <= most:
            yield _change(setting, smaller, (*given, f"--model.size {name}"), f"GPT-2 {name}")
            return


def _tying(setting: Setting, given: tuple[str, ...], most: int) -> Iterator[Change]:
    """The embedding as the head."""
    if setting.config.tied or setting.config.family in ("bigram", "ngram"):
        return
    tied = replace(setting.config, tied=True)
    memory = replace(setting, config=tied).memory(1)
    if memory.total <= most:
        about = "the table of tokens serves as the head, too"
        yield Change((*given, "--model.tied True"), about, TYING_COST, memory)


def _scaled(setting: Setting, given: tuple[str, ...], *, most: int) -> Iterator[Change]:
    """Layers, width and context made smaller together, as far as needed."""
    config = setting.config
    if config.family in ("bigram", "ngram") or _is_published(config):
        return
    for share in (0.5, 0.35, 0.25, 0.17, 0.12, 0.08, 0.05):
        unit = 2 * config.heads
        layers = max(1, round(config.layers * share))
        width = nearest_multiple(round(config.width * share), unit)
        context = nearest_multiple(round(config.context * share), 8)
        smaller = replace(with_width(config, width), layers=layers, context=context)
        if replace(setting, config=smaller).memory(1).total <= most:
            options = (
                *given,
                f"--model.layers {layers}",
                f"--model.width {width}",
                f"--model.context {context}",
            )
            yield _change(setting, smaller, options, f"about {share:.0%} of each")
            return


def _change(setting: Setting, after: ModelConfig, options: tuple[str, ...], about: str) -> Change:
    memory = replace(setting, config=after).memory(1)
    return Change(options, about, change_cost(setting.config, after), memory)
