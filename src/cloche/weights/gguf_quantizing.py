"""Smaller types than cloche writes itself, by llama.cpp's own quantizer where the user has it."""

import shutil
import subprocess
from pathlib import Path

from cloche.errors import CheckpointError

QUANTIZER = "llama-quantize"
QUANTIZED_TYPES = (
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q2_K_S", "Q3_K_S", "Q3_K_M", "Q3_K_L"),
    *("Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"),
)
"""What it is asked for: the types that cloche reads back."""


def find_quantizer(kind: str) -> Path:
    """Where the quantizer lies. Raises CheckpointError that says how to get it."""
    found = shutil.which(QUANTIZER)
    if found is None:
        raise CheckpointError(
            f"the type {kind} needs llama.cpp's quantizer, and there is no {QUANTIZER} on the "
            f"PATH. It comes with llama.cpp (brew install llama.cpp, or a release from "
            f"https://github.com/ggml-org/llama.cpp/releases); or export as F16 or Q8_0"
        )
    return Path(found)


def quantize_file(quantizer: Path, source: Path, target: Path, *, kind: str) -> None:
    """Have a GGUF file in F32 quantized into another. Raises CheckpointError where it fails."""
    done = subprocess.run(
        [quantizer, source, target, kind], capture_output=True, stdin=subprocess.DEVNULL
    )
    if done.returncode or not target.is_file():
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-600:]
        raise CheckpointError(f"{quantizer} could not quantize the model as {kind}: {said}")
