"""Tiny models of every kind that a GGUF file can hold, and files made from them."""

from dataclasses import replace
from pathlib import Path

import torch

from cloche.model.build import LanguageModel, build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.model.rope import RopeScaling
from cloche.text.bpe import BytePairTokenizer, train_bpe
from cloche.text.tokenizer import Tokenizer
from cloche.weights.gguf_architecture import express
from cloche.weights.gguf_file import write_gguf
from cloche.weights.gguf_tensors import StoredType
from cloche.weights.gguf_vocabulary import vocabulary_keys

TEXT = (
    "It was the best of times,\n  it was the worst of times; 春眠不觉晓，处处闻啼鸟。\n"
    "Café 12345 don't I'LL\t\tx  y\r\n😀👍🏽 e\u0301 «мир»\n\n\n end   \n"
)
EXTRA_ROWS = 3
"""The embedding has so many rows more than the tokenizer has tokens, as padded models do."""


def byte_pairs(*, rule: str = "gpt-2") -> BytePairTokenizer:
    """A small BPE trained on TEXT."""
    return train_bpe([TEXT * 20], vocab_size=320, rule=rule)  # pyright: ignore[reportArgumentType]


def _shape(vocab_size: int, **options) -> ModelConfig:
    chosen = ModelOptions(heads=4, **options)
    return complete(chosen, vocab_size=vocab_size, layers=2, width=64, context=128)


def configurations(vocab_size: int) -> dict[str, ModelConfig]:
    """One of each architecture and of each thing that is written in a way of its own."""
    llama = _shape(vocab_size, family="llama", kv_heads=2)
    return {
        "qwen3": _shape(vocab_size, kv_heads=2),
        "qwen3 tied": replace(_shape(vocab_size), tied=True),
        "qwen3moe": _shape(vocab_size, family="moe", experts=4, experts_used=2),
        "llama": llama,
        "llama biased": replace(llama, qkv_bias=True, output_bias=True, mlp_bias=True),
        "llama linear": replace(llama, rope_scaling=RopeScaling("linear", 4.0, 32)),
        "llama llama3": replace(llama, rope_scaling=RopeScaling("llama3", 8.0, 32)),
        "llama yarn": replace(llama, rope_scaling=RopeScaling("yarn", 4.0, 32)),
        "qwen2": replace(llama, qkv_bias=True),
        "qwen2 sharper yarn": replace(
            llama,
            qkv_bias=True,
            rope_theta=1e6,
            rope_scaling=RopeScaling("yarn", 4.0, 32, attention_factor=1.3),
        ),
        "gpt2": _shape(vocab_size, family="gpt2"),
    }


def build(config: ModelConfig, *, seed: int = 0) -> LanguageModel:
    """A model whose weights are large enough that a mistake anywhere shows."""
    torch.manual_seed(seed)
    model = build_model(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # norms and biases, which begin as ones and zeros
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif "embed" not in name:
                parameter.mul_(1.7)
    return model


def write(
    path: Path,
    model: LanguageModel,
    tokenizer: Tokenizer,
    *,
    kind: StoredType = "F32",
    chat_template: str | None = None,
    begins_with_bos: bool = False,
) -> Path:
    """The file of a model, written without any check."""
    keys = vocabulary_keys(
        tokenizer,
        rows=model.config.vocab_size,
        special_ids=tokenizer.special_ids,
        stop_ids=(),
        begins_with_bos=begins_with_bos,
        chat_template=chat_template,
    )
    write_gguf(path, express(model, model.config), kind=kind, keys=keys)
    return path


@torch.no_grad()
def log_probabilities(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    """Of the token after `ids`."""
    return model(torch.tensor([ids]))[0, -1].log_softmax(-1)
