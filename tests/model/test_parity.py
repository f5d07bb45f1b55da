"""Every family against its reference in transformers, with the same random weights, in float32.

One runner for all: full forward, cached decoding, left-padded batch, loss and gradients.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

from cloche.model.build import build_model
from cloche.model.cache import KeyValueCache
from cloche.model.config import ModelConfig
from cloche.model.record import RouterRecord
from cloche.model.rope import RopeScaling
from cloche.training.objectives import balance_loss

Weights = Mapping[str, Tensor]

OURS = ModelConfig(
    family="qwen3",
    vocab_size=31,
    context=64,
    width=24,
    layers=2,
    heads=4,
    kv_heads=4,
    head_dim=16,
    mlp_width=40,
    rope_theta=5000.0,
)
THEIRS: dict[str, Any] = {
    "vocab_size": 31,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
    "rms_norm_eps": 1e-6,
}
LLAMA = replace(OURS, family="llama", qk_norm=False)
GPT2 = ModelConfig(
    family="gpt2",
    vocab_size=31,
    context=64,
    width=24,
    layers=2,
    heads=4,
    kv_heads=4,
    head_dim=6,
    mlp_width=96,
    norm="layernorm",
    norm_eps=1e-5,
    positions="learned",
    activation="gelu_tanh",
    tied=True,
    qk_norm=False,
    qkv_bias=True,
    output_bias=True,
    mlp_bias=True,
)
MOE = replace(OURS, family="moe", experts=5, experts_used=2, mlp_width=12, balance=0.05)
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
YARN_SCALING = {
    "rope_type": "yarn",
    "rope_theta": 5000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}


def without_prefix(theirs: Weights) -> dict[str, Tensor]:
    return {name.removeprefix("model."): values for name, values in theirs.items()}


def from_gpt2(theirs: Weights) -> dict[str, Tensor]:
    """GPT-2 keeps queries, keys and values in one matrix, and all matrices transposed."""
    names = {
        "attn.c_attn": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attn.c_proj": ("self_attn.o_proj",),
        "mlp.c_fc": ("mlp.up_proj",),
        "mlp.c_proj": ("mlp.down_proj",),
        "ln_1": ("input_layernorm",),
        "ln_2": ("post_attention_layernorm",),
    }
    tops = {"wte": "embed_tokens", "wpe": "embed_positions", "ln_f": "norm"}
    ours = {}
    for name, values in theirs.items():
        path, kind = name.removeprefix("transformer.").rsplit(".", 1)
        if not path.startswith("h."):
            ours[f"{tops.get(path, path)}.{kind}"] = values
            continue
        _, layer, part = path.split(".", 2)
        rows = values.T if values.ndim == 2 else values
        parts = rows.chunk(len(names[part]))
        for target, piece in zip(names[part], parts, strict=True):
            ours[f"layers.{layer}.{target}.{kind}"] = piece
    return ours


def from_moe(theirs: Weights) -> dict[str, Tensor]:
    """transformers keeps all experts of a layer in two tensors."""
    ours = {}
    for name, values in without_prefix(theirs).items():
        path, _, kind = name.rpartition(".")
        if kind == "gate_up_proj":
            for number, expert in enumerate(values):
                gate, up = expert.chunk(2)
                ours[f"{path}.{number}.gate_proj.weight"] = gate
                ours[f"{path}.{number}.up_proj.weight"] = up
        elif kind == "down_proj":
            for number, expert in enumerate(values):
                ours[f"{path}.{number}.down_proj.weight"] = expert
        else:
            ours[name] = values
    return ours


@dataclass(frozen=True)
class Family:
    config: ModelConfig
    reference: Callable[[], PreTrainedModel]
    names: Callable[[Weights], dict[str, Tensor]] = without_prefix


def qwen3(**changes: Any) -> Callable[[], PreTrainedModel]:
    return lambda: Qwen3ForCausalLM(Qwen3Config(**{**THEIRS, **changes}))


def llama(**changes: Any) -> Callable[[], PreTrainedModel]:
    return lambda: LlamaForCausalLM(LlamaConfig(**{**THEIRS, **changes}))


def qwen2(**changes: Any) -> Callable[[], PreTrainedModel]:
    changes["head_dim"] = 6
    return lambda: Qwen2ForCausalLM(Qwen2Config(**{**THEIRS, **changes}))


def moe(**changes: Any) -> Callable[[], PreTrainedModel]:
    sizes = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
    loss = {"router_aux_loss_coef": 0.05, "output_router_logits": True}
    return lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**{**THEIRS, **sizes, **loss, **changes}))


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=31,
            n_positions=64,
            n_embd=24,
            n_layer=2,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )


QWEN2 = replace(LLAMA, qkv_bias=True, head_dim=6)
FAMILIES = {
    "qwen3": Family(OURS, qwen3()),
    "qwen3, grouped": Family(replace(OURS, kv_heads=2), qwen3(num_key_value_heads=2)),
    "qwen3, one key head, tied": Family(
        replace(OURS, kv_heads=1, tied=True),
        qwen3(num_key_value_heads=1, tie_word_embeddings=True),
    ),
    "qwen3, window": Family(
        replace(OURS, kv_heads=2, window=4, full_layers=1),
        qwen3(
            num_key_value_heads=2, use_sliding_window=True, sliding_window=4, max_window_layers=1
        ),
    ),
    "qwen3, yarn": Family(
        replace(OURS, rope_scaling=RopeScaling("yarn", 4.0, 16)),
        qwen3(rope_parameters=YARN_SCALING),
    ),
    "llama": Family(LLAMA, llama()),
    "llama, stretched, biased": Family(
        replace(
            LLAMA,
            kv_heads=2,
            rope_scaling=RopeScaling("llama3", 4.0, 16),
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
        ),
        llama(
            num_key_value_heads=2,
            rope_parameters=LLAMA3_SCALING,
            attention_bias=True,
            mlp_bias=True,
        ),
    ),
    "qwen2": Family(replace(QWEN2, kv_heads=2), qwen2(num_key_value_heads=2)),
    "qwen2, window": Family(
        replace(QWEN2, window=4, full_layers=1),
        qwen2(use_sliding_window=True, sliding_window=4, max_window_layers=1),
    ),
    "gpt2": Family(GPT2, gpt2, from_gpt2),
    "moe": Family(MOE, moe(norm_topk_prob=True), from_moe),
    "moe, weights as they are": Family(
        replace(MOE, kv_heads=2, normalised_experts=False),
        moe(num_key_value_heads=2, norm_topk_prob=False),
        from_moe,
    ),
    "moe, window": Family(
        replace(MOE, window=4),  # of every layer: the reference knows no others here
        moe(norm_topk_prob=True, use_sliding_window=True, sliding_window=4),
        from_moe,
    ),
    "moe, yarn": Family(
        replace(MOE, rope_scaling=RopeScaling("yarn", 4.0, 16)),
        moe(norm_topk_prob=True, rope_parameters=YARN_SCALING),
        from_moe,
    ),
}


@dataclass(frozen=True)
class Pair:
    mine: nn.Module
    theirs: PreTrainedModel
    family: Family


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest) -> Pair:
    family = FAMILIES[request.param]
    torch.manual_seed(0)
    theirs = family.reference().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0.0, 0.3)
    mine = build_model(family.config)
    mine.load_state_dict(family.names(theirs.state_dict()))
    return Pair(mine.eval(), theirs, family)


def tokens(*shape: int) -> Tensor:
    return torch.randint(31, shape, generator=torch.Generator().manual_seed(2))


def assert_near(mine: Tensor, theirs: Tensor, name: str = "") -> None:
    """Equal to a relative 1e-4, plus 1e-4 of the reference's root mean square."""
    allowed = 1e-4 * theirs.detach().square().mean().sqrt().item()
    torch.testing.assert_close(
        mine, theirs, rtol=1e-4, atol=allowed, msg=lambda text: f"{name}: {text}"
    )


