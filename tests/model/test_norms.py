"""Normalisations against PyTorch's own."""

import pytest
import torch
from torch import nn

from cloche.model.norms import BatchNorm, RMSNorm, build_norm


def vectors(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4)) * 3 + 1


def pair() -> tuple[BatchNorm, nn.BatchNorm1d]:
    torch.manual_seed(0)
    mine, theirs = BatchNorm(5, eps=1e-3, momentum=0.2), nn.BatchNorm1d(5, eps=1e-3, momentum=0.2)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    mine.load_state_dict(theirs.state_dict(), strict=False)
    return mine, theirs


def test_batch_norm_is_that_of_torch_in_training_and_evaluation():
    mine, theirs = pair()
    for step in range(4):
        rows = vectors(7, 5) * (step + 1)
        torch.testing.assert_close(mine(rows), theirs(rows))
    torch.testing.assert_close(mine.running_mean, theirs.running_mean)
    torch.testing.assert_close(mine.running_var, theirs.running_var)
    mine.eval()
    theirs.eval()
    torch.testing.assert_close(mine(vectors(1, 5)), theirs(vectors(1, 5)))


def test_gradients_of_batch_norm_are_those_of_torch():
    mine, theirs = pair()
    gradients = []
    for norm in (mine, theirs):
        rows = vectors(6, 5).requires_grad_()
        (norm(rows) ** 3).sum().backward()
        gradients.append([rows.grad, norm.weight.grad, norm.bias.grad])
    for own, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_takes_all_leading_axes_together():
    mine, theirs = pair()
    texts = vectors(3, 4, 5)
    torch.testing.assert_close(mine(texts), theirs(texts.transpose(1, 2)).transpose(1, 2))


def test_batch_norm_in_training_lets_a_token_see_those_ahead():
    mine, _ = pair()
    changed = vectors(1, 4, 5).clone()
    changed[0, 3] += 1
    assert not torch.allclose(mine(vectors(1, 4, 5))[0, 0], mine(changed)[0, 0])


def test_batch_norm_refuses_to_learn_from_one_vector():
    with pytest.raises(ValueError, match="batch of 1"):
        BatchNorm(5)(vectors(1, 5))


def test_rms_norm_is_that_of_torch():
    mine, theirs = RMSNorm(5, eps=1e-6), nn.RMSNorm(5, eps=1e-6)
    torch.testing.assert_close(mine(vectors(2, 3, 5)), theirs(vectors(2, 3, 5)))


def test_layer_norm_is_written_as_in_its_paper():
    rows = vectors(2, 5)
    centred = rows - rows.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(build_norm("layernorm", 5, eps=1e-5)(rows), expected)
