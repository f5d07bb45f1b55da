"""Models for `bad_input.py`: tiny, made from a seed, and broken in one way each."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bad_input_cases import TEXT, Preparation, run_cloche
from safetensors.torch import load_file, save_file
from torch import Tensor

from cloche.model.build import build_model, build_network
from cloche.model.config import Family, ModelOptions
from cloche.model.presets import complete
from cloche.text.bpe import train_bpe
from cloche.text.tokenizer import Tokenizer
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.gguf_writing import export_gguf
from cloche.weights.manifest import MANIFEST

VOCABULARY = 320
WIDTH = 256  # what a block of llama.cpp's smallest types takes
WEIGHTS = "model/model.safetensors"
INDEX = "model/model.safetensors.index.json"
IQ2_XXS = 16
Change = Callable[[dict[str, Tensor]], None]


def spoken() -> Tokenizer:
    """A byte-level BPE of few tokens."""
    return train_bpe([TEXT], vocab_size=VOCABULARY, rule="gpt-2")


def saved(
    name: str, family: Family = "llama", *, tokenizer: Tokenizer | None = None, rows: int = 0
) -> Preparation:
    """A model that cloche has written; its embedding has `rows`, one for each token if 0."""

    def prepare(folder: Path) -> None:
        known = tokenizer or spoken()
        config = complete(
            ModelOptions(family=family, heads=None if family == "bigram" else 4),
            vocab_size=rows or known.vocab_size,
            layers=1,
            width=WIDTH,
            context=64,
        )
        torch.manual_seed(0)
        save_checkpoint(
            folder / name,
            model=build_network(config),
            config=config,
            tokenizer=known,
            card="# A model\n",
        )

    return prepare


def foreign(family: Family = "llama", *, tied: bool = False, rows: int = 0) -> Preparation:
    """The same without what cloche alone writes: as it comes from anywhere else."""

    def prepare(folder: Path) -> None:
        saved("model", family, rows=rows)(folder)
        (folder / "model" / MANIFEST).unlink()
        values: dict[str, Any] = {"cloche_tokenizer": None}
        described(**values | ({"tie_word_embeddings": True} if tied else {}))(folder)

    return prepare


def described(**changes: Any) -> Preparation:
    """Other values in config.json; None takes one out."""

    def prepare(folder: Path) -> None:
        path = folder / "model/config.json"
        values = json.loads(path.read_text()) | changes
        kept = {name: value for name, value in values.items() if value is not None}
        path.write_text(json.dumps(kept, indent=2))

    return prepare


def changed(change: Change, *, tied: bool = False) -> Preparation:
    """A foreign model whose tensors are changed."""

    def prepare(folder: Path) -> None:
        foreign(tied=tied)(folder)
        tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
        change(tensors)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return prepare


def lose_and_add(tensors: dict[str, Tensor]) -> None:
    """Two tensors missing, two that no model has."""
    del tensors["model.norm.weight"], tensors["model.layers.0.mlp.up_proj.weight"]
    tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(2, 2)
    tensors["adapter.weight"] = torch.zeros(2)


def reshape(tensors: dict[str, Tensor]) -> None:
    """Two tensors of another shape."""
    tensors["model.norm.weight"] = torch.ones(WIDTH - 1)
    name = "model.layers.0.self_attn.q_proj.weight"
    tensors[name] = torch.zeros(WIDTH, WIDTH + 1)


def untie(tensors: dict[str, Tensor]) -> None:
    """A head that is not the embedding."""
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1.0


def spoil(tensors: dict[str, Tensor]) -> None:
    """A NaN in one tensor, an infinity in another."""
    tensors["model.norm.weight"][3] = float("nan")
    tensors["lm_head.weight"][0, 0] = float("inf")


def shard(name: str) -> Preparation:
    """A foreign model whose weights lie outside its folder, and an index that says `name`."""

    def prepare(folder: Path) -> None:
        foreign()(folder)
        tensors = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).rename(folder / "secret.safetensors")
        index = {"weight_map": dict.fromkeys(tensors, name)}
        (folder / INDEX).write_text(json.dumps(index))

    return prepare


def linked(folder: Path) -> None:
    """An index with a decent name, which is a link out of the folder."""
    shard("model-00001-of-00001.safetensors")(folder)
    link = folder / "model/model-00001-of-00001.safetensors"
    link.symlink_to("../secret.safetensors")


def gguf(change: Callable[[bytes], bytes] = bytes) -> Preparation:
    """A GGUF file, its bytes changed."""

    def prepare(folder: Path) -> None:
        known = spoken()
        config = complete(
            ModelOptions(family="llama", heads=4),
            vocab_size=known.vocab_size,
            layers=1,
            width=WIDTH,
            context=64,
        )
        torch.manual_seed(0)
        path = folder / "model.gguf"
        export_gguf(
            path,
            model=build_model(config),
            config=config,
            tokenizer=known,
            special_ids=known.special_ids,
        )
        path.with_suffix(".Modelfile").unlink()
        path.write_bytes(change(path.read_bytes()))

    return prepare


def as_iq2(content: bytes) -> bytes:
    """The file with one tensor said to be of a type that is not read."""
    name = b"blk.0.ffn_up.weight"
    at = content.index(name) + len(name) + 4 + 2 * 8
    return content[:at] + struct.pack("<I", IQ2_XXS) + content[at + 4 :]


class Malice:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran-by-the-pickle",)


def innocent(folder: Path) -> None:
    """A state dict as torch saves it."""
    torch.save({"tok_emb.weight": torch.zeros(4, 4)}, folder / "model.pt")


def malicious(folder: Path) -> None:
    """A training's file as torch saves it, with a command in it."""
    torch.save(
        {"model": {"wte.weight": torch.zeros(4, 4)}, "config": Malice()}, folder / "model.pt"
    )


def malicious_and_bare(folder: Path) -> None:
    """A plain pickle with a command in it, under the name of a model folder's weights."""
    foreign()(folder)
    (folder / WEIGHTS).unlink()
    (folder / "model/pytorch_model.bin").write_bytes(pickle.dumps(Malice()))


def stopped(signal: str, pattern: str) -> str:
    """What the shell does so that the command gets a signal once a file of that name is there."""
    watch = f"until ls -d {pattern} >/dev/null 2>&1; do sleep 0.02; done; kill -{signal} $$"
    return f"({watch}) & exec "


def killed(command: str, pattern: str) -> Preparation:
    """The same command, killed in the middle."""

    def prepare(folder: Path) -> None:
        run_cloche(command, folder, shell=stopped("KILL", pattern))

    return prepare
