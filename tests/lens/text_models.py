"""Tiny models for the views of texts."""

import io
import random
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from cloche.lens.rendering import render
from cloche.lens.view import View
from cloche.lens.wording import Language
from cloche.model.build import build_model
from cloche.model.config import Family, ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.tokenizer import Tokenizer


def random_lm(
    tokenizer: Tokenizer, folder: Path, *, family: Family = "qwen3", context: int = 16
) -> LM:
    """A model that has learned nothing; each with the same weights."""
    config = complete(
        ModelOptions(family=family),
        vocab_size=tokenizer.vocab_size,
        layers=1,
        width=32,
        context=context,
    )
    torch.manual_seed(0)
    model = build_model(config)
    with torch.no_grad():
        for parameter in model.parameters():  # far from equal probabilities
            parameter.mul_(6.0 if parameter.ndim > 1 else 1.0)
    return LM(model.eval(), tokenizer, config, folder)


def broken(lm: LM) -> LM:
    """The same model with weights that are no numbers."""
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.fill_(float("nan"))
    return lm


def random_text(characters: int, seed: int) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice("abcdefghijklmnop \n春眠不觉晓") for _ in range(characters))


def words_of(figure: Any) -> list[str]:
    """Everything that is written in a picture."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def printed(view: View, lang: Language = "en") -> str:
    """What a terminal of 120 columns shows of a view."""
    console = Console(width=120, file=io.StringIO())
    with console.capture() as found:
        console.print(render(view, lang=lang))
    return found.get()
