"""Log probabilities in pieces are those of the whole table, and so are their gradients."""

import pytest
import torch
from torch import nn

from cloche.alignment import preference_logprobs
from cloche.alignment.preference_logprobs import learned_logprobs, learned_tokens
from cloche.data.batches import IGNORED

CLASSES, DIM = 37, 8


class Headed(nn.Module):
    """A head and nothing else."""

    def __init__(self, *, bias: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.lm_head = nn.Linear(DIM, CLASSES, bias=bias)

    def head(self, hidden):
        return self.lm_head(hidden)


class Wrapped(Headed):
    """A head that is no plain matrix."""

    def __init__(self):
        super().__init__()
        self.lm_head = nn.Sequential(self.lm_head, nn.Tanh())


@pytest.fixture(params=["at once", "in pieces", "row by row"])
def pieces(request, monkeypatch):
    """So many numbers are scored at a time."""
    numbers = {"at once": 10_000, "in pieces": 4 * CLASSES, "row by row": 1}[request.param]
    monkeypatch.setattr(preference_logprobs, "SCORED_NUMBERS", numbers)


def vectors_and_targets():
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 11, DIM, generator=generator).requires_grad_()
    targets = torch.randint(CLASSES, (3, 11), generator=generator)
    targets[1, 4:] = IGNORED
    targets[2, 0] = IGNORED
    return hidden, targets


def plain(model, hidden, targets, temperature):
    """Everything at once, by PyTorch's own functions."""
    kept = targets != IGNORED
    logs = (model.head(hidden)[kept] / temperature).log_softmax(dim=-1)
    own = logs.gather(1, targets[kept][:, None])[:, 0]
    return own, -(logs.exp() * logs).sum(dim=-1)


def gradients(logprobs, entropy, model, hidden):
    """Each token's number has a weight of its own, so that none can stand for another."""
    weights = torch.linspace(-1.0, 2.0, len(logprobs))
    (logprobs * weights + 0.7 * weights.flip(0) * entropy).sum().backward()
    found = [hidden.grad, *(parameter.grad for parameter in model.parameters())]
    hidden.grad = None
    model.zero_grad()
    return found


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("model", [Headed(), Headed(bias=True), Wrapped()])
def test_log_probabilities_entropies_and_gradients_are_those_of_the_whole_table(model, temperature):
    hidden, targets = vectors_and_targets()
    ours = learned_tokens(model, hidden, targets, temperature=temperature)
    theirs = plain(model, hidden, targets, temperature)
    torch.testing.assert_close(tuple(ours), theirs)
    torch.testing.assert_close(gradients(*ours, model, hidden), gradients(*theirs, model, hidden))


def test_a_frozen_head_gets_no_gradient_and_passes_one_on():
    model = Headed().requires_grad_(requires_grad=False)
    hidden, targets = vectors_and_targets()
    learned_logprobs(model, hidden, targets).sum().backward()
    assert model.lm_head.weight.grad is None
    assert hidden.grad is not None
    assert hidden.grad[1, 3].abs().sum() > 0
    assert hidden.grad[1, 4:].abs().sum() == 0


@pytest.mark.parametrize("model", [Headed(), Wrapped()])
def test_nothing_learned_is_an_empty_answer_with_a_gradient_of_zero(model):
    hidden, targets = vectors_and_targets()
    found = learned_logprobs(model, hidden, torch.full_like(targets, IGNORED))
    assert found.shape == (0,)
    found.sum().backward()
    assert hidden.grad is None or not hidden.grad.any()


def test_bfloat16_passes_are_scored_in_float32():
    model = Headed().to(torch.bfloat16)
    hidden, targets = vectors_and_targets()
    low = hidden.detach().to(torch.bfloat16).requires_grad_()
    found = learned_logprobs(model, low, targets)
    kept = targets != IGNORED
    logs = model.head(low)[kept].float().log_softmax(dim=-1)
    torch.testing.assert_close(found, logs.gather(1, targets[kept][:, None])[:, 0])
    found.sum().backward()
    assert low.grad is not None
    assert low.grad.dtype == torch.bfloat16
    assert model.lm_head.weight.grad is not None
    assert model.lm_head.weight.grad.dtype == torch.bfloat16
