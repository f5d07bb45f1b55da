import pytest
import torch
import torch.nn.functional as F

from cloche.errors import SettingError
from cloche.training.label_smoothing import spread_over_all, spread_over_others

TARGETS = torch.tensor([[1, 0], [2, 1]])


@pytest.mark.parametrize("spread", [spread_over_others, spread_over_all])
def test_every_target_is_a_distribution(spread):
    smoothed = spread(TARGETS, 5, smoothing=0.3)
    assert smoothed.shape == (2, 2, 5)
    torch.testing.assert_close(smoothed.sum(-1), torch.ones(2, 2))
    assert torch.equal(smoothed.argmax(-1), TARGETS)


def test_the_forms_differ_in_what_the_true_class_keeps():
    others = spread_over_others(TARGETS, 3, smoothing=0.1)[0, 0]
    everyone = spread_over_all(TARGETS, 3, smoothing=0.1)[0, 0]
    torch.testing.assert_close(others, torch.tensor([0.05, 0.9, 0.05]))
    torch.testing.assert_close(everyone, torch.tensor([0.1, 2.8, 0.1]) / 3)


def test_spreading_over_all_is_what_pytorch_means():
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 7), torch.randint(7, (6,))
    smoothed = spread_over_all(targets, 7, smoothing=0.2)
    expected = F.cross_entropy(logits, targets, label_smoothing=0.2)
    torch.testing.assert_close(F.cross_entropy(logits, smoothed), expected)


def test_what_cannot_be_spread_is_refused():
    with pytest.raises(SettingError, match="at least 2 classes"):
        spread_over_others(torch.tensor([0]), 1, smoothing=0.1)
    with pytest.raises(SettingError, match=r"from 0 to 1, got 1\.5"):
        spread_over_all(TARGETS, 3, smoothing=1.5)
