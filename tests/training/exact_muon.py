"""Commands, one after the other, with Muon's iteration in float32: bfloat16 hides differences.

Run as a script by test_distributed.py, in processes of their own; `--then` parts the commands.
"""

import sys
from functools import partial
from itertools import groupby

import torch

from cloche.cli.main import main
from cloche.training import optim

if __name__ == "__main__":
    optim.Muon = partial(optim.Muon, newton_schulz_dtype=torch.float32)  # pyright: ignore
    statuses = [
        main(list(command))
        for parting, command in groupby(sys.argv[1:], key=lambda word: word == "--then")
        if not parting
    ]
    sys.exit(max(statuses))
