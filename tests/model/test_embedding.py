import subprocess
import sys

import torch
from torch import nn

from cloche.model.embedding import Embedding


def test_its_numbers_are_those_of_pytorch():
    torch.manual_seed(123)
    expected = nn.Embedding(6, 3).weight
    torch.manual_seed(123)
    assert torch.equal(Embedding(6, 3).weight, expected)


def test_without_memory_no_compiler_is_loaded():
    code = (
        "import sys, torch; from cloche.model.embedding import Embedding\n"
        "before = set(sys.modules)\n"
        "with torch.device('meta'): assert Embedding(6, 3).weight.is_meta\n"
        "loaded = {name for name in set(sys.modules) - before if '_inductor' in name}\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
