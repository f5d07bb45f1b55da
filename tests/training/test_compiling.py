import os
import stat
import subprocess
import sys
from typing import Literal

import pytest
import torch

from cloche.errors import SettingError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.training import compiling
from cloche.training.compiling import (
    CACHE_VARIABLE,
    choose_compile,
    compile_blocks,
    keep_compiled_code,
    not_compiled,
    require_compiler,
)


@pytest.fixture(autouse=True)
def a_compiler(monkeypatch):
    monkeypatch.setattr(compiling, "has_compiler", lambda device: True)


def choose(
    wanted: Literal["auto", "on", "off"] = "auto",
    *,
    device: str = "cpu",
    can_try: bool = True,
    steps: int = 1000,
    plain: float | Exception = 1.0,
    compiled: float | Exception = 0.6,
):
    def seconds(value):
        def measured():
            if isinstance(value, Exception):
                raise value
            return value

        return measured

    return choose_compile(
        wanted,
        device=device,
        can_try=can_try,
        steps=steps,
        step_seconds=seconds(plain),
        compiled_step_seconds=seconds(compiled),
    )


def test_a_long_run_is_compiled_where_that_makes_steps_shorter():
    found = choose()
    assert (found.compile, found.step_seconds) == ("on", 0.6)
    assert "0.60 of the time" in found.reason
    assert choose(compiled=1.02).compile == "off"
    assert "no shorter (1.02)" in choose(compiled=1.02).reason


def test_a_short_run_is_not_tried():
    found = choose(steps=100, compiled=AssertionError("tried"))
    assert (found.compile, found.reason) == ("off", "")


def test_what_was_asked_for_is_not_measured():
    nothing = AssertionError("measured")
    assert choose("on", plain=nothing, compiled=nothing).compile == "on"
    assert choose("off", plain=nothing, compiled=nothing).compile == "off"
    assert choose(device="cuda", plain=nothing, compiled=nothing).compile == "on"
    assert choose(can_try=False, plain=nothing, compiled=nothing).compile == "off"


def test_without_a_compiler_nothing_is_tried_and_that_is_said(monkeypatch):
    monkeypatch.setattr(compiling, "has_compiler", lambda device: False)
    found = choose(compiled=AssertionError("tried"))
    assert found.compile == "off"
    assert "no C++ compiler" in found.reason
    with pytest.raises(SettingError, match="needs a C"):
        require_compiler("cpu")


def test_a_compiler_that_fails_is_told_of_and_done_without():
    found = choose(compiled=RuntimeError("Python.h: No such file\nand much more"))
    assert found.compile == "off"
    assert found.reason.endswith("Python.h: No such file")


def test_compiled_code_lies_in_a_folder_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    keep_compiled_code(tmp_path / "compiled")
    assert os.environ[CACHE_VARIABLE] == str(tmp_path / "compiled")
    assert stat.S_IMODE((tmp_path / "compiled").stat().st_mode) == 0o700
    keep_compiled_code(tmp_path / "another")
    assert os.environ[CACHE_VARIABLE] == str(tmp_path / "compiled")
    monkeypatch.delenv(CACHE_VARIABLE)


IN_A_PROCESS_OF_ITS_OWN = """
import torch
from torch._dynamo.testing import CompileCounter
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete

config = complete(ModelOptions(heads=2), vocab_size=11, layers=4, width=16, context=8)
written, compiled = build_model(config), build_model(config)
for model in (written, compiled):
    initialise(model, seed=0)
counter = CompileCounter()
for block in compiled.layers:
    block.compile(backend=counter)
ids = torch.arange(16).reshape(2, 8) % 11
for _ in range(2):
    torch.testing.assert_close(compiled(ids), written(ids))
print(counter.frame_count)
"""


def test_compiled_blocks_give_what_written_ones_give_and_all_layers_share_the_code():
    # the annotations that tests check would be compiled, too: so not in this process
    found = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN], capture_output=True, text=True, check=True
    )
    assert int(found.stdout) <= 2  # the first block's input needs no gradient of its own


def test_blocks_are_compiled_and_nothing_else(monkeypatch):
    config = complete(ModelOptions(heads=2), vocab_size=11, layers=2, width=16, context=8)
    model = build_model(config)
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compiled.append((self, options))
    )
    compile_blocks(model, dynamic=True)
    assert isinstance(model, Decoder)
    assert compiled == [(block, {"dynamic": True}) for block in model.layers]


def test_inside_not_compiled_nothing_is_compiled():
    calls = []

    def backend(graph, _inputs):
        calls.append(graph)
        return graph.forward

    doubled = torch.compile(lambda x: x + x, backend=backend)
    with not_compiled():
        assert doubled(torch.ones(1)) == 2
    assert not calls
    assert doubled(torch.ones(1)) == 2
    assert len(calls) == 1
    torch.compiler.reset()
