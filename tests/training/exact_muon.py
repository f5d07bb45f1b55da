"""Commands, one after the other, with Muon's iteration in float32: bfloat16 hides differences.

Run as a script by test_distributed.py, in processes of their own; `--then` parts the commands.
SIGNAL_AT=STEP:NUMBER has the second process send itself a signal after that step, the first time
that it is started.
"""

import os
import sys
from functools import partial
from itertools import groupby

import torch

from cloche.cli.main import main
from cloche.training import loop, optim
from cloche.training.job import Training
from cloche.training.state import LoopState

take_step = loop.take_step


def step_then_signal(training: Training, state: LoopState, *, after: int, number: int):
    done = take_step(training, state)
    if state.step == after:
        os.kill(os.getpid(), number)
    return done


if __name__ == "__main__":
    optim.Muon = partial(optim.Muon, newton_schulz_dtype=torch.float32)  # pyright: ignore
    first_time = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if "SIGNAL_AT" in os.environ and os.environ["RANK"] == "1" and first_time:
        after, number = map(int, os.environ["SIGNAL_AT"].split(":"))
        loop.take_step = partial(step_then_signal, after=after, number=number)
    statuses = [
        main(list(command))
        for parting, command in groupby(sys.argv[1:], key=lambda word: word == "--then")
        if not parting
    ]
    sys.exit(max(statuses))
