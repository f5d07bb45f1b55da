"""Models under torch.compile: nothing is compiled again for a new step."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_mixture_is_compiled_once_whatever_its_routings_and_layers():
    program = Path(__file__).with_name("compiled_mixture.py")
    ran = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    told = json.loads(ran.stdout)
    first, *later = told["graphs"]
    assert told["routings"] > 1
    assert first > 0
    assert told["attention_compiled"]
    assert later == [0] * len(later)
    assert told["routers_told"] == 3
    assert told["largest_error"] < 1e-5
