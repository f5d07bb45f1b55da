"""cloche as a side of `cloche bench generate`: its engine, at one precision."""

import time
from functools import partial
from pathlib import Path

import torch

from cloche.bench.generating_weights import bytes_read_per_token
from cloche.bench.generators import Generator, GeneratorSetup, Times, Writing, generate_on_request
from cloche.bench.processes import peak_resident_bytes
from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest
from cloche.planning.flops import parameter_count
from cloche.run import LM, load


def build_generator(setup: GeneratorSetup) -> Generator:
    """The model through `cloche.load` and its engine. Raises ClocheError as they do."""
    torch.set_num_threads(setup.threads)
    notes: list[str] = []
    lm = load(
        setup.source,
        precision=setup.precision,
        device=setup.device,
        kernels=None if setup.kernels is None else Path(setup.kernels),
        warn=notes.append,
        tell=notes.append,
    )
    config = lm.config
    share = config.experts_used / config.experts if config.experts else 1.0
    return Generator(
        write=partial(_write, lm, {}),
        weight_bytes=bytes_read_per_token(lm.model, expert_share=share),
        parameters=parameter_count(config),
        vocab_size=min(config.vocab_size, lm.tokenizer.vocab_size),
        context=config.context,
        peak_bytes=peak_tensor_bytes if setup.device == "cuda" else peak_resident_bytes,
        notes=notes,
    )


def peak_tensor_bytes() -> int:
    """Most memory that tensors took on CUDA so far."""
    return torch.cuda.max_memory_allocated()


def _write(lm: LM, engines: dict[tuple[int, int], Engine], writing: Writing) -> Times:
    """Through an engine that is kept: what it builds for a batch is built once."""
    shape = (len(writing.prompts), writing.room)
    engine = engines.get(shape) or lm.engine(rows=shape[0], tokens=shape[1])
    engines[shape] = engine
    requests = [
        GenerationRequest(
            prompt=tuple(prompt),
            max_tokens=writing.new_tokens,
            temperature=0.0,
            stop_ids=(),
            overflow="stop",
        )
        for prompt in writing.prompts
    ]
    began = time.perf_counter()
    times = {engine.submit(request): list[float]() for request in requests}
    while engine.busy:
        events = engine.step()
        moment = time.perf_counter() - began
        for event in events:
            if event.error is not None:
                raise event.error
            if event.token_id is not None:
                times[event.request_id].append(moment)
    return list(times.values())


if __name__ == "__main__":
    generate_on_request(build_generator)
