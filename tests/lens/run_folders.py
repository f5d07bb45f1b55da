"""Run folders as trainings leave them, without a training."""

import json
from pathlib import Path

import torch
from attention_models import tokenizer

from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.weights.checkpoint import save_checkpoint


def write_run(folder: Path, *, steps: int = 6, more: dict[str, float] | None = None) -> Path:
    """A run's figures: each step a loss, every third an evaluation and figures by layer."""
    folder.mkdir(parents=True)
    rows = []
    for step in range(1, steps + 1):
        row = {"step": step, "time": 1e9 + step, "train/loss": 4.0 / step, **(more or {})}
        row |= {"train/learning_rate": 0.01, "train/grad_norm": 1.0, "perf/tokens_per_sec": 99.0}
        if step % 3 == 0:
            for layer, size in (("embed_tokens", 0.1), ("layers.0", 0.5), ("layers.1", 0.7)):
                row[f"train/grad_norm/{layer}"] = size
                row[f"train/update_ratio/{layer}"] = size / 100
        rows.append(row)
        if step % 3 == 0:
            rows.append({"step": step, "time": 1e9 + step, "eval/loss": 5.0 / step})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_samples(run: Path, *steps: int, text: str = "天 grew\nand [bold]grew") -> None:
    rows = [{"step": step, "time": 1e9, "prompt": "Once", "text": text} for step in steps]
    written = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (run / "samples.jsonl").write_text(written, encoding="utf-8")


def write_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    letters = tokenizer()
    config = complete(
        ModelOptions(heads=2), vocab_size=letters.vocab_size, layers=2, width=16, context=32
    )
    torch.manual_seed(seed)
    model = build_model(config)
    save_checkpoint(folder, model=model, config=config, tokenizer=letters, card="")
    return folder


def write_checkpoints(run: Path, *steps: int) -> Path:
    for step in steps:
        write_checkpoint(run / "checkpoints" / f"step-{step:06}", seed=step)
    return run


def damage(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
