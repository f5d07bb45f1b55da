"""Models with random weights, for who has none: how fast one writes hangs on its shape alone.

    python -m cloche.bench.generating_model

makes the model that a line of JSON names, in a process of its own: the one that starts the sides
is to load no torch.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from cloche.bench.processes import Answer, answer_on_standard_output
from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.planning.flops import parameter_count
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import save_checkpoint

_FIRST_CHARACTER = 0x4E00  # and the ideographs after it: they are all characters of their own


def shapes() -> Mapping[str, ModelConfig]:
    """The models by name: SmolLM2-135M, and nanoGPT's size for Tiny Shakespeare as cloche's own."""
    smol = ModelOptions(
        family="llama", heads=9, kv_heads=3, mlp_width=1536, tied=True, rope_theta=100_000.0
    )
    own = ModelOptions(heads=6)
    return {
        "135M": complete(smol, vocab_size=49_152, layers=30, width=576, context=8192),
        "10M": complete(own, vocab_size=66, layers=6, width=384, context=256),
    }


def make_model(folder: Path, config: ModelConfig) -> None:
    """Write a checkpoint of that shape, with a tokenizer of as many characters.

    Raises CheckpointError where the disk refuses.
    """
    model = build_model(config)
    initialise(model, seed=0)
    # its end-of-text token is the last of them
    characters = [chr(_FIRST_CHARACTER + number) for number in range(config.vocab_size - 1)]
    save_checkpoint(
        folder,
        model=model,
        config=config,
        tokenizer=CharacterTokenizer(characters),
        card="# Random weights\n\nFor `cloche bench generate`. This model has learned nothing.\n",
    )


def serve(requests: Iterator[str], answer: Answer) -> None:
    """Make the model that the first line asks for."""
    request = json.loads(next(requests))
    config = shapes()[request["shape"]]
    make_model(Path(request["folder"]), config)
    answer({"parameters": parameter_count(config)})


if __name__ == "__main__":
    answer_on_standard_output(serve)
