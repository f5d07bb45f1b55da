"""What a training frees stays with the process, and counts where its limit is asked for."""

import subprocess
import sys

import pytest

KEPT = """
import sys
import psutil
import torch
from cloche.training.machine import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
taken = lambda: psutil.Process().memory_info().rss
torch.ones(1 << 20).sum()
before = taken()
large = torch.ones(1 << 26)
del large
print((taken() - before) >> 20)
"""
LIMITED = """
import resource
from cloche.planning.available import available_memory
resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
print(available_memory())
"""
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def printed(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@LINUX
def test_freed_memory_is_kept_only_where_that_was_asked_for():
    assert printed(KEPT, "kept") > 200  # of 256 MB
    assert printed(KEPT, "as usual") < 100


@LINUX
def test_a_limit_of_the_address_space_is_heeded():
    assert 0 < printed(LIMITED) < 1 << 31
