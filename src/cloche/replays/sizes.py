"""Replays of sums: parameters of models by formula and by building them, costs, and corpora."""

from collections.abc import Mapping

import torch

from cloche.model import build
from cloche.planning import flops
from cloche.planning.scaling import (
    best_use,
    chinchilla_tokens,
    copies_of_text,
    training_cost,
    training_flops,
)
from cloche.replays.materials import Materials, describe
from cloche.replays.measured import Measure, Measured
from cloche.replays.published import Published
from cloche.replays.words import VERDICT

DEVICES = 8
COST = "cost in dollars at 30 an hour for 8"


def _counted(options: Mapping[str, object], vocab_size: int) -> tuple[int, int]:
    """Parameters by formula, and of the model built without memory."""
    config = describe(options, vocab_size=vocab_size)
    with torch.device("meta"):
        return flops.parameter_count(config), build.parameter_count(build.build_model(config))


def _parameters(published: Published, _: Materials) -> Measured:
    formula, built = _counted(published.inputs["options"], published.inputs["vocab_size"])
    value = formula if formula == built else {"by formula": formula, "built": built}
    return Measured(value, beside={"by formula": formula, "built": built})


def _parameters_by_vocabulary(published: Published, _: Materials) -> Measured:
    """The line through the counts at several vocabularies; the counts where it is no line."""
    counts = {
        size: _counted(published.inputs["options"], size)
        for size in published.inputs["vocab_sizes"]
    }
    first, second = published.inputs["vocab_sizes"][:2]
    slope = (counts[second][0] - counts[first][0]) // (second - first)
    constant = counts[first][0] - slope * first
    straight = all(found == (slope * size + constant,) * 2 for size, found in counts.items())
    told = {f"V = {size}": list(found) for size, found in counts.items()}
    value = {"for each V": slope, "constant": constant} if straight else told
    return Measured(value, beside={"by formula and built": told})


def _llama_cost(published: Published, _: Materials) -> Measured:
    inputs = published.inputs
    hours = inputs["A100 hours"]
    cost = training_cost(hours, devices=DEVICES, dollars_per_hour=inputs["dollars an hour for 8"])
    operations = training_flops(inputs["parameters"], inputs["tokens"])
    utilisation = operations / (hours * 3600 * inputs["peak FLOP/s"])
    return Measured({COST: cost}, beside={"share of the peak that 6 N D comes to": utilisation})


def _novels(published: Published, materials: Materials) -> Measured:
    """Copies of a novel as long as published, in tokens of the kind the book at hand has."""
    tokens, characters = published.inputs["tokens"], published.inputs["characters"]
    book = len(materials.ids(VERDICT, "gpt2"))
    novel_tokens = book * characters / len(materials.text(VERDICT))
    claimed = published.expected["copies"]
    return Measured(
        {"copies": copies_of_text(tokens, text_tokens=novel_tokens)},
        beside={
            "tokens of such a novel": novel_tokens,
            "copies of the-verdict itself": copies_of_text(tokens, text_tokens=book),
            "characters a token, were the claim true": claimed * characters / tokens,
        },
    )


def _chinchilla(published: Published, _: Materials) -> Measured:
    """The rule for the paper's own model; beside it what a law fitted to its runs has."""
    parameters = published.inputs["parameters"]
    tokens = chinchilla_tokens(parameters)
    best = best_use(published.inputs["FLOPs"])
    return Measured(
        {"tokens a parameter": tokens / parameters, "tokens": tokens},
        beside={
            "tokens a parameter, by a fitted law": best.tokens_per_parameter,
            "parameters, by that law": best.parameters,
            "tokens, by that law": best.tokens,
        },
    )


ROWS: Mapping[str, Measure] = {
    "parameters: 12 blocks, width 512, vocabulary 100256, sinusoidal, ReLU, bias-free q/k/v, "
    "untied head with bias": _parameters,
    "parameters: width 64, 4 heads, 4 layers, 64 positions, vocabulary V": (
        _parameters_by_vocabulary
    ),
    "parameters: 124M gpt, context 1,024": _parameters,
    "parameters: 124M gpt, context 1,024, tied head": _parameters,
    "parameters: GPT-2 small": _parameters,
    "parameters: GPT-2 medium": _parameters,
    "parameters: GPT-2 large": _parameters,
    "parameters: GPT-2 xl": _parameters,
    "parameters: Llama 2 7B": _parameters,
    "Llama 2 7B": _llama_cost,
    "Llama 2 corpus in novels of 400,000 characters": _novels,
    "Chinchilla": _chinchilla,
}
"""By the name of the published result."""