@pytest.mark.parametrize("learns", [True, False], ids=["plain path", "fused path"])
def test_logits_are_those_of_transformers(pair, learns):
    with torch.no_grad():
        expected = pair.theirs(tokens(3, 20)).logits
    with torch.set_grad_enabled(learns):
        assert_near(pair.mine(tokens(3, 20)), expected)


def test_cached_decoding_is_that_of_transformers(pair):
    cache = KeyValueCache(pair.family.config, rows=1, capacity=16)
    row, past = cache.allocate(), None
    with torch.no_grad():
        for piece in tokens(1, 16).split((5, 1, 1, 6, 3), dim=1):
            answer = pair.theirs(piece, past_key_values=past, use_cache=True)
            past = answer.past_key_values
            logits = pair.mine(piece, cache=cache.view([row], [piece.shape[1]]))
            assert_near(logits, answer.logits)


@pytest.mark.parametrize("learns", [True, False], ids=["plain path", "fused path"])
def test_a_left_padded_batch_is_that_of_transformers(pair, learns):
    ids, real = tokens(3, 12), torch.ones(3, 12, dtype=torch.long)
    real[0, :5], real[2, :1] = 0, 0
    positions = (real.cumsum(dim=1) - 1).clamp_min(0)
    with torch.no_grad():
        expected = pair.theirs(ids, attention_mask=real, position_ids=positions).logits
    with torch.set_grad_enabled(learns):
        logits = pair.mine(ids, positions=positions, documents=real)
    assert_near(logits[real.bool()], expected[real.bool()])


def test_loss_and_gradients_are_those_of_transformers(pair):
    ids, config = tokens(2, 13), pair.family.config
    answer = pair.theirs(ids, labels=ids)
    answer.loss.backward()
    router = RouterRecord()
    logits = pair.mine(ids, record=router)
    loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    if config.balance:
        assert len(router.router_logits) == config.layers
        loss = loss + config.balance * balance_loss(
            router.router_logits, experts_used=config.experts_used
        )
    assert_near(loss, answer.loss)
    loss.backward()
    gradients = {name: values.grad for name, values in pair.mine.named_parameters()}
    theirs = {name: values.grad for name, values in pair.theirs.named_parameters()}
    expected = pair.family.names({name: grad for name, grad in theirs.items() if grad is not None})
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient is not None, name
        if config.positions == "learned" and name.endswith("k_proj.bias"):
            # one number added to all scores of a query changes no weight: what is there is rounding
            assert max(gradient.abs().max(), expected[name].abs().max()) < 1e-6
            continue
        assert_near(gradient, expected[name], name)


def test_the_balance_without_padding_is_that_of_transformers():
    generator = torch.Generator().manual_seed(3)
    layers = [torch.randn(3, 7, 5, generator=generator) for _ in range(4)]
    real = torch.ones(3, 7, dtype=torch.long)
    real[0, :4] = 0
    rows: Any = tuple(layer.flatten(0, 1) for layer in layers)
    torch.testing.assert_close(
        balance_loss(layers, experts_used=2), load_balancing_loss_func(rows, 5, 2)
    )
    torch.testing.assert_close(
        balance_loss(layers, experts_used=2, counted=real.bool()),
        load_balancing_loss_func(rows, 5, 2, real),
    )
