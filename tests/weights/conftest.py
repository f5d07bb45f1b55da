"""Tiny models, tokenizers and runs to save, damage and load."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.hub import open_hub_tokenizer
from cloche.text.tokenizer import Tokenizer
from cloche.weights.checkpoint import TrainerState, save_checkpoint
from cloche.weights.layouts.llama import QWEN2_PATTERN

TEXT = "It was the best of times,\n  it was the worst of times; 春眠不觉晓 😀 e\u0301.\n"


@pytest.fixture(params=["characters", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Each kind of tokenizer in turn, made from TEXT."""
    if request.param == "characters":
        return CharacterTokenizer(set(TEXT))
    return train_bpe([TEXT * 20], vocab_size=300, rule="gpt-2")


@pytest.fixture
def characters() -> Tokenizer:
    """One tokenizer where the kind makes no difference."""
    return CharacterTokenizer(set(TEXT))


@pytest.fixture
def qwen2s_tokenizer(tmp_path: Path) -> Tokenizer:
    """A tokenizer that normalizes and splits text as Qwen2's does."""
    folder = tmp_path / "qwen2s"
    train_bpe([TEXT * 20], vocab_size=300, rule="gpt-2").save(folder)
    path = folder / "tokenizer.json"
    split = {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated"}
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    parts = [split | {"invert": False}, to_bytes | {"use_regex": False}]
    changed = {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts},
        "normalizer": {"type": "NFC"},
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return open_hub_tokenizer(folder)


@pytest.fixture
def gpt2_ranks() -> None:
    """Skips the test where the ranks of gpt2 are not at hand."""
    if "TIKTOKEN_CACHE_DIR" not in os.environ:
        pytest.skip("TIKTOKEN_CACHE_DIR does not name a folder with the published ranks")


@pytest.fixture
def tiny() -> Callable[..., tuple[LanguageModel, ModelConfig]]:
    """Builds a tiny random model for a vocabulary size and options."""

    def build(
        vocab_size: int, options: ModelOptions | None = None, *, seed: int = 0
    ) -> tuple[LanguageModel, ModelConfig]:
        config = complete(
            options or ModelOptions(), vocab_size=vocab_size, layers=2, width=32, context=16
        )
        torch.manual_seed(seed)
        return build_model(config).eval(), config

    return build


@pytest.fixture
def save(tiny, characters) -> Callable[..., Path]:
    """Saves a tiny checkpoint (weights from `seed`) and returns its folder."""

    def write(folder: Path, *, seed: int = 0, options: ModelOptions | None = None) -> Path:
        model, config = tiny(characters.vocab_size, options, seed=seed)
        state = TrainerState({"momentum.layers.0": torch.arange(5.0)}, {"step": seed, "best": 0.1})
        save_checkpoint(
            folder, model=model, config=config, tokenizer=characters, trainer=state, card="# Tiny\n"
        )
        return folder

    return write


@pytest.fixture
def run(tmp_path, save) -> Path:
    """A run with the checkpoints of steps 1, 2 and 3, their weights from seeds 1, 2 and 3."""
    for step in (1, 2, 3):
        save(tmp_path / "book" / "checkpoints" / f"step-{step:06}", seed=step)
    return tmp_path / "book"
