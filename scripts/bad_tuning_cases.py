"""Tunings and alignments that cannot be as asked, for `bad_input.py`."""

import json
import shutil
from pathlib import Path

import torch
from bad_input_cases import TEXT, Case, Preparation, both, nothing, write

from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.lora import LoraConfig, add_lora
from cloche.model.presets import complete
from cloche.text.bpe import train_bpe
from cloche.weights.adapters import save_adapter
from cloche.weights.checkpoint import load_network, save_checkpoint
from cloche.weights.identity import model_hash

QUICK = "--train.steps 2 --train.precision float32 --train.trackers none"
ALPACA = "--tune.template alpaca"


def model(folder: Path, *, seed: int = 0) -> None:
    """A tiny model that continues text, in `model`."""
    tokenizer = train_bpe([TEXT], vocab_size=290, rule="gpt-2")
    size = tokenizer.vocab_size
    config = complete(ModelOptions(), vocab_size=size, layers=1, width=32, context=256)
    torch.manual_seed(seed)
    built = build_model(config)
    save_checkpoint(folder / "model", model=built, config=config, tokenizer=tokenizer, card="")


def adapter(folder: Path) -> None:
    """The model, and in `poet` an adapter over it."""
    model(folder)
    built, _ = load_network(folder / "model")
    lora = LoraConfig(rank=2)
    add_lora(built, lora, seed=0)
    base = folder / "model"
    save_adapter(folder / "poet", built, lora, base=base, base_hash=model_hash(base))


def foreign_adapter(folder: Path) -> None:
    """The same, but the model has been replaced since."""
    adapter(folder)
    shutil.rmtree(folder / "model")
    model(folder, seed=1)


def records(*given: object, name: str = "data.json") -> Preparation:
    """The model, and records in a file."""
    return both(model, write(name, json.dumps(given, ensure_ascii=False)))


def pair(number: int, **fields: object) -> dict[str, object]:
    return {"prompt": f"Is {number} even?", "completion": "Yes." if number % 2 else "No."} | fields


GOOD = [pair(number) for number in range(20)]
PAIRS = [{"prompt": f"Is {n} even?", "chosen": "Yes.", "rejected": "Yes."} for n in range(20)]
PROMPTS = [{"prompt": f"Is {n} even?", "answer": "Yes."} for n in range(20)]
OWN_REWARD = """\
import time

def fails(prompt, answer, record):
    return 1 / 0

def nothing(prompt, answer, record):
    return float("nan")

def sleeps(prompt, answer, record):
    time.sleep(600)
"""
TUNE = f"tune model data.json {ALPACA} {QUICK}"
REWARDED = f"align grpo model data.json --rollout.template alpaca {QUICK} --rollout.max-tokens 4"

TUNING_CASES = [
    Case("A tuning without a model", "tune", nothing),
    Case("A tuning without data", "tune model", model),
    Case(
        "Plain text for conversations", "tune model book.txt", both(model, write("book.txt", TEXT))
    ),
    Case(
        "Records without an answer",
        TUNE,
        records(*GOOD, {"prompt": "And 3?"}, pair(30, completion="")),
    ),
    Case("Records of two forms", TUNE, records({"instruction": "Go.", "output": "I go."}, *GOOD)),
    Case("An id that comes twice", TUNE, records(pair(1, id=7), pair(2, id=7), *GOOD)),
    Case(
        "Two users in a row",
        TUNE,
        records({"messages": [{"role": "user", "content": "Hi"}] * 2}),
    ),
    Case("Records that are no JSON", TUNE, both(model, write("data.json", '[{"prompt": "Hi",'))),
    Case("A slice that holds nothing", f"{TUNE} --data.records 50:60", records(*GOOD)),
    Case("Too few records for three parts", TUNE, records(*GOOD[:3])),
    Case("A context without an answer", f"{TUNE} --tune.context 8", records(*GOOD)),
    Case(
        "A chat template that fails",
        f"tune model data.json {QUICK} --tune.template mine.jinja",
        both(records(*GOOD), write("mine.jinja", "{% for m in messages %}{{ m.role.no.such }}")),
    ),
    Case(
        "A chat template that drops the answer",
        f"tune model data.json {QUICK} --tune.template mine.jinja",
        both(records(*GOOD), write("mine.jinja", "{{ messages[0].content }}")),
    ),
    Case(
        "A template that needs new tokens, and adapters",
        f"tune model data.json {QUICK} --lora",
        records(*GOOD),
    ),
    Case("Two ways to train adapters", f"{TUNE} --lora --qlora", records(*GOOD)),
    Case(
        "Options that contradict, and some out of range",
        f"{TUNE} --lora.rank 0 --tune.epochs 3 --data.split 0.5 0.2 --train.average 0.9",
        records(*GOOD),
    ),
    Case(
        "Text that is too short to go on with",
        f"tune model short.txt --task text {QUICK}",
        both(model, write("short.txt", TEXT[:300])),
    ),
    Case(
        "Classes of which there is only one",
        f"tune model data.csv --task classify {QUICK}",
        both(model, write("data.csv", "text,label\n" + "a,x\nb,x\n" * 10)),
    ),
    Case("A question to a model without a chat template", "generate model hello --chat", model),
    Case("An adapter of another model", "generate model hello --adapter poet", foreign_adapter),
    Case(
        "An adapter whose name nobody gave",
        "generate model hello --adapters a=poet --adapter b",
        adapter,
    ),
    Case("A kind of alignment that is not there", "align dop model data.json", nothing),
    Case("Pairs that are all identical", f"align dpo model data.json {QUICK}", records(*PAIRS)),
    Case("No reward", REWARDED, records(*PROMPTS)),
    Case("A reward of an unknown name", f"{REWARDED} --reward exakt", records(*PROMPTS)),
    Case(
        "A reward function that raises",
        f"{REWARDED} --reward own.py:fails",
        both(records(*PROMPTS), write("own.py", OWN_REWARD)),
    ),
    Case(
        "A reward function that gives no number",
        f"{REWARDED} --reward own.py:nothing",
        both(records(*PROMPTS), write("own.py", OWN_REWARD)),
    ),
    Case(
        "A reward function that hangs",
        f"{REWARDED} --reward own.py:sleeps --rollout.reward-seconds 1",
        both(records(*PROMPTS), write("own.py", OWN_REWARD)),
    ),
]
