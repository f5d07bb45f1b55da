"""GPT-2, as OpenAI's weights lie on model hubs: transposed matrices, queries, keys, values in one.

Source: https://huggingface.co/docs/transformers/model_doc/gpt2, whose `Conv1D` holds a matrix as
(inputs, outputs) where `nn.Linear` holds (outputs, inputs).
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cloche.model.config import Activation, ModelConfig
from cloche.weights.layouts.layout import Layout, Names, untied
from cloche.weights.layouts.values import Values

PREFIX = "transformer."
ACTIVATIONS: dict[Activation, str] = {
    "gelu_tanh": "gelu_new",
    "gelu": "gelu",
    "relu": "relu",
    "relu_squared": "relu2",
}
OTHER_SPELLINGS: dict[str, Activation] = {
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}
TABLES = {
    "wte.weight": "embed_tokens.weight",
    "wpe.weight": "embed_positions.weight",
    "ln_f.weight": "norm.weight",
    "ln_f.bias": "norm.bias",
}
MODULES = {
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
    "attn.c_proj": "self_attn.o_proj",
    "mlp.c_fc": "mlp.up_proj",
    "mlp.c_proj": "mlp.down_proj",
}
JOINED = "attn.c_attn"
PARTS = tuple(f"self_attn.{part}_proj" for part in "qkv")
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
STORED = re.compile(r"h\.(?P<layer>\d+)\.(?P<module>.+)\.(?P<kind>weight|bias)")
OURS = re.compile(r"layers\.(?P<layer>\d+)\.(?P<module>.+)\.(?P<kind>weight|bias)")


def _obstacles(config: ModelConfig) -> list[str]:
    biased = config.qkv_bias and config.output_bias and config.mlp_bias
    found = {
        f"the norm {config.norm}": config.norm != "layernorm",
        f"{config.positions} positions": config.positions != "learned",
        f"an MLP with {config.activation}": config.activation not in ACTIVATIONS,
        "normalised queries and keys": config.qk_norm,
        "attention or MLP without biases": not biased,
        "a bias of the output head": config.head_bias,
        "fewer key and value heads than query heads": config.kv_heads != config.heads,
        "heads that do not share the width without rest": (
            config.heads * config.head_dim != config.width
        ),
        "a window": config.window is not None or config.full_layers > 0,
        "experts": config.experts > 0,
    }
    return [what for what, stands in found.items() if stands]


def _to_values(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.mlp_width,
        "activation_function": ACTIVATIONS[config.activation],
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "scale_attn_weights": True,
        "tie_word_embeddings": config.tied,
        "use_cache": True,
    }


def _from_values(values: Values) -> ModelConfig:
    _refuse_unknown(values)
    named: dict[str, Activation] = {name: kind for kind, name in ACTIVATIONS.items()}
    named |= OTHER_SPELLINGS
    activation = values.text("activation_function", "gelu_new")
    if activation not in named:
        values.refuse([f"the activation {activation!r} (known: {', '.join(named)})"])
    width, heads = values.count("n_embd", "hidden_size"), values.count("n_head")
    if width % heads:
        values.refuse([f"{heads} heads that do not share the width {width} without rest"])
    return ModelConfig(
        family="gpt2",
        vocab_size=values.count("vocab_size"),
        context=values.count("n_positions", "n_ctx"),
        width=width,
        layers=values.count("n_layer"),
        heads=heads,
        kv_heads=heads,
        head_dim=width // heads,
        mlp_width=values.count("n_inner", default=4 * width),
        norm="layernorm",
        norm_eps=values.number("layer_norm_epsilon", 1e-5),
        positions="learned",
        activation=named[activation],
        # theirs has three: where they differ, that of the branches stands for all
        dropout=values.number("resid_pdrop", 0.1),
        tied=values.flag("tie_word_embeddings", default=True),
        qk_norm=False,
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
    )


def _refuse_unknown(values: Values) -> None:
    """CheckpointError for what would be computed wrongly if it were overlooked."""
    found = []
    if not values.flag("scale_attn_weights", default=True):
        found.append("unscaled attention (scale_attn_weights: false)")
    if values.flag("scale_attn_by_inverse_layer_idx", default=False):
        found.append("attention scaled by the layer (scale_attn_by_inverse_layer_idx)")
    if values.flag("add_cross_attention", default=False):
        found.append("attention to an encoder (add_cross_attention)")
    values.refuse(found)


def canonical_name(name: str) -> str | None:
    """OpenAI's files have no `transformer.` before their names; masks are no weights."""
    bare = name.removeprefix(PREFIX)
    if MASKS.fullmatch(bare):
        return None
    return bare if bare.startswith("lm_head.") else PREFIX + bare


def _to_stored(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    return {name: _turned(tensor, name) for name, tensor in join_names(tensors, config).items()}


def _from_stored(name: str, tensor: Tensor) -> dict[str, Tensor]:
    return split_names(name, _turned(tensor, name))


def _turned(tensor: Tensor, name: str) -> Tensor:
    """A matrix of those modules that theirs keeps transposed; anything else as it is."""
    return tensor.t() if name.endswith(TRANSPOSED) else tensor


def join_names(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The tensors of a model under GPT-2's names, no matrix transposed."""
    own = untied(tensors, config)
    tables = {ours: theirs for theirs, ours in TABLES.items()}
    modules = {ours: theirs for theirs, ours in MODULES.items()}
    stored = {}
    for name, tensor in own.items():
        match = OURS.fullmatch(name)
        if match is None:
            stored[PREFIX + tables[name] if name in tables else name] = tensor
            continue
        layer, kind = match["layer"], match["kind"]
        if match["module"] == PARTS[0]:
            parts = [own[f"layers.{layer}.{part}.{kind}"] for part in PARTS]
            stored[f"{PREFIX}h.{layer}.{JOINED}.{kind}"] = torch.cat(parts)
        elif match["module"] not in PARTS:
            stored[f"{PREFIX}h.{layer}.{modules[match['module']]}.{kind}"] = tensor
    return stored


def split_names(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The model's tensors in one of GPT-2's name, which is not transposed."""
    bare = name.removeprefix(PREFIX)
    match = STORED.fullmatch(bare)
    if match is None:
        return {TABLES.get(bare, bare): tensor}
    layer, module, kind = match["layer"], match["module"], match["kind"]
    if module == JOINED:
        return {
            f"layers.{layer}.{part}.{kind}": value
            for part, value in zip(PARTS, tensor.chunk(3), strict=True)
        }
    return {f"layers.{layer}.{MODULES[module]}.{kind}": tensor}


GPT2_NAMES = Names(
    embedding=f"{PREFIX}wte.weight",
    canonical=canonical_name,
    to_stored=_to_stored,
    from_stored=_from_stored,
)
GPT2 = Layout(
    model_type="gpt2",
    families=("gpt2",),
    obstacles=_obstacles,
    to_values=_to_values,
    from_values=_from_values,
    names=GPT2_NAMES,
)
