"""The trainers that are compared, and the process that one of them works in.

    python -m cloche.bench.trainers

reads a setup, then requests, one line of JSON each, and answers each with a line. All trainers
learn from random tokens: how long a step takes does not depend on what is learned.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cloche.bench import textbook
from cloche.bench.processes import answer_on_standard_output, peak_resident_bytes
from cloche.bench.sizes import MATMUL, BenchSize, TrainerSetup
from cloche.data.joined import JoinedShards, joined_metadata
from cloche.data.prepare import PreparedText
from cloche.data.shards import ShardWriter
from cloche.errors import SettingError
from cloche.text.characters import CharacterTokenizer
from cloche.text.choice import TokenizerChoice
from cloche.training.assemble import build_parts, make_training
from cloche.training.choices import make_choice
from cloche.training.compiling import has_compiler
from cloche.training.machine import (
    find_device,
    keep_freed_memory,
    measure_machine,
    peak_flops,
)
from cloche.training.options import RunOptions, TrainOptions
from cloche.training.schedule import Plan
from cloche.training.state import LoopState
from cloche.training.step import take_step

_WARM_STEPS = 2
_ENDLESS = 1 << 40  # steps: nobody waits for the end of this schedule
_WINDOWS = 512  # of random tokens that are learned from over and over


@dataclass(frozen=True)
class Trainer:
    """A trainer ready to work: one call, one optimizer step."""

    step: Callable[[], object]
    model: nn.Module
    precision: str
    compiled: bool = False


def build_cloche(setup: TrainerSetup, folder: Path) -> Trainer:
    """cloche as `cloche train` puts it together, in the precision that is faster here."""
    compile_ = setup.compile if has_compiler(setup.device) else "off"
    keep_freed_memory()
    machine = measure_machine(setup.device, "auto")
    options = RunOptions(
        train=TrainOptions(
            steps=_ENDLESS,
            batch=setup.batch,
            optimizer="muon" if setup.optimizer == "muon" else "adamw",
            schedule="constant",
            compile="on" if compile_ == "on" else "off",
            sample_tokens=0,
        )
    )
    choice = make_choice(
        options,
        setup.size.config(),
        machine=machine,
        batch=setup.batch,
        steps=_ENDLESS,
        step_seconds=None,
    )
    parts = build_parts(choice)
    prepared = _random_text(folder, setup.size)
    training = make_training(folder, parts, choice, prepared, before_save=lambda: None)
    training.compute.model.train()
    state = LoopState(plan=Plan(steps=_ENDLESS))
    return Trainer(
        step=lambda: take_step(training, state),
        model=parts.compute.masters,
        precision=machine.precision,
        compiled=choice.options.train.compile == "on",
    )


def build_textbook(setup: TrainerSetup, _folder: Path) -> Trainer:
    """The plain GPT of `textbook.py`, float32."""
    size = setup.size
    recipe = textbook.Recipe(
        layers=size.layers,
        heads=size.heads,
        width=size.width,
        context=size.context,
        batch=setup.batch,
    )
    torch.manual_seed(0)
    model = textbook.GPT(size.vocab_size, recipe).to(setup.device)
    optimizer = textbook.build_optimizer(model)
    ids = torch.randint(size.vocab_size, (_WINDOWS * size.context,))

    def step() -> None:
        inputs, targets = (part.to(setup.device) for part in textbook.draw_batch(ids, recipe))
        textbook.train_step(model, optimizer, inputs=inputs, targets=targets)

    return Trainer(step, model, "float32")


def build_transformers(setup: TrainerSetup, _folder: Path) -> Trainer:
    """transformers' GPT-2 in an ordinary loop: AdamW as it comes, in float32 or under autocast."""
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as exc:
        raise SettingError(
            "this comparison needs transformers: pip install 'cloche[dev]', or leave it out with "
            "--sides cloche,textbook"
        ) from exc
    size = setup.size
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=size.vocab_size,
        n_positions=size.context,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    model = GPT2LMHeadModel(config)
    nn.Module.to(model, setup.device)  # its own `to` is the same, under a type of its own
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    text = torch.randint(size.vocab_size, (_WINDOWS, size.context))
    half = setup.side.endswith("bfloat16")

    def draw() -> Tensor:
        return text[torch.randint(_WINDOWS, (setup.batch,))].to(setup.device)

    def step() -> None:
        ids = draw()
        with torch.autocast(setup.device, dtype=torch.bfloat16, enabled=half):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # an ordinary loop shows its loss

    return Trainer(step, model, "bfloat16 autocast" if half else "float32")


