"""Tiny models in memory, with characters for tokens, for the views of weights."""

import io
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from cloche.lens.rendering import render
from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.characters import CharacterTokenizer

LETTERS = "abcdefgh \n"


def tiny_config(family: Any = "qwen3", **options: Any) -> ModelConfig:
    """Two layers of width 16 that read 24 tokens."""
    given = ModelOptions(family=family, **options)
    size = CharacterTokenizer(set(LETTERS)).vocab_size
    width, layers = options.get("width", 16), options.get("layers", 2)
    return complete(given, vocab_size=size, layers=layers, width=width, context=24)


def tiny_lm(folder: Path, config: ModelConfig | None = None, *, letters: str = LETTERS) -> LM:
    """A model with its weights drawn by a fixed seed, and no folder of weights."""
    config = tiny_config() if config is None else config
    torch.manual_seed(3)
    model = build_model(config).eval()
    return LM(model, CharacterTokenizer(set(letters)), config, folder)


def printed(view: Any, *, lang: Any = "en", width: int = 100) -> str:
    """What a view prints in a terminal so wide."""
    out = io.StringIO()
    Console(file=out, width=width).print(render(view, lang=lang))
    return out.getvalue()
