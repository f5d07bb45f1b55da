"""Replays of what a model learns from: windows of tokens, and how many of them a text gives."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader

from cloche.data.dataset import WindowDataset, windows_of_text
from cloche.replays.materials import Materials
from cloche.replays.measured import Measure, Measured
from cloche.replays.published import Published
from cloche.replays.words import SHAKESPEARE, VERDICT
from cloche.text.characters import CharacterTokenizer
from cloche.text.windows import Window, WindowPlan, lesson_line

Pairs = list[list[torch.Tensor]]
"""Batches, each of inputs and targets."""


def verdict_parts(inputs: Mapping[str, Any], materials: Materials) -> tuple[WindowDataset, ...]:
    """The windows of both parts of the story, end to end, in gpt2 tokens."""
    gpt2, context = materials.tokenizer("gpt2"), inputs["context"]
    parts = _parts(materials.text(VERDICT), inputs["split"])
    return tuple(windows_of_text(part, gpt2, context=context) for part in parts)


def verdict_batches(published: Published, materials: Materials) -> tuple[Pairs, Pairs]:
    """The batches of both parts of the story, in gpt2 tokens, windows end to end.

    Training windows are shuffled by torch's global generator under `shuffle_seed`, as published,
    and a last batch that is not full is dropped; validation keeps its order and all its windows.
    """
    inputs = published.inputs
    train, validation = verdict_parts(inputs, materials)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(inputs["shuffle_seed"])
        shuffled = list(DataLoader(train, batch_size=inputs["batch"], shuffle=True, drop_last=True))
    return shuffled, list(DataLoader(validation, batch_size=inputs["batch"]))


def _parts(text: str, split: float) -> tuple[str, str]:
    cut = int(split * len(text))
    return text[:cut], text[cut:]


def _verdict_window(published: Published, materials: Materials) -> Window:
    context, start = published.inputs["context"], published.inputs["start"]
    plan = WindowPlan(context=context, stride=context, start=start)
    return plan.windows(materials.ids(VERDICT, "gpt2")[start : start + context + 1])[0]


def _window(published: Published, materials: Materials) -> Measured:
    window = _verdict_window(published, materials)
    return Measured({"inputs": list(window.inputs), "targets": list(window.targets)})


def _window_as_text(published: Published, materials: Materials) -> Measured:
    gpt2 = materials.tokenizer("gpt2")
    lessons = _verdict_window(published, materials).lessons()
    return Measured(
        [lesson_line(gpt2.decode(one.context), gpt2.decode([one.target])) for one in lessons]
    )


def _first_batch(published: Published, materials: Materials) -> list[torch.Tensor]:
    """Inputs and targets of the first windows of the story."""
    wanted = published.inputs
    text, gpt2 = materials.text(VERDICT), materials.tokenizer("gpt2")
    dataset = windows_of_text(text, gpt2, context=wanted["context"], stride=wanted["stride"])
    return next(iter(DataLoader(dataset, batch_size=wanted["count"])))


def _first_pairs(published: Published, materials: Materials) -> Measured:
    inputs, targets = _first_batch(published, materials)
    return Measured([list(pair) for pair in zip(inputs.tolist(), targets.tolist(), strict=True)])


def _first_inputs_and_targets(published: Published, materials: Materials) -> Measured:
    inputs, targets = _first_batch(published, materials)
    return Measured({"inputs": inputs.tolist(), "targets": targets.tolist()})


def _loaders(published: Published, materials: Materials) -> Measured:
    train_sizes, validation_sizes = (
        [inputs.numel() for inputs, _ in batches]
        for batches in verdict_batches(published, materials)
    )
    return Measured(
        {
            "train_batches": len(train_sizes),
            "validation_batches": len(validation_sizes),
            "train_tokens": sum(train_sizes),
            "validation_tokens": sum(validation_sizes),
            "all": sum(train_sizes) + sum(validation_sizes),
        }
    )


def _shakespeare_window(published: Published, materials: Materials) -> Measured:
    text, context = materials.text(SHAKESPEARE), published.inputs["context"]
    ids = CharacterTokenizer(set(text)).encode(text[: context + 1])  # a token a character
    window = WindowPlan(context=context, stride=context).windows(ids)[0]
    return Measured({"inputs": list(window.inputs), "last target": window.targets[-1]})


def _shakespeare_parts(published: Published, materials: Materials) -> Measured:
    train, validation = _parts(materials.text(SHAKESPEARE), published.inputs["split"])
    return Measured({"train": len(train), "validation": len(validation)})


def _shakespeare_tokens(published: Published, materials: Materials) -> Measured:
    gpt2 = materials.tokenizer("gpt2")
    parts = _parts(materials.text(SHAKESPEARE), published.inputs["split"])
    train, validation = (len(gpt2.encode_training(part)) for part in parts)
    return Measured({"train": train, "validation": validation})


ROWS: Mapping[str, Measure] = {
    "the-verdict window at token 50": _window,
    "the-verdict window at token 50, as text": _window_as_text,
    "the-verdict windows of 4, stride 1, first two": _first_pairs,
    "the-verdict windows of 4, stride 4, first eight": _first_inputs_and_targets,
    "the-verdict loaders, context 256, batch 2": _loaders,
    "Shakespeare first window of 8": _shakespeare_window,
    "Shakespeare characters of both parts": _shakespeare_parts,
    "Shakespeare gpt2 tokens of both parts": _shakespeare_tokens,
}
"""By the name of the published result."""
