"""State dicts without a description: known by the names of their tensors.

The shapes tell everything but the number of heads. nanoGPT's training files say it beside the
weights (https://github.com/karpathy/nanoGPT); the GPT of the book "Build a Large Language Model
(From Scratch)" does not (https://github.com/rasbt/LLMs-from-scratch).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.config import ModelConfig
from cloche.weights.layouts.gpt2 import GPT2_NAMES, canonical_name, join_names, split_names
from cloche.weights.layouts.layout import HEAD, Names
from cloche.weights.layouts.values import Values
from cloche.weights.reading import Weights
from cloche.weights.tensors import StoredTensor, read_each

WRAPPERS = re.compile(r"(_orig_mod\.|module\.)+")
"""What torch.compile and DistributedDataParallel set before every name."""
USUAL_HEAD_DIM = 64
BOOK_TABLES = {
    "tok_emb.weight": "embed_tokens.weight",
    "pos_emb.weight": "embed_positions.weight",
    "final_norm.scale": "norm.weight",
    "final_norm.shift": "norm.bias",
    "out_head.weight": HEAD,
    "out_head.bias": "lm_head.bias",
}
BOOK_MODULES = {
    "att.W_query": "self_attn.q_proj",
    "att.W_key": "self_attn.k_proj",
    "att.W_value": "self_attn.v_proj",
    "att.out_proj": "self_attn.o_proj",
    "ff.layers.0": "mlp.up_proj",
    "ff.layers.2": "mlp.down_proj",
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
}
BOOK_KINDS = {"weight": "weight", "bias": "bias", "scale": "weight", "shift": "bias"}
BOOK_STORED = re.compile(r"trf_blocks\.(?P<layer>\d+)\.(?P<module>.+)\.(?P<kind>\w+)")
OURS = re.compile(r"layers\.(?P<layer>\d+)\.(?P<module>.+)\.(?P<kind>weight|bias)")


@dataclass(frozen=True)
class Recognised:
    """What a state dict is."""

    kind: str
    """`nanoGPT`, for the model's card."""
    config: ModelConfig
    names: Names
    heads_assumed: bool
    """Whether the number of heads is a guess, because nothing says it."""


def recognise(weights: Weights, beside: Mapping[str, Any], *, heads: int | None) -> Recognised:
    """What model the tensors are, by their names; `beside` is what lay beside the state dict.

    `heads` counts where the file itself does not say it; without it, heads are 64 wide. Raises
    CheckpointError for a state dict of unknown names.
    """
    shapes = {
        WRAPPERS.sub("", name, count=1) if WRAPPERS.match(name) else name: header.shape
        for name, header in weights.headers.items()
    }
    bare = {name.removeprefix("transformer."): shape for name, shape in shapes.items()}
    joined = bare.get("h.0.attn.c_attn.weight", ())
    try:
        if "trf_blocks.0.att.W_query.weight" in shapes:
            return _book(shapes, heads=heads)
        if len(joined) == 2 and "wte.weight" in bare:
            return _gpt2(weights, bare, beside, heads=heads)
    except (KeyError, IndexError, ValueError) as exc:
        raise CheckpointError(
            f"{weights.source} is not whole: a tensor is missing, or of an odd shape ({exc})"
        ) from exc
    first = ", ".join(list(shapes)[:5])
    raise CheckpointError(
        f"{weights.source} holds a state dict that cloche does not know; its first tensors are "
        f"{first:.300}. Known are nanoGPT's, GPT-2's and that of the book LLMs-from-scratch; for "
        "any other give a Hugging Face folder with its config.json"
    )


def _gpt2(
    weights: Weights,
    shapes: Mapping[str, tuple[int, ...]],
    beside: Mapping[str, Any],
    *,
    heads: int | None,
) -> Recognised:
    """nanoGPT's own, or GPT-2's state dict from transformers, whose matrices are transposed."""
    vocab_size, width = shapes["wte.weight"]
    transposed = shapes["h.0.attn.c_attn.weight"] == (width, 3 * width)
    given = beside.get("model_args")
    arguments = Values(given if isinstance(given, dict) else {}, name="model_args")
    if arguments.given("n_head"):
        heads = arguments.count("n_head")
    biased = "h.0.attn.c_attn.bias" in shapes
    config = _gpt(
        width=width,
        heads=heads,
        vocab_size=vocab_size,
        context=shapes["wpe.weight"][0],
        layers=_layers(shapes, r"h\.(\d+)\."),
        mlp_width=shapes["h.0.mlp.c_fc.weight"][1 if transposed else 0],
        activation="gelu_tanh" if transposed else "gelu",
        dropout=arguments.number("dropout", 0.0),
        tied=_is_tied(weights),
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=biased,
    )
    if transposed:
        return Recognised("GPT-2", config, _unwrapped(GPT2_NAMES), heads is None)
    return Recognised("nanoGPT", config, NANOGPT_NAMES, heads is None)


