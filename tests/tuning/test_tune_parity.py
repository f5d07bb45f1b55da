"""Instruction tuning against TRL's SFTTrainer and PEFT: the same tokens, mask, loss, gradients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cloche.data.batches import IGNORED
from cloche.data.examples import Example, lay_out
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.lora import add_lora
from cloche.model.lora_config import LoraConfig
from cloche.model.presets import complete
from cloche.text.bpe import train_bpe
from cloche.text.extending import with_special_tokens
from cloche.text.messages import Message
from cloche.training.objectives import NextToken
from cloche.tuning.base import Base, open_base
from cloche.weights.checkpoint import save_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")  # those of TRL and of what it imports

# the newline stands between messages, so that an answer ends with its stop token for both sides
TEMPLATE = """\
{%- for message in messages -%}
{%- if not loop.first -%}{{- '\\n' -}}{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\\n<|im_start|>assistant\\n' -}}{%- endif -%}
"""
POLITE = ("system", "You are polite.")
SINGLE = [
    (POLITE, ("user", "What colour is a plum?"), ("assistant", "It is blue, and sweet.")),
    (POLITE, ("user", "And a fig?"), ("assistant", "Green.")),
    (POLITE, ("user", "Name a long river."), ("assistant", "The river that is the longest.")),
]
SEVERAL = [*SINGLE, (*SINGLE[0], ("user", "Thank you"), ("assistant", "Welcome."))]
ADAPTERS = LoraConfig(rank=4, alpha=12)


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def base_folder(request, tmp_path_factory) -> Path:
    """A checkpoint with random weights and a template that marks its answers."""
    text = "You are polite. What colour is the longest river? It is blue and green. " * 9
    tokenizer = with_special_tokens(
        train_bpe([text], vocab_size=280, rule="gpt-2"), ["<|im_start|>", "<|im_end|>"]
    )
    options = ModelOptions(family=request.param, kv_heads=1, tied=True)
    config = complete(options, vocab_size=tokenizer.vocab_size, layers=2, width=32, context=128)
    model = build_model(config)
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.2, generator=generator)
    folder = tmp_path_factory.mktemp(request.param) / "base"
    stop = tokenizer.special_tokens["<|im_end|>"]
    save_checkpoint(
        folder,
        model=model,
        config=config,
        tokenizer=tokenizer,
        card="",
        stop_ids=(stop,),
        chat_template=TEMPLATE,
    )
    return folder


def their_trainer(
    folder: Path, out: Path, records: list[dict[str, Any]], **settings: Any
) -> tuple[Any, dict[str, Tensor]]:
    """An SFTTrainer, and the first batch as its collator pads it."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    peft = settings.pop("peft_config", None)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "<|im_end|>"
    trainer: Any = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=SFTConfig(
            output_dir=str(out),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            eos_token="<|im_end|>",
            **settings,
        ),
        train_dataset=Dataset.from_list(records),
        processing_class=tokenizer,
        peft_config=peft,
    )
    rows = [trainer.train_dataset[number] for number in range(len(records))]
    return trainer, trainer.data_collator(rows)


def examples_of(base: Base, records: list[Any]) -> list[Example]:
    found = []
    for record in records:
        messages = tuple(Message(role, content) for role, content in record)
        encoded = base.template.encode(messages, base.tokenizer)
        found.append(Example(np.array(encoded.ids), np.array(encoded.answers) > 0))
    return found


def as_dicts(messages: Any) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


def assert_same_tokens_and_mask(examples: list[Example], padded: Mapping[str, Tensor]) -> None:
    for example, ids, labels in zip(examples, padded["input_ids"], padded["labels"], strict=True):
        length = len(example.ids)
        assert example.ids.tolist() == ids[:length].tolist()
        marked = np.where(example.learned, example.ids, IGNORED)
        assert marked.tolist() == labels[:length].tolist()
        assert (labels[length:] == IGNORED).all()


def assert_same_loss(expected: Tensor, model: nn.Module, examples: list[Example]) -> None:
    """Of TRL's mean over learned tokens; and puts the gradients on the model."""
    term = NextToken()(model, lay_out(examples)).terms["loss"]
    mean = term.sum / term.count
    mean.backward()
    torch.testing.assert_close(mean, expected.detach(), rtol=1e-5, atol=0.0)


def assert_same_gradient(own: Tensor | None, expected: Tensor | None, *, name: str) -> None:
    assert own is not None, name
    assert expected is not None, name
    scale = expected.abs().max().item()
    assert scale > 0, name
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5 * scale, msg=name)


def test_tuning_all_weights_is_trls(base_folder, tmp_path):
    records = [{"messages": as_dicts(record)} for record in SEVERAL]
    trainer, padded = their_trainer(base_folder, tmp_path, records, assistant_only_loss=True)
    expected = trainer.compute_loss(trainer.model, dict(padded))
    expected.backward()
    base = open_base(str(base_folder), may_grow=False, warn=print)
    base.model.requires_grad_(True)
    examples = examples_of(base, SEVERAL)
    assert_same_tokens_and_mask(examples, padded)
    assert_same_loss(expected, base.model.train(), examples)
    theirs = {n.removeprefix("model."): p.grad for n, p in trainer.model.named_parameters()}
    own = dict(base.model.named_parameters())
    assert own.keys() == theirs.keys()
    for name, parameter in own.items():
        assert_same_gradient(parameter.grad, theirs[name], name=name)


def test_tuning_adapters_is_trls_with_peft(base_folder, tmp_path):
    from peft import LoraConfig as PeftConfig

    records = [
        {"prompt": as_dicts(record[:-1]), "completion": as_dicts(record[-1:])} for record in SINGLE
    ]
    peft = PeftConfig(
        r=ADAPTERS.rank,
        lora_alpha=int(ADAPTERS.alpha),
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    trainer, padded = their_trainer(base_folder, tmp_path, records, peft_config=peft)
    base = open_base(str(base_folder), may_grow=False, warn=print)
    layers = add_lora(base.model, ADAPTERS, seed=1)
    own = {n: p for n, p in base.model.named_parameters() if p.requires_grad}
    theirs = {
        name.removeprefix("base_model.model.model.").removesuffix(".default.weight"): parameter
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad
    }
    assert own.keys() == theirs.keys()
    assert len(own) == 2 * len(layers)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in own.items():
        if name.endswith("lora_B"):  # zeros would leave no gradient for the other matrix
            nn.init.normal_(parameter, std=0.2, generator=generator)
        theirs[name].data.copy_(parameter.data)
    expected = trainer.compute_loss(trainer.model, dict(padded))
    expected.backward()
    examples = examples_of(base, SINGLE)
    assert_same_tokens_and_mask(examples, padded)
    assert_same_loss(expected, base.model.train(), examples)
    for name, parameter in own.items():
        assert_same_gradient(parameter.grad, theirs[name].grad, name=name)
