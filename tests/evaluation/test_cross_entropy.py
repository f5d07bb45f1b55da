"""The loss in pieces is the loss at once, and so are its gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cloche.data.batches import IGNORED
from cloche.evaluation import cross_entropy
from cloche.evaluation.cross_entropy import Scoring, output_layer, summed_cross_entropy
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.training.label_smoothing import spread_over_all, spread_over_others

CLASSES, DIM = 37, 8


class Headed(nn.Module):
    """A head and nothing else."""

    def __init__(self, *, bias: bool = False, dtype: torch.dtype = torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.lm_head = nn.Linear(DIM, CLASSES, bias=bias, dtype=dtype)

    def head(self, hidden):
        return self.lm_head(hidden)


def vectors_and_targets(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 11, DIM, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(CLASSES, (3, 11), generator=generator)
    targets[1, 4:] = IGNORED
    return hidden, targets


def reference(model, hidden, targets, scoring):
    """Everything at once, by PyTorch's own functions."""
    logits = model.head(hidden).flatten(0, 1).float()
    kept = targets.flatten() != IGNORED
    logits, chosen = logits[kept], targets.flatten()[kept]
    spread = {"all": spread_over_all, "others": spread_over_others}[scoring.smoothing_over]
    wanted = spread(chosen, CLASSES, smoothing=scoring.label_smoothing)
    loss = F.cross_entropy(logits, wanted, reduction="sum")
    return loss + scoring.z_loss * logits.logsumexp(dim=-1).square().sum()


def gradients(loss, model, hidden):
    (0.25 * loss).backward()
    found = [hidden.grad, *(p.grad for p in model.parameters())]
    hidden.grad = None
    model.zero_grad()
    return found


@pytest.fixture(params=["at once", "in pieces", "in a few parts", "in many parts"])
def pieces(request, monkeypatch):
    if request.param != "at once":
        monkeypatch.setattr(cross_entropy, "SCORED_NUMBERS", 4 * CLASSES)
    if "parts" in request.param:  # up to FEW_PARTS are summed otherwise than more
        rows = 10 if request.param == "in a few parts" else 3
        monkeypatch.setattr(cross_entropy, "KEPT_NUMBERS", rows * CLASSES)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "scoring",
    [
        Scoring(),
        Scoring(label_smoothing=0.1),
        Scoring(label_smoothing=0.2, smoothing_over="others"),
        Scoring(z_loss=0.01),
        Scoring(label_smoothing=0.1, smoothing_over="others", z_loss=0.1),
    ],
)
def test_loss_and_gradients_are_those_of_pytorchs_cross_entropy(scoring, bias):
    model = Headed(bias=bias)
    hidden, targets = vectors_and_targets()
    wanted = reference(model, hidden, targets, scoring)
    wanted_gradients = gradients(wanted, model, hidden)
    loss = summed_cross_entropy(model, hidden, targets, scoring=scoring)
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(gradients(loss, model, hidden), wanted_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("pieces")
def test_in_bfloat16_scores_are_taken_in_float32():
    model = Headed(dtype=torch.bfloat16)
    hidden, targets = vectors_and_targets(torch.bfloat16)
    loss = summed_cross_entropy(model, hidden, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, reference(model, hidden, targets, Scoring()))
    found = gradients(loss, model, hidden)
    exact, wide = Headed(), hidden.detach().float().requires_grad_()
    exact.load_state_dict(model.state_dict())
    wanted = gradients(reference(exact, wide, targets, Scoring()), exact, wide)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours is not None
        assert theirs is not None
        assert ours.dtype == torch.bfloat16
        assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_a_model_whose_hidden_vectors_are_logits_is_scored_as_it_is():
    config = complete(
        ModelOptions(family="bigram"), vocab_size=CLASSES, layers=1, width=CLASSES, context=11
    )
    model = build_model(config)
    initialise(model, seed=0)
    assert output_layer(model) is None
    _, targets = vectors_and_targets()
    ids = targets.clamp(min=0)
    loss = summed_cross_entropy(model, model.hidden(ids), targets)
    counted = int((targets != IGNORED).sum())
    assert loss.item() == pytest.approx(counted * torch.tensor(float(CLASSES)).log().item())
    loss.backward()
    wanted = build_model(config)
    initialise(wanted, seed=0)
    F.cross_entropy(wanted(ids).flatten(0, 1), targets.flatten(), reduction="sum").backward()
    torch.testing.assert_close(
        model.get_parameter("embed_tokens.weight").grad,
        wanted.get_parameter("embed_tokens.weight").grad,
    )


def test_nothing_is_kept_for_a_backward_pass_that_never_comes(monkeypatch):
    model = Headed()
    hidden, targets = vectors_and_targets()
    asked = []
    score = cross_entropy.score_rows

    def watched(*arguments, **options):
        asked.append(options["differentiate"])
        return score(*arguments, **options)

    monkeypatch.setattr(cross_entropy, "score_rows", watched)
    with torch.no_grad():
        summed_cross_entropy(model, hidden, targets)
    assert asked == [False]
