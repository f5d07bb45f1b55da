"""A tiny model without a chat template, records to tune it on, and a template that it can hold."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.bpe import train_bpe
from cloche.training import journal
from cloche.training.machine import measure_machine
from cloche.tuning import continued, start
from cloche.weights.checkpoint import save_checkpoint

TEMPLATE = """\
{% for m in messages %}{{ m.role[0] + ': ' + m.content }}\
{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}a: {% endif %}"""
TEXT = "the fox saw two red stones and the old hen saw ten green leaves near the river. " * 30
QUICK = ("--train.steps", "4", "--train.batch", "4", "--train.sample-tokens", "0")
QUICK += ("--train.precision", "float32", "--train.trackers", "none", "--train.eval-every", "2")


@contextmanager
def quick_tunings() -> Iterator[None]:
    """Inside, the machine is measured once, and no curve is drawn."""
    machine = measure_machine("cpu", "float32")
    with pytest.MonkeyPatch.context() as patch:
        for module in (start, continued):
            patch.setattr(module, "measure_machine", lambda *_: machine)
        patch.setattr(journal, "loss_curve", lambda *_, **__: None)
        yield


def make_place(folder: Path, *, seed: int = 0) -> Path:
    """A folder with `base`, `records.json`, `template.jinja` and `book.txt`."""
    tokenizer = train_bpe([TEXT], vocab_size=290, rule="gpt-2")
    config = complete(
        ModelOptions(), vocab_size=tokenizer.vocab_size, layers=2, width=32, context=64
    )
    torch.manual_seed(seed)
    model = build_model(config)
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.1)
    save_checkpoint(folder / "base", model=model, config=config, tokenizer=tokenizer, card="")
    records = [
        {"prompt": f"{what} {n}?", "completion": "red." if n % 2 else "green."}
        for n in range(10)
        for what in ("fox", "hen")
    ]
    (folder / "records.json").write_text(json.dumps(records))
    (folder / "template.jinja").write_text(TEMPLATE)
    (folder / "book.txt").write_text(TEXT)
    return folder
