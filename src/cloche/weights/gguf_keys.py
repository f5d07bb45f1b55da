"""The keys of a GGUF file that belong to its architecture, each asked for by name and checked."""

import math
from typing import Any

import numpy as np

from cloche.errors import CheckpointError
from cloche.weights.gguf_header import GGUFFile
from cloche.weights.gguf_names import Architecture

LARGEST = 2**24
"""No length in a model comes near; products of them stay within 64 bits."""
SAYS_NOTHING = ("vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "pooling_type")
"""Keys that change nothing of what a model computes."""


class Keys:
    """The keys of one architecture; it remembers which were asked for."""

    def __init__(self, file: GGUFFile, architecture: Architecture) -> None:
        self._file = file
        self._prefix = f"{architecture}."
        self._asked: set[str] = set()

    def whole(self, name: str, default: int | None = None) -> int:
        """A number from 1 on. Where it is given for each block, it must be the same in all."""
        value = self._given(name, default)
        if isinstance(value, np.ndarray) and len(set(value.tolist())) == 1:
            value = value.tolist()[0]
        if isinstance(value, np.ndarray):
            raise CheckpointError(
                f"{self._file.path}: {self._prefix}{name} differs from block to block; cloche has "
                f"models of equal blocks only"
            )
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
            raise self._unusable(name, value)
        return value

    def real(self, name: str, default: float | None = None) -> float:
        """A positive number, with the digits that a person would have written."""
        value = self._given(name, default)
        if not isinstance(value, float) or not (math.isfinite(value) and value > 0):
            raise self._unusable(name, value)
        return float(str(np.float32(value)))  # 1e-06, not 9.999999974752427e-07

    def text(self, name: str, default: str) -> str:
        """A text."""
        value = self._given(name, default)
        if not isinstance(value, str):
            raise self._unusable(name, value)
        return value

    def refuse(self, name: str, value: object) -> CheckpointError:
        """The error for a value that is understood, and that we have no part for."""
        return CheckpointError(
            f"{self._file.path} asks for {self._prefix}{name} = {value}; cloche has no such part"
        )

    def check_rest(self) -> None:
        """CheckpointError naming the keys that nobody asked for and that say something."""
        rest = {
            key: value
            for key, value in self._file.values.items()
            if key.startswith(self._prefix)
            and key.removeprefix(self._prefix) not in (*SAYS_NOTHING, *self._asked)
        }
        meant = [
            f"{key} = {str(value)[:40]}" for key, value in rest.items() if _matters(key, value)
        ]
        if meant:
            raise CheckpointError(
                f"{self._file.path} asks for {', '.join(meant[:20])}; cloche has no such part, and "
                f"without it the model would compute something else"
            )

    def _given(self, name: str, default: Any) -> Any:
        self._asked.add(name)
        value = self._file.values.get(self._prefix + name, default)
        if value is None:
            raise CheckpointError(f"{self._file.path} is not whole: it lacks {self._prefix}{name}")
        return value

    def _unusable(self, name: str, value: object) -> CheckpointError:
        return CheckpointError(
            f"{self._file.path} is damaged: {self._prefix}{name} is {str(value)[:40]}"
        )


def _matters(key: str, value: Any) -> bool:
    """Whether a key that nobody asked for changes what is computed: not where it says no."""
    if key.endswith("attention.causal"):
        return value is not True
    return bool(value.any()) if isinstance(value, np.ndarray) else bool(value)
