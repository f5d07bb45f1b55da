"""What every optimizer here has: groups of parameters, and a state for each parameter.

The shape of PyTorch's own, whose base class takes 1.7 seconds to make: it loads the compiler.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


def own_gradient(parameter: nn.Parameter) -> Tensor | None:
    """The gradient that lies on the parameter; None where there is none."""
    return parameter.grad


@dataclass(frozen=True)
class Gradients:
    """Where an optimizer finds what it moves against, and by what each number is multiplied.

    A gradient may be of a shorter dtype than its parameter: it is made longer as it is used, a few
    at a time, so that no second set of all gradients has to find room.
    """

    of: Callable[[nn.Parameter], Tensor | None] = own_gradient
    factor: float = 1.0


OWN_GRADIENTS = Gradients()


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
    def step(self, gradients: Gradients = OWN_GRADIENTS) -> None:
        """One update of every parameter that has a gradient; the gradients may be used up."""
