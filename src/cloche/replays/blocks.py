"""Replays of a model's parts: embeddings, positions, attention, softmax, smoothed targets."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cloche.generation.sampling import divide_by_temperature
from cloche.model.attention import plain_attention
from cloche.model.embedding import Embedding
from cloche.model.masks import additive_bias, allowed_pairs
from cloche.model.positions import sinusoidal_positions
from cloche.replays.materials import Materials
from cloche.replays.measured import Measure, Measured
from cloche.replays.published import Published
from cloche.training.label_smoothing import spread_over_all, spread_over_others


def _seeded_table(inputs: Mapping[str, Any]) -> Embedding:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(inputs["seed"])
        return Embedding(inputs["rows"], inputs["width"])


def _embedding(published: Published, _: Materials) -> Measured:
    return Measured(_seeded_table(published.inputs).weight.tolist())


def _embedded_ids(published: Published, _: Materials) -> Measured:
    return Measured(_seeded_table(published.inputs)(_chosen(published)).tolist())


def _one_hot_rows(published: Published, _: Materials) -> Measured:
    table = _seeded_table(published.inputs)
    linear = nn.Linear(published.inputs["rows"], published.inputs["width"], bias=False)
    linear.weight = nn.Parameter(table.weight.detach().T)
    one_hot = nn.functional.one_hot(_chosen(published), published.inputs["rows"])
    product = linear(one_hot.float())
    equal = torch.equal(product, table(_chosen(published)))
    return Measured(product.tolist(), beside={"equal to the embedded ids": equal})


def _chosen(published: Published) -> Tensor:
    return torch.tensor(published.inputs["chosen"])


def _sinusoidal(published: Published, _: Materials) -> Measured:
    places = torch.arange(published.inputs["length"])[None]
    table = sinusoidal_positions(places, published.inputs["width"])[0]
    return Measured(table[:, published.inputs["columns"]].tolist())


def _running_mean(published: Published, _: Materials) -> Measured:
    """The mean of each vector and all before it: looped, by a product, by attention."""
    vectors = _seeded_normal(published.inputs["seed"], published.inputs["shape"])
    time = vectors.shape[1]
    looped = torch.stack([vectors[:, : end + 1].mean(1) for end in range(time)], dim=1)
    lower = torch.ones(time, time).tril()
    product = (lower / lower.sum(1, keepdim=True)) @ vectors
    values = vectors[:, None]  # one head
    alike = torch.zeros_like(values)  # queries that match every key alike
    attended = plain_attention(alike, alike, values, bias=_causal_bias(time))[:, 0]
    off = max(float((found - looped).abs().max()) for found in (product, attended))
    close = torch.allclose(product, looped) and torch.allclose(attended, looped)
    return Measured(
        {"largest difference": off}, beside={"torch.allclose, default tolerances": close}
    )


def _masked_weights(
    inputs: Mapping[str, Any], *, scale: float | None
) -> Float[Tensor, "time time"]:
    """Attention weights of the first of the batch, layers made in the order key, query, value."""
    batch, time, width = inputs["shape"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(inputs["seed"])
        vectors = torch.randn(batch, time, width)
        layers = [nn.Linear(width, inputs["head"], bias=False) for _ in range(3)]
        keys, queries, values = (layer(vectors)[:, None] for layer in layers)  # one head
    told: dict[str, Tensor] = {}
    bias = _causal_bias(time)
    plain_attention(queries, keys, values, bias=bias, scale=scale, record=told.__setitem__)
    return told["weights"][0, 0]


def _masked_attention(published: Published, _: Materials) -> Measured:
    weights = _masked_weights(published.inputs, scale=1.0)
    scaled = _masked_weights(published.inputs, scale=None)
    return Measured(
        weights.tolist(), beside={"last row, scores divided by the root": scaled[-1].tolist()}
    )


def _scaled_attention(published: Published, _: Materials) -> Measured:
    weights = _masked_weights(published.inputs, scale=None).tolist()
    return Measured({"last row begins": weights[-1][0]}, beside={"weights": weights})


def _softmax(published: Published, _: Materials) -> Measured:
    scores = torch.tensor(published.inputs["scores"]) * published.inputs.get("times", 1)
    return Measured(scores.softmax(dim=-1).tolist())


def _temperature(published: Published, _: Materials) -> Measured:
    """What the bars of both temperatures show: their order, their sums, and which is flatter."""
    logits = torch.tensor([published.inputs["logits"]])
    bars = {
        temperature: divide_by_temperature(logits, temperature).softmax(dim=-1)[0]
        for temperature in published.inputs["temperatures"]
    }
    orders = [values.argsort(descending=True).tolist() for values in bars.values()]
    spreads = {name: float(values.max() - values.min()) for name, values in bars.items()}
    shown = {
        "likeliest first": orders[0] if all(order == orders[0] for order in orders) else orders,
        "sums": [values.sum().item() for values in bars.values()],
        "flatter at": min(spreads, key=lambda name: spreads[name]),
    }
    return Measured(shown, {f"temperature {t}": values.tolist() for t, values in bars.items()})


def _smoothed_over_others(published: Published, _: Materials) -> Measured:
    return Measured(spread_over_others(*_targets(published), smoothing=_share(published)).tolist())


def _smoothed_over_all(published: Published, _: Materials) -> Measured:
    return Measured(spread_over_all(*_targets(published), smoothing=_share(published)).tolist())


def _targets(published: Published) -> tuple[Tensor, int]:
    return torch.tensor(published.inputs["targets"]), published.inputs["classes"]


def _share(published: Published) -> float:
    return published.inputs["smoothing"]


def _causal_bias(time: int) -> Float[Tensor, "1 1 time time"]:
    allowed = allowed_pairs(time, documents=None, device=torch.device("cpu"))
    return additive_bias(allowed, torch.float32)


def _seeded_normal(seed: int, shape: list[int]) -> Float[Tensor, "batch time dim"]:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


ROWS: Mapping[str, Measure] = {
    "Embedding(6, 3), seed 123": _embedding,
    "its rows 2, 3, 5, 1": _embedded_ids,
    "Embedding(4, 5), seed 123": _embedding,
    "Embedding(4, 5), seed 123, rows 2, 3, 1 as a linear layer on one-hot rows": _one_hot_rows,
    "running mean: loop, lower-triangular product, masked softmax": _running_mean,
    "masked self-attention, seed 1337": _masked_attention,
    "masked self-attention, seed 1337, divided by the root of the head width": _scaled_attention,
    "softmax": _softmax,
    "softmax of 8 times it": _softmax,
    "temperature example": _temperature,
    "label smoothing 0.1, 3 classes": _smoothed_over_others,
    "label smoothing 0.1, 3 classes, PyTorch's form": _smoothed_over_all,
    "sinusoidal positions, 16 x 64, columns 0-9 and 54-63": _sinusoidal,
}
"""By the name of the published result."""
