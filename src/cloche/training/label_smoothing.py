"""Targets that are not quite sure: a share of the probability taken from the true class.

Two forms are published under one name. They agree on the idea and not on the numbers.

Source: Szegedy et al. 2016, section 7, https://arxiv.org/abs/1512.00567
"""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from cloche.errors import SettingError


def spread_over_others(
    targets: Int64[Tensor, "*batch"], classes: int, *, smoothing: float
) -> Float[Tensor, "*batch classes"]:
    """1 - smoothing for the true class, and smoothing / (classes - 1) for each other one."""
    _require(classes, smoothing, least=2)
    one_hot = F.one_hot(targets, classes).float()
    others = smoothing / (classes - 1)
    return one_hot * (1.0 - smoothing) + (1.0 - one_hot) * others


def spread_over_all(
    targets: Int64[Tensor, "*batch"], classes: int, *, smoothing: float
) -> Float[Tensor, "*batch classes"]:
    """1 - smoothing for the true class, and smoothing / classes added to every class.

    PyTorch's cross-entropy means this one by `label_smoothing`, and so does `NextToken`.
    """
    _require(classes, smoothing, least=1)
    return F.one_hot(targets, classes).float() * (1.0 - smoothing) + smoothing / classes


def _require(classes: int, smoothing: float, *, least: int) -> None:
    if classes < least:
        raise SettingError(f"there must be at least {least} classes to spread over, got {classes}")
    if not 0.0 <= smoothing <= 1.0:
        raise SettingError(f"label smoothing must be from 0 to 1, got {smoothing}")
