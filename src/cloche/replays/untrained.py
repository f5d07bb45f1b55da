"""Replays of the 124M model before any training: its guesses, their probabilities, its losses.

Its weights are PyTorch's default ones under a seed, so every figure follows from the order in
which the modules are made. It is in evaluation mode throughout.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cloche.data.batches import Batch, TokensInMemory
from cloche.evaluation.likelihood import Likelihood, evaluation_mode, mean_loss
from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest
from cloche.generation.sampling import pick_likeliest
from cloche.model.decoder import Decoder
from cloche.replays.materials import Materials
from cloche.replays.measured import Measure, Measured
from cloche.replays.published import Published
from cloche.replays.windows import Pairs, verdict_batches
from cloche.training.objectives import NextToken


def _greedy_text(published: Published, materials: Materials) -> Measured:
    tokenizer = materials.tokenizer("gpt2")
    model = materials.untrained(published.inputs)
    prompt = tuple(tokenizer.encode(published.inputs["prompt"]))
    request = GenerationRequest(
        prompt, max_tokens=published.inputs["tokens"], temperature=0.0, stop_ids=()
    )
    engine = Engine(model, tokenizer, context=model.config.context, rows=1)
    answer = engine.generate([request])[0][0]
    return Measured(answer.text, beside={"ids": list(answer.token_ids)})


def _likeliest(inputs: Mapping[str, Any], materials: Materials) -> list[list[int]]:
    return [pick_likeliest(row).tolist() for row in materials.logits(inputs)]


def _likeliest_ids(published: Published, materials: Materials) -> Measured:
    return Measured(_likeliest(published.inputs, materials))


def _likeliest_text(published: Published, materials: Materials) -> Measured:
    gpt2 = materials.tokenizer("gpt2")
    guesses = _likeliest(published.inputs, materials)[0]
    targets = published.inputs["targets"][0]
    return Measured({"targets 1": gpt2.decode(targets), "outputs 1": gpt2.decode(guesses)})


def _target_probabilities(
    inputs: Mapping[str, Any], materials: Materials
) -> Float[Tensor, "batch time"]:
    targets = torch.tensor(inputs["targets"])[..., None]
    return materials.logits(inputs).softmax(dim=-1).gather(-1, targets)[..., 0]


def _probabilities(published: Published, materials: Materials) -> Measured:
    return Measured(_target_probabilities(published.inputs, materials).tolist())


def _log_probabilities(published: Published, materials: Materials) -> Measured:
    probabilities = _target_probabilities(published.inputs, materials)
    return Measured(probabilities.log().flatten().tolist())


def _mean_log_probability(published: Published, materials: Materials) -> Measured:
    return Measured(_target_probabilities(published.inputs, materials).log().mean().item())


def _loss_of_pairs(inputs: Mapping[str, Any], materials: Materials) -> float:
    """Cross-entropy of the targets, which are the inputs moved by one and a last token."""
    pairs = zip(inputs["ids"], inputs["targets"], strict=True)
    texts = [[*ids, targets[-1]] for ids, targets in pairs]
    context = len(inputs["ids"][0])
    tokens = np.array(texts, dtype=np.uint32).flatten()
    in_memory = TokensInMemory(tokens, ends=np.array([len(tokens)]), separated=False)
    starts = np.arange(len(texts)) * (context + 1)
    model = materials.untrained(inputs)
    return mean_loss(model, in_memory, starts=starts, context=context, rows=len(texts))


def _cross_entropy(published: Published, materials: Materials) -> Measured:
    return Measured(_loss_of_pairs(published.inputs, materials))


def _perplexity(published: Published, materials: Materials) -> Measured:
    nats = _loss_of_pairs(published.inputs, materials)
    return Measured(Likelihood(nats, tokens=1, characters=1, utf8_bytes=1).perplexity)


def _losses(published: Published, materials: Materials) -> Measured:
    """The mean of each part's batch means, over the loaders' batches in their order."""
    model = materials.untrained(published.inputs)
    train, validation = verdict_batches(published, materials)
    return Measured(
        {"train": _mean_of_means(model, train), "validation": _mean_of_means(model, validation)}
    )


def _mean_of_means(model: Decoder, batches: Pairs) -> float:
    objective = NextToken()
    with evaluation_mode(model):
        terms = [objective(model, Batch(*pair)).terms["loss"] for pair in batches]
    return sum((term.sum / term.count).item() for term in terms) / len(terms)


ROWS: Mapping[str, Measure] = {
    '124M untrained, greedy continuation of "Every effort moves you", 10 tokens': _greedy_text,
    "124M untrained, likeliest next tokens": _likeliest_ids,
    "124M untrained, likeliest next tokens, as text": _likeliest_text,
    "124M untrained, target probabilities": _probabilities,
    "124M untrained, log probabilities": _log_probabilities,
    "their mean": _mean_log_probability,
    "cross-entropy": _cross_entropy,
    "perplexity": _perplexity,
    "124M untrained losses": _losses,
}
"""By the name of the published result."""