def _book(shapes: Mapping[str, tuple[int, ...]], *, heads: int | None) -> Recognised:
    vocab_size, width = shapes["tok_emb.weight"]
    config = _gpt(
        width=width,
        heads=heads,
        vocab_size=vocab_size,
        context=shapes["pos_emb.weight"][0],
        layers=_layers(shapes, r"trf_blocks\.(\d+)\."),
        mlp_width=shapes["trf_blocks.0.ff.layers.0.weight"][0],
        activation="gelu_tanh",
        qkv_bias="trf_blocks.0.att.W_query.bias" in shapes,
        output_bias=True,
        mlp_bias=True,
        head_bias="out_head.bias" in shapes,
    )
    return Recognised("LLMs-from-scratch", config, BOOK_NAMES, heads is None)


def _gpt(*, width: int, heads: int | None, **others: Any) -> ModelConfig:
    count = max(1, width // USUAL_HEAD_DIM) if heads is None else heads
    if width % count:
        raise CheckpointError(
            f"{count} heads do not share the width {width} without rest: name the right number "
            "with --heads"
        )
    return ModelConfig(
        family="gpt",
        width=width,
        heads=count,
        kv_heads=count,
        head_dim=width // count,
        norm="layernorm",
        norm_eps=1e-5,
        positions="learned",
        qk_norm=False,
        **others,
    )


def _layers(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    return 1 + max(int(match[1]) for name in shapes if (match := re.match(pattern, name)))


def _is_tied(weights: Weights) -> bool:
    """Whether the head is the embedding: not stored, or equal to it."""
    both: dict[str, StoredTensor] = {}
    for name, header in weights.headers.items():
        for part in (HEAD, "wte.weight"):
            if name.endswith(part):
                both[part] = header
    if len(both) < 2:
        return True
    first, second = (tensor for _, tensor in read_each(both.values()))
    return first.shape == second.shape and torch.equal(first, second)


def _unwrapped(names: Names) -> Names:
    """The same names, without what wrappers set before them."""

    def canonical(name: str) -> str | None:
        match = WRAPPERS.match(name)
        return names.canonical(name[match.end() :] if match else name)

    return Names(
        embedding=names.embedding,
        canonical=canonical,
        to_stored=names.to_stored,
        from_stored=names.from_stored,
    )


def _nanogpt_to_stored(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Without biases, nanoGPT's norms have none either; ours have zeros there."""
    return {
        name: tensor
        for name, tensor in join_names(tensors, config).items()
        if config.mlp_bias or not name.endswith(".bias")
    }


def _book_canonical(name: str) -> str | None:
    return None if name.endswith(".att.mask") else name


def _book_to_stored(tensors: Mapping[str, Tensor], _config: ModelConfig) -> dict[str, Tensor]:
    tables = {ours: theirs for theirs, ours in BOOK_TABLES.items()}
    modules = {ours: theirs for theirs, ours in BOOK_MODULES.items()}
    stored = {}
    for name, tensor in tensors.items():
        match = OURS.fullmatch(name)
        if match is None:
            stored[tables[name]] = tensor
            continue
        kind = match["kind"]
        if "norm" in match["module"]:
            kind = "scale" if kind == "weight" else "shift"
        stored[f"trf_blocks.{match['layer']}.{modules[match['module']]}.{kind}"] = tensor
    return stored


def _book_from_stored(name: str, tensor: Tensor) -> dict[str, Tensor]:
    match = BOOK_STORED.fullmatch(name)
    if match is None:
        return {BOOK_TABLES[name]: tensor}
    module, kind = BOOK_MODULES[match["module"]], BOOK_KINDS[match["kind"]]
    return {f"layers.{match['layer']}.{module}.{kind}": tensor}


NANOGPT_NAMES = _unwrapped(
    Names(
        embedding=GPT2_NAMES.embedding,
        canonical=canonical_name,
        to_stored=_nanogpt_to_stored,
        from_stored=split_names,
    )
)
BOOK_NAMES = _unwrapped(
    Names(
        embedding="tok_emb.weight",
        canonical=_book_canonical,
        to_stored=_book_to_stored,
        from_stored=_book_from_stored,
    )
)
