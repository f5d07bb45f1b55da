"""What the model sees, at any checkpoint: views of real numbers, to read, to draw, to keep as JSON.

`cloche.lens.see_attention(lm, text)` and its siblings give a `View`; `draw` makes a picture of it,
`render` something for the terminal. The names are loaded when they are first used.
"""

import importlib
from typing import Any

_PLACES = {
    "animate": "cloche.lens.over_time_animation",
    "draw": "cloche.lens.drawing",
    "read_once": "cloche.lens.capture",
    "render": "cloche.lens.rendering",
    "see_attention": "cloche.lens.attention",
    "see_embeddings": "cloche.lens.embeddings",
    "see_memory": "cloche.lens.memory",
    "see_next_token": "cloche.lens.next_token",
    "see_over_time": "cloche.lens.over_time",
    "see_parameters": "cloche.lens.parameters",
    "see_positions": "cloche.lens.positions",
    "see_residual": "cloche.lens.residual",
    "see_tokens": "cloche.lens.tokens",
    "see_training": "cloche.lens.training",
    "see_translation_attention": "cloche.lens.attention_translation",
    "see_two": "cloche.lens.two",
    "see_windows": "cloche.lens.windows",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cloche.lens' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
