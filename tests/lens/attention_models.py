"""Tiny models with random weights to look into, over letters."""

from pathlib import Path

import torch

from cloche.generation.translating import Translator
from cloche.model.build import build_model, build_network
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.model.seq2seq import EncoderDecoder
from cloche.run import LM
from cloche.text.characters import CharacterTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz \n"
TEXT = "abcd abcd"


def tokenizer() -> CharacterTokenizer:
    return CharacterTokenizer(set(LETTERS))


def tiny_lm(folder: Path, *, layers: int = 2, context: int = 64, spare: int = 0, **options) -> LM:
    """A model in memory; `folder` is any, for its name. `spare` tokens are the model's alone."""
    letters = tokenizer()
    config = complete(
        ModelOptions(**options),
        vocab_size=letters.vocab_size + spare,
        layers=layers,
        width=16,
        context=context,
    )
    torch.manual_seed(0)
    return LM(build_model(config).eval(), letters, config, folder)


def tiny_translator(folder: Path, **options) -> Translator:
    letters = tokenizer()
    eos = letters.special_ids.eos
    bos = letters.special_ids.bos
    config = complete(
        ModelOptions(family="seq2seq", heads=2, **options),
        vocab_size=letters.vocab_size,
        layers=2,
        width=16,
        context=24,
    )
    torch.manual_seed(0)
    model = build_network(config).eval()
    assert isinstance(model, EncoderDecoder)
    return Translator(
        model, letters, config, folder, 0 if bos is None else bos, 1 if eos is None else eos
    )


FAMILIES = {
    "default": {"heads": 2},
    "grouped": {"heads": 4, "kv_heads": 2},
    "gpt": {"family": "gpt", "heads": 2},
    "windowed": {"heads": 2, "window": 3},
    "moe": {"family": "moe", "heads": 2, "experts": 4, "experts_used": 2},
}
"""Options of decoders that differ in what attention or MLP is made of."""
