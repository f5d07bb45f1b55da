import copy
from typing import Any

import pytest
import torch
from torch import nn

from cloche.data.batches import Batch
from cloche.errors import SettingError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.training.objectives import NextToken
from cloche.training.optim import build_optimizers
from cloche.training.options import TrainOptions
from cloche.tuning.tuned import TunedModel

HEAD = "lm_head.weight"


def tiny_model(*, trained=(HEAD,)) -> Any:
    options = ModelOptions(tied=False)
    model: Any = build_model(complete(options, vocab_size=13, layers=2, width=32, context=16))
    initialise(model, seed=0)
    nn.init.normal_(model.lm_head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained or not trained)
    return model


def batch():
    tokens = torch.randint(13, (4, 17), generator=torch.Generator().manual_seed(1))
    return Batch(tokens[:, :-1].clone(), tokens[:, 1:].clone())


def take_step(compute):
    options = TrainOptions(optimizer="adamw", learning_rate=0.01)
    optimizers = build_optimizers(compute.masters, options, learning_rate=0.01)
    compute.clear_gradients()
    term = compute.losses(NextToken(), batch(), last=True).terms["loss"]
    (term.sum / term.count).backward()
    compute.collect_gradients(last=True)
    norm = compute.clip_gradients(1.0)
    optimizers.set_learning_rate(1.0)
    optimizers.step(compute.gradients)
    compute.refresh()
    return norm


def test_only_what_has_a_gradient_is_a_master_and_moves():
    model = tiny_model()
    before = copy.deepcopy(model.state_dict())
    compute = TunedModel(model, dtype=torch.float32, kept=True)
    assert [name for name, _ in compute.masters.named_parameters()] == [HEAD]
    assert take_step(compute) > 0
    moved = [name for name, weight in model.state_dict().items() if (weight != before[name]).any()]
    assert moved == [HEAD]


def test_frozen_weights_lie_in_memory_once_where_they_are_not_saved():
    model = tiny_model()
    compute: Any = TunedModel(model, dtype=torch.bfloat16, kept=False)
    assert compute.model is model
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in compute.masters.parameters()} == {torch.float32}
    before = compute.trained_tensors()[HEAD]
    take_step(compute)
    after = compute.trained_tensors()[HEAD]
    assert not torch.equal(before, after)
    assert torch.equal(model.lm_head.weight, after.bfloat16())


def test_a_model_that_is_saved_whole_keeps_its_frozen_weights_exactly():
    model = tiny_model()
    before = copy.deepcopy(model.state_dict())
    compute = TunedModel(model, dtype=torch.bfloat16, kept=True)
    take_step(compute)
    assert compute.whole is not None
    for name, weight in compute.whole.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, before[name]) == (name != HEAD)


def test_masters_come_back_by_name():
    compute: Any = TunedModel(tiny_model(), dtype=torch.bfloat16, kept=False)
    saved = compute.trained_tensors()
    take_step(compute)
    compute.load(saved)
    compute.refresh()
    assert torch.equal(compute.trained_tensors()[HEAD], saved[HEAD])
    assert torch.equal(compute.model.lm_head.weight, saved[HEAD].bfloat16())
    with pytest.raises(KeyError, match=r"lm_head\.weight"):
        compute.load({})


def test_a_model_with_nothing_to_train_is_refused():
    model = tiny_model().requires_grad_(False)
    with pytest.raises(SettingError, match="nothing would be learned"):
        TunedModel(model, dtype=torch.float32, kept=True)
