"""What it takes to describe one class of models in a folder: its config.json and tensor names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cloche.model.config import Family, ModelConfig
from cloche.weights.layouts.values import Values

HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Names:
    """How a model's tensors are called and shaped in files of one kind."""

    embedding: str
    """The stored name of the token embedding."""
    canonical: Callable[[str], str | None]
    """The stored name of a tensor, however it was spelled; None for what is no weight."""
    to_stored: Callable[[Mapping[str, Tensor], ModelConfig], dict[str, Tensor]]
    """The tensors of a model as they are stored; a tied head is left out. Whatever else is left
    out is zero."""
    from_stored: Callable[[str, Tensor], dict[str, Tensor]]
    """The model's tensors in a stored one, given its canonical name and its right shape."""


def keeps_any(folder: Path) -> bool:  # noqa: ARG001  what other classes decide by
    """True: most classes read any tokenizer.json as it stands."""
    return True


@dataclass(frozen=True)
class Layout:
    """One class of models on disk, and our models in its words."""

    model_type: str
    """What config.json calls it."""
    families: tuple[Family, ...]
    """Ours that are written so, where nothing stands in the way."""
    obstacles: Callable[[ModelConfig], list[str]]
    """What of a model the class cannot compute, a few words each; nothing where it is exactly it.
    """
    to_values: Callable[[ModelConfig], dict[str, Any]]
    """The keys of config.json that describe a model without obstacles."""
    from_values: Callable[[Values], ModelConfig]
    """The model that a config.json describes. Raises CheckpointError."""
    names: Names
    keeps_tokenizer: Callable[[Path], bool] = keeps_any
    """Whether transformers reads the tokenizer.json of a folder of this class as it stands."""

    def expresses(self, config: ModelConfig) -> bool:
        """Whether a model of this family is written in this layout, and computed exactly so."""
        return config.family in self.families and not self.obstacles(config)


def untied(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The tensors without the head's where that is the embedding."""
    return {name: tensor for name, tensor in tensors.items() if not (config.tied and name == HEAD)}
