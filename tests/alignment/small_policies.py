"""A tiny model to align, prompts for it, and runs of it that are compared byte by byte."""

import json
from pathlib import Path

from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.text.tokenizer import Tokenizer
from cloche.weights.checkpoint import save_checkpoint

LETTERS = "abcdefgh"
OTHERS = "HelloGood dayFarewell"
"""What templates are tried with."""
PLAIN = """\
{%- for message in messages -%}
{{- message.content -}}
{%- if message.role == 'assistant' -%}{{- '<|endoftext|>' -}}{%- endif -%}
{%- endfor -%}
"""
"""A template that adds nothing but what ends an answer."""
QUICK = {
    "rollout.prompts": 4,
    "rollout.max_tokens": 5,
    "rollout.held_out": 4,
    "train.learning_rate": 0.02,
    "train.precision": "float32",
    "train.trackers": (),
    "train.sample_tokens": 4,
}


def small_model(*, seed: int = 0, dropout: float = 0.1) -> tuple[Decoder, ModelConfig, Tokenizer]:
    """A decoder of two thin layers over a few letters."""
    tokenizer = CharacterTokenizer(LETTERS + OTHERS)
    options = ModelOptions(layers=2, width=16, heads=2, context=32, dropout=dropout)
    config = complete(options, vocab_size=tokenizer.vocab_size, layers=2, width=16, context=32)
    model = build_model(config)
    assert isinstance(model, Decoder)
    initialise(model, seed=seed)
    return model, config, tokenizer


def make_base(folder: Path, *, seed: int = 0) -> Path:
    """A checkpoint of it that has a chat template."""
    model, config, tokenizer = small_model(seed=seed)
    save_checkpoint(
        folder, model=model, config=config, tokenizer=tokenizer, card="", chat_template=PLAIN
    )
    return folder


def make_prompts(path: Path, *, count: int = 12) -> Path:
    """Prompts of a few letters, each with a right answer."""
    rows = [
        {"prompt": "".join(LETTERS[(n * k) % 8] for k in (1, 3, 5)), "answer": "aaaaa"}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def files_of(checkpoint: Path) -> dict[str, bytes]:
    """All files of a checkpoint but what tells the time."""
    found = {
        str(path.relative_to(checkpoint)): path.read_bytes()
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    name = "trainer/state.json"
    values = json.loads(found[name])
    values["loop"].pop("seconds")
    return {**found, name: json.dumps(values, sort_keys=True).encode()}
