"""What every optimizer here has: groups of parameters, and a state for each parameter.

The shape of PyTorch's own, whose base class takes 1.7 seconds to make: it loads the compiler.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class Optimizer(ABC):
    """Moves parameters against their gradients.

    `param_groups` are dicts with `params`, `lr` and what else a kind of optimizer asks for;
    `state` has the tensors kept for each parameter, by name.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self.param_groups: list[dict[str, Any]] = [dict(group) for group in groups]
        for group in self.param_groups:
            group["initial_lr"] = group["lr"]
        self.state: defaultdict[nn.Parameter, dict[str, Tensor]] = defaultdict(dict)

    @abstractmethod
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
