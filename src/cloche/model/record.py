"""Watching a forward pass: whoever wants to see a model's numbers is told them by name."""

from collections.abc import Callable

from torch import Tensor

Record = Callable[[str, Tensor], None]
"""Is told each named number of a forward, in the order they arise."""


class QuietRecord:
    """Base of records to which attention's tables are of no interest: none is written out."""


class RouterRecord(QuietRecord):
    """A record that keeps the router logits of every layer and lets all else pass."""

    def __init__(self) -> None:
        self.router_logits: list[Tensor] = []
        """(batch, time, experts) of each layer with experts, first layer first."""
        self.experts_used = 0
        """Experts that think about a token; 0 before any was told."""

    def __call__(self, name: str, numbers: Tensor) -> None:
        """Keep `numbers` where they are a router's."""
        if name.endswith("mlp.router_logits"):
            self.router_logits.append(numbers)
        elif name.endswith("mlp.experts"):
            self.experts_used = numbers.shape[-1]


def watches_attention(record: Record | None) -> bool:
    """Whether the table of attention weights must be written out for this record."""
    return record is not None and not isinstance(record, QuietRecord)


def with_prefix(record: Record | None, prefix: str) -> Record | None:
    """A record that is told the same numbers under longer names."""
    if record is None:
        return None
    return lambda name, numbers: record(prefix + name, numbers)
