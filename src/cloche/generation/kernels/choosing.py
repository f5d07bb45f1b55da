"""The forward that serves a model best: by the kernels where there are any, else by modules."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cloche.generation.forward import Forward, ModelForward
from cloche.generation.kernels.building import KernelError, default_folder, load_library
from cloche.generation.kernels.native import NativeForward, PackedModel, unsupported
from cloche.generation.static import StaticForward, serves_static
from cloche.model.build import LanguageModel
from cloche.model.decoder import Decoder


def say_nothing(_message: str) -> None:
    """For whoever needs not be told."""


@dataclass(eq=False)
class Forwards:
    """Makes forwards for one model; its weights are packed once, at the first of them.

    `tell` hears what takes time, `warn` that writing will be slow, and why.
    """

    model: LanguageModel
    folder: Path = field(default_factory=default_folder)
    """Where compiled kernels are kept."""
    tell: Callable[[str], None] = say_nothing
    warn: Callable[[str], None] = say_nothing
    _packed: PackedModel | None = None
    _library: ctypes.CDLL | None = None
    _given_up: bool = False

    def make(self, *, rows: int, capacity: int) -> Forward:
        """A forward with so many rows of so many tokens."""
        packed = self.packed()
        if packed is None:
            if isinstance(self.model, Decoder) and serves_static(self.model):
                return StaticForward(self.model, rows=rows, capacity=capacity)
            return ModelForward(self.model, rows=rows, capacity=capacity)
        assert self._library is not None
        return NativeForward(self._library, packed, rows=rows, capacity=capacity)

    def packed(self) -> PackedModel | None:
        """The weights as the kernels read them; None where the kernels do not serve this model."""
        if self._given_up or self._packed is not None:
            return self._packed
        reason = unsupported(self.model)
        if reason is not None:
            self._given_up = True
            return None
        try:
            self._library = load_library(self.folder, tell=self.tell)
        except KernelError as exc:
            self._given_up = True
            self.warn(f"writing by PyTorch's own products, several times slower: {exc}")
            return None
        self._packed = PackedModel(self.model)
        return self._packed
