"""Tiny runs to write with: one whose text is known, one with random weights."""

from collections.abc import Collection
from pathlib import Path

import pytest
import torch

from cloche.model.bigram import Bigram
from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.history import point

STORY = "once up."
"""What the writing run tells: its characters are distinct, so a table can tell them in order."""


def save_run(
    run: Path, model: LanguageModel, config: ModelConfig, tokenizer: CharacterTokenizer
) -> Path:
    checkpoint = run / "checkpoints" / "step-000001"
    checkpoint.parent.mkdir(parents=True)
    save_checkpoint(checkpoint, model=model, config=config, tokenizer=tokenizer, card="")
    point(run, "best", checkpoint)
    return run


def story_run(folder: Path, characters: Collection[str]) -> Path:
    """A run that tells STORY from wherever the prompt leaves it, then ends."""
    tokenizer = CharacterTokenizer({*STORY, *characters})
    config = complete(
        ModelOptions(family="bigram"),
        vocab_size=tokenizer.vocab_size,
        layers=1,
        width=1,
        context=20,
    )
    model = build_model(config)
    assert isinstance(model, Bigram)
    story = tokenizer.encode(STORY)
    end = tokenizer.special_ids.eos
    assert end is not None
    with torch.no_grad():
        model.embed_tokens.weight.zero_()
        model.embed_tokens.weight[:, story[0]] = 40.0
        for now, following in zip(story, [*story[1:], end], strict=True):
            model.embed_tokens.weight[now, following] = 80.0
    return save_run(folder, model, config, tokenizer)


@pytest.fixture
def writing_run(tmp_path) -> Path:
    return story_run(tmp_path / "writing", "\n?")


@pytest.fixture
def run_without_newline(tmp_path) -> Path:
    return story_run(tmp_path / "flat", "?")


@pytest.fixture
def random_run(tmp_path) -> Path:
    tokenizer = CharacterTokenizer(set("abcdefghijklmnop \n"))
    config = complete(
        ModelOptions(), vocab_size=tokenizer.vocab_size, layers=1, width=32, context=16
    )
    torch.manual_seed(0)
    return save_run(tmp_path / "random", build_model(config), config, tokenizer)


@pytest.fixture
def run_of_other_characters(tmp_path) -> Path:
    tokenizer = CharacterTokenizer(set("xyz"))
    size = tokenizer.vocab_size
    config = complete(ModelOptions(), vocab_size=size, layers=1, width=32, context=16)
    torch.manual_seed(0)
    return save_run(tmp_path / "other", build_model(config), config, tokenizer)
