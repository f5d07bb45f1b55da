"""A tiny model that was pretrained on nothing, records to tune it on, and quick options."""

import json
from pathlib import Path

import torch

from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import save_checkpoint

CHARACTERS = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.?!,:'#\n"
QUICK = {
    "train.precision": "float32",
    "train.steps": 6,
    "train.batch": 4,
    "train.eval_every": 2,
    "train.sample_tokens": 3,
    "train.trackers": ("none",),
    "data.split": (0.7, 0.3),
}


def make_base(folder: Path, *, seed: int = 0, dropout: float = 0.1, width: int = 32) -> Path:
    """A checkpoint of a model of two layers, which knows no chat tokens."""
    tokenizer = CharacterTokenizer(set(CHARACTERS))
    options = ModelOptions(dropout=dropout)
    config = complete(options, vocab_size=tokenizer.vocab_size, layers=2, width=width, context=256)
    model = build_model(config)
    initialise(model, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and not weight.any():  # adapters below zeros would learn nothing
            torch.nn.init.normal_(weight, std=0.05, generator=generator)
        assert weight.any(), name
    save_checkpoint(folder, model=model, config=config, tokenizer=tokenizer, card="")
    return folder


def write_records(path: Path, count: int = 20) -> Path:
    """Alpaca records: of a fruit a is red, b is green."""
    fruits = ("fig", "plum", "pear", "lime", "kiwi", "date", "nut", "leek", "corn", "rice")
    records = [
        {
            "instruction": f"what colour has {fruits[n // 2 % 10]} {'ab'[n % 2]}?",
            "input": "",
            "output": "green." if n % 2 else "red.",
        }
        for n in range(count)
    ]
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def bytes_of(run: Path, *names: str) -> dict[str, int]:
    """The contents of files of the latest checkpoint, as hashes."""
    return {name: hash((run / "latest" / name).read_bytes()) for name in names}
