"""The predicted peak against that of a process that really takes two steps."""

import subprocess
import sys
from pathlib import Path

import pytest

STEPS = """
import threading, time
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

torch.set_num_threads(1)
page = __import__("os").sysconf("SC_PAGE_SIZE")
taken = lambda: page * int(Path("/proc/self/statm").read_text().split()[1])
config = complete(ModelOptions(), vocab_size=1280, layers=4, width=256, context=128)
before, most, ended = taken(), [0], threading.Event()


def watch():
    while not ended.wait(0.002):
        most[0] = max(most[0], taken())


watcher = threading.Thread(target=watch)
watcher.start()
ids = np.random.default_rng(0).integers(1280, size=4096)
tokens = TokensInMemory(ids, np.array([4096]), separated=False)
batch = Windows(tokens, context=128, seed=0).batch(0, size=16)
masters = build_network(config)
initialise(masters, seed=0)
compute = ComputeModel(masters, dtype=torch.float32)
optimizers = build_optimizers(masters, TrainOptions(optimizer="adamw"), learning_rate=0.01)
objective = NextToken()
for _ in range(2):
    losses = objective(compute.model, batch)
    losses.terms["loss"].sum.backward()
    compute.collect_gradients()
    optimizers.step()
    compute.clear_gradients()
    compute.refresh()
ended.set()
watcher.join()
predicted = training_memory(
    config, batch=16, precision="float32", optimizer="adamw", attention="fused"
)
print(predicted.total / (most[0] - before))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_two_steps_take_what_was_predicted():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1.0, abs=0.2)
