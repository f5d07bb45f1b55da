"""Bytes by formula against bytes that PyTorch holds."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from cloche.evaluation.cross_entropy import summed_cross_entropy
from cloche.model.build import build_network
from cloche.model.cache import KeyValueCache
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.model.seq2seq import EncoderDecoder
from cloche.planning import memory as memory_room
from cloche.planning.activations import activation_bytes, scoring_bytes
from cloche.planning.memory import (
    LIBRARY_BYTES,
    WORKING_SHARE,
    Memory,
    generation_memory,
    optimizer_bytes,
    training_memory,
)
from cloche.training.optim import build_optimizers
from cloche.training.options import TrainOptions


def tiny(family: Any, **options: Any) -> ModelConfig:
    heads = None if family == "bigram" else 4
    return complete(
        ModelOptions(family=family, heads=heads, **options),
        vocab_size=40,
        layers=2,
        width=32,
        context=24,
    )


MODELS = {
    "qwen3": tiny("qwen3", kv_heads=2),
    "llama": tiny("llama"),
    "gpt": tiny("gpt"),
    "gpt, dropout": tiny("gpt", dropout=0.1),
    "gpt, sinusoidal": tiny("gpt", positions="sinusoidal", activation="relu"),
    "gpt2": tiny("gpt2", activation="relu_squared"),
    "moe": tiny("moe", experts=5, experts_used=2),
    "seq2seq": tiny("seq2seq", encoder_layers=3),
    "seq2seq, post": tiny("seq2seq", norm_order="post", dropout=0.1),
    "bigram": tiny("bigram"),
}
SHAPES = {"short": (3, 24), "one long": (1, 90)}


def loss_of(model: nn.Module, ids: Tensor) -> Tensor:
    if isinstance(model, EncoderDecoder):
        hidden = model.hidden(ids, memory=model.encode(ids))
    else:
        hidden = model.hidden(ids)  # pyright: ignore[reportCallIssue]
    return summed_cross_entropy(model, hidden, ids)


def held_bytes(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """What the graph of a forward keeps alive beside the weights, each storage counted once."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    heads = {p.shape for name, p in model.named_parameters() if name.startswith("lm_head")}
    held: dict[int, Tensor] = {}  # the tensors are kept, so that no address is used again

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        # the head's gradient is made with the loss, and counted among the gradients
        if place not in weights and tensor.shape not in heads:
            held.setdefault(place, tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("path", ["plain", "fused"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_activations_are_those_that_are_saved(config, shape, path, dtype, monkeypatch):
    batch, context = shape
    config = replace(config, context=context)
    longest = 1000 if path == "plain" else 0
    monkeypatch.setattr("cloche.model.attention_inputs.PLAIN_TRAINING_CONTEXT", {dtype: longest})
    torch.manual_seed(0)
    model = build_network(config).to(dtype).train()
    ids = torch.randint(40, (batch, context))
    held = held_bytes(model, lambda: loss_of(model, ids))
    reckoned = activation_bytes(config, batch=batch, number_bytes=dtype.itemsize, attention=path)
    assert reckoned == pytest.approx(held, rel=0.15)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        (name, optimizer)
        for name in MODELS
        for optimizer in ("adamw", "muon")
        if (name, optimizer) != ("bigram", "muon")  # without blocks Muon is refused
    ],
)
def test_the_optimizer_takes_what_its_state_takes(name, optimizer):
    config = MODELS[name]
    model = build_network(config)
    optimizers = build_optimizers(model, TrainOptions(optimizer=optimizer), learning_rate=0.01)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step()
    held = sum(tensor.nbytes for tensor in optimizers.state_tensors().values())
    assert optimizer_bytes(config, optimizer=optimizer) == held


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_the_cache_takes_what_it_is_given(config, precision):
    cache = KeyValueCache(config, rows=3, capacity=50, dtype=getattr(torch, precision))
    memory = generation_memory(config, rows=3, context=50, precision=precision)
    assert memory.cache == cache.keys.nbytes + cache.values.nbytes
    with torch.device("meta"):
        model = build_network(config).to(getattr(torch, precision))
    assert memory.weights == sum(parameter.nbytes for parameter in model.parameters())
    assert memory.gradients == memory.optimizer == memory.activations == 0


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_bfloat16_trains_a_copy_beside_float32_masters(config):
    def memory(precision: Any, parts: int = 1) -> Memory:
        return training_memory(
            config, batch=2, parts=parts, precision=precision, optimizer="adamw", attention="fused"
        )

    exact, rounded = memory("float32"), memory("bfloat16")
    with torch.device("meta"):
        numbers = sum(parameter.numel() for parameter in build_network(config).parameters())
    assert exact.weights == exact.gradients == 4 * numbers
    assert rounded.weights == 6 * numbers
    assert rounded.gradients == 2 * numbers
    assert memory("bfloat16", parts=2).gradients == 6 * numbers
    assert memory("float32", parts=2).gradients == 4 * numbers
    assert rounded.optimizer == exact.optimizer
    assert rounded.activations < exact.activations
    parts = (exact.weights, exact.gradients, exact.optimizer, exact.activations, exact.cache)
    assert exact.total == sum(parts) + exact.working
    scoring = scoring_bytes(config, batch=2, number_bytes=4)
    beyond = max(0, scoring - exact.gradients)
    assert exact.working == LIBRARY_BYTES + round(WORKING_SHARE * exact.activations) + beyond


def test_scoring_a_large_vocabulary_never_holds_all_logits():
    config = complete(ModelOptions(), vocab_size=50_000, layers=2, width=64, context=256)
    few, many = (scoring_bytes(config, batch=rows, number_bytes=2) for rows in (8, 4096))
    assert few < 2 * 8 * 256 * 50_000 + 100e6
    assert many < 400e6  # of 105 GB


def test_a_counted_model_takes_its_tables():
    options = ModelOptions(family="ngram", order=3)
    config = complete(options, vocab_size=9, layers=1, width=1, context=8)
    config = replace(config, ngrams=(9, 20, 30))
    model = build_network(config)
    tensors = [*model.parameters(), *model.buffers()]
    held = sum(tensor.nbytes for tensor in tensors)
    memory = training_memory(
        config, batch=4, precision="float32", optimizer="adamw", attention="plain"
    )
    assert memory == Memory(weights=held)
    assert generation_memory(config, rows=1, precision="float32").weights == held


def test_planning_loads_no_torch():
    rooms = [path.stem for path in Path(memory_room.__file__).parent.glob("[a-z]*.py")]
    assert {"budget", "fitting", "regression"} <= set(rooms)
    imports = "; ".join(f"import cloche.planning.{room}" for room in rooms)
    command = f"import sys; {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