BUILDERS: dict[str, Callable[[TrainerSetup, Path], Trainer]] = {
    "cloche": build_cloche,
    "textbook": build_textbook,
    "transformers float32": build_transformers,
    "transformers bfloat16": build_transformers,
}


def serve(requests: Iterator[str], answer: Callable[[dict[str, Any]], None]) -> None:
    """Build the trainer that the first line describes, and answer the others until they end.

    Raises ClocheError where it cannot be built here.
    """
    values = json.loads(next(requests))
    device = find_device(values["device"])
    size = BenchSize(**values["size"])
    setup = TrainerSetup(**{**values, "size": size, "device": device})
    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    if setup.side == MATMUL:
        serve_peaks(device, requests, answer)
        return
    with tempfile.TemporaryDirectory(prefix="cloche-bench-") as folder:
        serve_steps(setup, Path(folder), requests, answer=answer)


def serve_peaks(
    device: str, requests: Iterator[str], answer: Callable[[dict[str, Any]], None]
) -> None:
    """Answer each request with the matrix-multiply peak in a precision."""
    answer({"device": device, "threads": torch.get_num_threads()})
    for line in requests:
        answer({"flops_per_second": peak_flops(device, json.loads(line)["precision"])[0]})


def serve_steps(
    setup: TrainerSetup,
    folder: Path,
    requests: Iterator[str],
    *,
    answer: Callable[[dict[str, Any]], None],
) -> None:
    """Build, warm up, tell of it; then take steps, or tell the memory, as each request asks."""
    before, began = _peak_bytes(), time.perf_counter()
    trainer = BUILDERS[setup.side](setup, folder)
    first_step, step = (_timed_step(trainer, setup.device) for _ in range(_WARM_STEPS))
    answer(
        {
            "precision": trainer.precision,
            "compiled": trainer.compiled,
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "device": setup.device,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "start_seconds": time.perf_counter() - began,
            "first_step_seconds": first_step,
            "step_seconds": step,
        }
    )
    for line in requests:
        request = json.loads(line)
        if request["ask"] == "memory":
            answer({"peak_bytes": _peak_bytes(), "before_bytes": before})
        else:
            answer(_round(trainer, setup, seconds=request["seconds"]))


def _round(trainer: Trainer, setup: TrainerSetup, *, seconds: float) -> dict[str, Any]:
    began, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - began < seconds:
        trainer.step()
        steps += 1
    _wait(setup.device)
    taken = time.perf_counter() - began
    return {"steps": steps, "tokens": steps * setup.batch * setup.size.context, "seconds": taken}


def _timed_step(trainer: Trainer, device: str) -> float:
    began = time.perf_counter()
    trainer.step()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def _peak_bytes() -> int:
    """Most resident memory of this process so far; on CUDA, most memory of its tensors there."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return peak_resident_bytes()


def _random_text(folder: Path, size: BenchSize) -> PreparedText:
    """Random tokens as a prepared text: the trainer is to be put together as in a run."""
    tokenizer = CharacterTokenizer({"\n", " "})
    generator = np.random.default_rng(0)
    parts: list[JoinedShards] = []
    for name in ("train", "validation"):
        writer = ShardWriter(
            folder / name, vocab_size=size.vocab_size, tokenizer=tokenizer.fingerprint
        )
        ids = generator.integers(size.vocab_size, size=_WINDOWS * size.context + 1)
        writer.append(ids)
        writer.end_document()
        shard = writer.finish(sources=[], characters=len(ids), utf8_bytes=len(ids), separated=False)
        metadata = joined_metadata(
            [shard],
            tokenizer=tokenizer.fingerprint,
            sources=[],
            dtype=shard.metadata.dtype,
            separated=False,
        )
        parts.append(JoinedShards([shard], metadata=metadata))
    choice = TokenizerChoice("characters", "random tokens")
    return PreparedText(tokenizer, parts[0], parts[1], choice)


if __name__ == "__main__":
    answer_on_standard_output(serve)
