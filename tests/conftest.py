"""Shared by all tests: shape checking, one thread a worker, the folder of shared data."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("cloche", "typechecking.check")


@pytest.fixture(autouse=True, scope="session")
def _one_thread_per_worker():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = os.environ.get("CLOCHE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CLOCHE_DATA does not name the folder of test texts")
    return Path(folder).resolve()
