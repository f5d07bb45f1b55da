"""A tiny model that speaks ChatML, and preferences for it."""

import json
import string
from pathlib import Path

import torch

from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.text.chat import preset
from cloche.text.extending import with_special_tokens
from cloche.weights.checkpoint import save_checkpoint

CHARACTERS = string.ascii_letters + " .?\n"
FRUITS = ("fig", "plum", "pear", "lime", "kiwi", "date", "nut", "leek", "corn", "rice")
SMALL = {
    "train.precision": "float32",
    "train.steps": 4,
    "train.batch": 4,
    "train.eval_every": 2,
    "train.sample_tokens": 4,
    "train.trackers": ("none",),
    "data.split": (0.6, 0.4),
    "align.answers": 0,
    "align.answer_tokens": 6,
    "align.context": 120,
}


def make_base(folder: Path, *, dropout: float = 0.0) -> Path:
    """A checkpoint of a model of two layers, untrained."""
    template = preset("chatml")
    tokenizer = with_special_tokens(
        CharacterTokenizer(set(CHARACTERS)), list(template.special_tokens())
    )
    config = complete(
        ModelOptions(dropout=dropout),
        vocab_size=tokenizer.vocab_size,
        layers=2,
        width=32,
        context=128,
    )
    model = build_model(config)
    torch.manual_seed(0)
    for weight in model.parameters():  # no head of zeros: adapters below it would learn nothing
        torch.nn.init.normal_(weight, std=0.2)
    save_checkpoint(
        folder,
        model=model,
        config=config,
        tokenizer=tokenizer,
        card="",
        chat_template=template.source,
        stop_ids=template.stop_ids(tokenizer),
    )
    return folder


def write_pairs(path: Path) -> Path:
    """Ten pairs: yes is better than no."""
    records = [
        {"prompt": f"do you like {fruit}?", "chosen": "yes i do.", "rejected": "no."}
        for fruit in FRUITS
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def write_votes(path: Path) -> Path:
    """Twenty votes on the same answers."""
    records = [
        {"prompt": f"do you like {fruit}?", "completion": answer, "label": answer != "no."}
        for fruit in FRUITS
        for answer in ("yes i do.", "no.")
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    return path
