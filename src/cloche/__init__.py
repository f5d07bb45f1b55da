"""cloche grows a language model under glass: from any text to a GPT of one's own.

The public names are loaded when they are first used, so that `import cloche` takes no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloche.errors import ClocheError
    from cloche.evaluation.translation import load_translator
    from cloche.generation.translating import Translator
    from cloche.run import LM, load
    from cloche.training.start import TrainedRun, train
    from cloche.tuning.continued import tune_on_text
    from cloche.tuning.start import tune

__all__ = [
    "LM",
    "ClocheError",
    "TrainedRun",
    "Translator",
    "load",
    "load_translator",
    "train",
    "tune",
    "tune_on_text",
]

_PLACES = {
    "ClocheError": "cloche.errors",
    "LM": "cloche.run",
    "Translator": "cloche.generation.translating",
    "load": "cloche.run",
    "load_translator": "cloche.evaluation.translation",
    "TrainedRun": "cloche.training.start",
    "train": "cloche.training.start",
    "tune": "cloche.tuning.start",
    "tune_on_text": "cloche.tuning.continued",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cloche' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
