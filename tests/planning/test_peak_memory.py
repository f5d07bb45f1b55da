"""The predicted peak against that of a process that really takes a few steps."""

import subprocess
import sys
from pathlib import Path

import pytest

STEPS = """
from pathlib import Path
import numpy as np
import torch
from cloche.data.batches import TokensInMemory, Windows
from cloche.model.build import build_network
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.planning.memory import training_memory
from cloche.training.objectives import NextToken
from cloche.training.optim import build_optimizers
from cloche.training.options import TrainOptions
from cloche.training.precision import ComputeModel
from cloche.training.statistics import peak_resident_bytes

torch.set_num_threads(1)
page = __import__("os").sysconf("SC_PAGE_SIZE")
taken = lambda: page * int(Path("/proc/self/statm").read_text().split()[1])
config = complete(ModelOptions(), vocab_size=1280, layers=4, width=256, context=128)
before = taken()
ids = np.random.default_rng(0).integers(1280, size=4096)
tokens = TokensInMemory(ids, np.array([4096]), separated=False)
batch = Windows(tokens, context=128, seed=0).batch(0, size=16)
masters = build_network(config)
initialise(masters, seed=0)
compute = ComputeModel(masters, dtype=torch.float32)
optimizers = build_optimizers(masters, TrainOptions(optimizer="adamw"), learning_rate=0.01)
objective = NextToken()
for _ in range(4):
    losses = objective(compute.model, batch)
    losses.terms["loss"].sum.backward()
    compute.collect_gradients(last=True)
    optimizers.step(compute.gradients)
    compute.clear_gradients()
    compute.refresh()
most = peak_resident_bytes()  # kept by the kernel: a thread that looks now and then misses it
predicted = training_memory(
    config, batch=16, precision="float32", optimizer="adamw", attention="fused"
)
print(predicted.total / (most - before))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_few_steps_take_what_was_predicted():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1.0, abs=0.2)
