"""cloche grows a language model under glass: from any text to a GPT of one's own.

The public names are loaded when they are first used, so that `import cloche` takes no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloche.alignment.dpo import align_dpo
    from cloche.alignment.grpo import align_grpo
    from cloche.alignment.ppo import align_ppo
    from cloche.alignment.reward_model import align_reward, score_answers
    from cloche.errors import ClocheError
    from cloche.evaluation.translation import load_translator
    from cloche.generation.translating import Translator
    from cloche.image.drawing import draw_image
    from cloche.image.options import DrawingOptions
    from cloche.run import LM, load
    from cloche.training.start import TrainedRun, train
    from cloche.tuning.classify import classify, tune_classify
    from cloche.tuning.continued import tune_on_text
    from cloche.tuning.start import tune

__all__ = [
    "LM",
    "ClocheError",
    "DrawingOptions",
    "TrainedRun",
    "Translator",
    "align_dpo",
    "align_grpo",
    "align_ppo",
    "align_reward",
    "classify",
    "draw_image",
    "load",
    "load_translator",
    "score_answers",
    "train",
    "tune",
    "tune_classify",
    "tune_on_text",
]

_PLACES = {
    "ClocheError": "cloche.errors",
    "DrawingOptions": "cloche.image.options",
    "LM": "cloche.run",
    "Translator": "cloche.generation.translating",
    "align_dpo": "cloche.alignment.dpo",
    "align_grpo": "cloche.alignment.grpo",
    "align_ppo": "cloche.alignment.ppo",
    "align_reward": "cloche.alignment.reward_model",
    "classify": "cloche.tuning.classify",
    "draw_image": "cloche.image.drawing",
    "load": "cloche.run",
    "load_translator": "cloche.evaluation.translation",
    "score_answers": "cloche.alignment.reward_model",
    "TrainedRun": "cloche.training.start",
    "train": "cloche.training.start",
    "tune": "cloche.tuning.start",
    "tune_classify": "cloche.tuning.classify",
    "tune_on_text": "cloche.tuning.continued",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cloche' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
