"""torch.compile where it pays: the blocks alone, compiled once for all layers, kept on disk.

Compiling fuses the arithmetic between the matrix products. On a CPU it takes the time of many
steps, so whether it pays back within the run is measured before the run: a trial, whose compiled
code the run then finds in the cache.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from cloche.errors import SettingError

COMPILERS = ("c++", "g++", "clang++", "cl")
WORTH_A_TRIAL = 150.0
"""Seconds of training from which on a trial is made on a CPU. A trial took 12 to 40 seconds and
made steps up to a third shorter (docs/log.md)."""
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@dataclass(frozen=True)
class CompileChoice:
    """Whether to compile, and why, in a sentence for the screen (none where nobody wonders)."""

    compile: Literal["on", "off"]
    reason: str = ""
    step_seconds: float | None = None
    """Of the passes of a step, compiled, where a trial measured it."""


def compile_blocks(model: nn.Module, *, dynamic: bool) -> None:
    """Have every block of the model's stacks compiled when it is first called.

    Blocks of one shape share what was compiled. `dynamic` is for batches of many lengths.
    """
    for stack in model.modules():
        if not isinstance(stack, nn.ModuleList):
            continue
        for block in stack:
            if hasattr(block, "self_attn"):
                block.compile(dynamic=dynamic)


@contextmanager
def not_compiled() -> Iterator[None]:
    """Inside, compiled blocks run as they were written: evaluations have shapes of their own, and
    code compiled for those would not pay back."""
    with torch.compiler.set_stance("force_eager"):
        yield


def require_compiler(device: str) -> None:
    """SettingError where torch.compile has no C++ compiler to build with."""
    if not has_compiler(device):
        raise SettingError(
            "train.compile on needs a C++ compiler on a CPU, and none was found: install one "
            "(such as g++), or leave train.compile off"
        )


def has_compiler(device: str) -> bool:
    """Whether there is what compiled code is built with. GPUs have their own."""
    return device != "cpu" or any(map(shutil.which, COMPILERS))


def keep_compiled_code(folder: Path) -> None:
    """Have torch keep compiled code in this folder, which only its owner may open.

    What lies there is loaded as code. torch takes the place from the environment alone; one that
    is named there already stays.
    """
    if CACHE_VARIABLE in os.environ:
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    os.environ[CACHE_VARIABLE] = str(folder)


def choose_compile(
    wanted: Literal["auto", "on", "off"],
    *,
    device: str,
    can_try: bool,
    steps: int,
    step_seconds: Callable[[], float],
    compiled_step_seconds: Callable[[], float],
) -> CompileChoice:
    """Whether to compile for so many steps.

    `step_seconds` measures a step as written, `compiled_step_seconds` compiles first. On CUDA it is
    on; on a CPU if a trial says so. `can_try` is False for batches of many lengths.
    """
    if wanted != "auto":
        return CompileChoice(wanted)
    if device != "cpu":
        return CompileChoice("on" if device == "cuda" else "off")
    if not can_try:
        return CompileChoice("off")
    plain = step_seconds()
    if steps * plain < WORTH_A_TRIAL:
        return CompileChoice("off")
    if not has_compiler(device):
        return CompileChoice("off", "Not compiled: there is no C++ compiler here.")
    began = time.monotonic()
    try:
        compiled = compiled_step_seconds()
    except RuntimeError as exc:  # all of torch's compiler's are; whatever it is, all goes without
        said = str(exc).strip().splitlines()[0]
        return CompileChoice("off", f"Not compiled: the C++ compiler could not do it: {said}")
    trial = time.monotonic() - began
    share = compiled / plain
    if share >= 1.0:
        return CompileChoice(
            "off", f"Not compiled: a trial of {trial:.0f} s made steps no shorter ({share:.2f})."
        )
    return CompileChoice(
        "on",
        f"Compiled: after a trial of {trial:.0f} s, the passes of a step take {share:.2f} of the "
        "time.",
        compiled,
    )
