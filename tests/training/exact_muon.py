"""Commands, one after the other, with Muon's iteration in float32: bfloat16 hides differences.

Run as a script by test_distributed.py, in processes of their own; `--then` parts the commands.
"""

import sys
from itertools import groupby

import torch

from cloche.cli.main import main
from cloche.training.optim import Muon

if __name__ == "__main__":
    assert Muon.__init__.__kwdefaults__ is not None
    Muon.__init__.__kwdefaults__["newton_schulz_dtype"] = torch.float32
    statuses = [
        main(list(command))
        for parting, command in groupby(sys.argv[1:], key=lambda word: word == "--then")
        if not parting
    ]
    sys.exit(max(statuses))
