"""A GGUF file, as llama.cpp and Ollama use them, opened as a model of ours.

The file is mapped, not read: one tensor at a time becomes float32.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.weights.gguf_config import read_architecture, read_config
from cloche.weights.gguf_header import GGUFFile, open_gguf
from cloche.weights.gguf_names import HEAD, ROPE_FACTORS, Place, tensor_places
from cloche.weights.gguf_tensors import read_tensor
from cloche.weights.gguf_tokenizers import read_vocabulary
from cloche.weights.imported import Imported

_MOST_NAMED = 20


def import_gguf(path: Path) -> Imported:
    """The model in a GGUF file, with its tokenizer and its chat template.

    Architectures llama, qwen2, qwen3, qwen3moe and gpt2. Raises CheckpointError for a file that is
    damaged, and for what would be computed wrongly if it were overlooked.
    """
    file = open_gguf(path)
    architecture = read_architecture(file)
    config = read_config(file, architecture)
    places = tensor_places(config, architecture)
    model = _load(file, config, places)
    spoken = read_vocabulary(file, rows=config.vocab_size)
    main_type = Counter(place.type.name for place in file.tensors.values() if len(place.shape) > 1)
    kind = main_type.most_common(1)[0][0]
    return Imported(
        model=model,
        config=config,
        tokenizer=spoken.tokenizer,
        special_ids=spoken.special_ids,
        stop_ids=spoken.stop_ids,
        begins_with_bos=spoken.begins_with_bos,
        chat_template=spoken.chat_template,
        origin=f"GGUF file {path.name} ({architecture}, {kind})",
    )


def _load(file: GGUFFile, config: ModelConfig, places: list[Place]) -> LanguageModel:
    with torch.device("meta"):  # no memory and no random numbers for weights replaced below
        model = build_model(config)
    _check_fit(file, model.state_dict(), places)
    weights: dict[str, Tensor] = {}
    for place in places:
        parts = place.split(read_tensor(file, place.stored))
        for name, part in zip(place.names, parts, strict=True):
            # Of several in one tensor, each gets memory of its own.
            weights[name] = part.clone() if len(place.names) > 1 else part.contiguous()
    if config.tied:
        weights["lm_head.weight"] = weights["embed_tokens.weight"]
    model.load_state_dict(weights, assign=True)
    if isinstance(model, Decoder):
        model.tie_weights()
    return model.eval()


def _check_fit(file: GGUFFile, wanted: dict[str, Tensor], places: list[Place]) -> None:
    """CheckpointError naming every tensor that is missing, unknown or of another shape."""
    known = {place.stored for place in places}
    missing = [place.stored for place in places if place.stored not in file.tensors]
    ignored = {ROPE_FACTORS, HEAD}  # both were looked at with the keys
    unknown = [name for name in file.tensors if name not in known | ignored]
    shapes = []
    for place in places:
        if place.stored in file.tensors:
            found = file.tensors[place.stored].shape
            shape = tuple(place.join([wanted[name] for name in place.names]).shape)
            if found != shape:
                shapes.append(f"{place.stored} {found} instead of {shape}")
    told = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    found = [f"{what}: {_named(names)}" for what, names in told.items() if names]
    if found:
        raise CheckpointError(
            f"the tensors in {file.path} are not those of the model that its keys describe; "
            f"{'; '.join(found)}"
        )


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
