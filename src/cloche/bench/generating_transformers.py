"""transformers as a side of `cloche bench generate`: `generate`, greedy, its cache on."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from cloche.bench.generating_cloche import peak_tensor_bytes
from cloche.bench.generating_weights import bytes_read_per_token
from cloche.bench.generators import Generator, GeneratorSetup, Times, Writing, generate_on_request
from cloche.bench.processes import peak_resident_bytes
from cloche.run import DTYPES
from cloche.weights.manifest import MANIFEST, verify_model
from cloche.weights.opening import folders_to_try, open_first_whole

_EXPERTS_USED, _EXPERTS = "num_experts_per_tok", ("num_experts", "num_local_experts")


def build_generator(setup: GeneratorSetup) -> Generator:
    """The same checkpoint that cloche opens. Raises CheckpointError where there is none."""
    torch.set_num_threads(setup.threads)
    notes: list[str] = []
    folders = folders_to_try(Path(setup.source), "best", warn=notes.append)
    folder = open_first_whole(folders, _whole, warn=notes.append)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=DTYPES[setup.precision], local_files_only=True
    )
    model.to(setup.device).eval()
    config = model.config
    # an answer has as many tokens as it is asked for: no other ends one, none has to be suppressed
    model.generation_config = transformers.GenerationConfig(pad_token_id=0)
    return Generator(
        write=partial(_write, model),
        weight_bytes=bytes_read_per_token(model, expert_share=_expert_share(config)),
        parameters=model.num_parameters(),
        vocab_size=config.vocab_size,
        context=config.max_position_embeddings,
        peak_bytes=peak_tensor_bytes if setup.device == "cuda" else peak_resident_bytes,
        notes=notes,
    )


class _Clock(BaseStreamer):
    """Told of the prompts first, then of each step's tokens, once they are known."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, int]] = []
        """When, and how many tokens were given."""

    def put(self, value: Tensor) -> None:
        self.steps.append((time.perf_counter(), value.numel()))

    def end(self) -> None:
        """Nothing is held back."""


@torch.inference_mode()
def _write(model: Any, writing: Writing) -> Times:
    clock = _Clock()
    began = time.perf_counter()
    ids = torch.tensor(writing.prompts, device=model.device)
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        use_cache=True,
        max_new_tokens=writing.new_tokens,
        streamer=clock,
    )
    times: Times = [[] for _ in writing.prompts]
    for moment, given in clock.steps[1:]:
        for answer in times[:given]:
            answer.append(moment - began)
    return times


def _whole(folder: Path) -> Path:
    if (folder / MANIFEST).exists():  # what others have written has none
        verify_model(folder)
    return folder


def _expert_share(config: Any) -> float:
    there_are = next((getattr(config, name) for name in _EXPERTS if hasattr(config, name)), None)
    return getattr(config, _EXPERTS_USED) / there_are if there_are else 1.0


if __name__ == "__main__":
    generate_on_request(build_generator)
