"""The parts of the course, in their order."""

from collections.abc import Mapping

from cloche.lessons.lesson import Part
from cloche.lessons.phrases import Phrase

PARTS: Mapping[Part, Phrase] = {
    "text": {"en": "Text and numbers", "zh": "文本与数字"},
    "attention": {"en": "Attention", "zh": "注意力"},
    "model": {"en": "The model", "zh": "模型"},
    "training": {"en": "Training", "zh": "训练"},
    "writing": {"en": "Writing", "zh": "生成"},
    "tuning": {"en": "Tuning, preferences, prompts", "zh": "微调、偏好与提示"},
    "world": {"en": "Sizes, costs, speed", "zh": "规模、成本与速度"},
}
