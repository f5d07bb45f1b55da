"""A pipeline of diffusers, loaded from its folder, and what it takes.

Source: AutoPipelineForText2Image and AutoPipelineForImage2Image,
https://huggingface.co/docs/diffusers/api/pipelines/auto_pipeline
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch

from cloche.errors import CheckpointError, SettingError
from cloche.image.extras import quietly
from cloche.image.folder import PipelineFolder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Painter:
    """A pipeline ready to draw."""

    pipeline: Any
    device: str
    precision: str
    takes: dict[str, Any]
    """Names of its settings, with their defaults."""

    def default(self, name: str) -> Any:
        """What it takes when nobody says; None where it has no such setting, or no default."""
        found = self.takes.get(name)
        return None if found is inspect.Parameter.empty else found

    @property
    def longest_prompt(self) -> int | None:
        """Tokens that it has encoders read which are not CLIP's."""
        found = self.default("max_sequence_length")
        return found if isinstance(found, int) else None


def choose_device(wanted: str) -> str:
    """The device's type. SettingError where the wanted one is not there."""
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there.insert(0, "cuda")
    if wanted == "auto":
        return there[0]
    if wanted not in there:
        raise SettingError(f"device {wanted} is not available here; there is: {', '.join(there)}")
    return wanted


def choose_precision(wanted: str, device: str) -> str:
    """The precision of the weights: 16 bits on a GPU, 32 on a CPU, which multiplies those faster.

    Raises SettingError for float16 on a CPU.
    """
    if wanted == "auto":
        return "float32" if device == "cpu" else "float16"
    if wanted == "float16" and device == "cpu":
        raise SettingError(
            "precision float16 is for GPUs: on a CPU take bfloat16, which is as small"
        )
    return wanted


def load_painter(
    folder: PipelineFolder, *, device: str, precision: str, from_picture: bool
) -> Painter:
    """The pipeline that draws from a prompt alone, or from a picture and a prompt.

    Raises CheckpointError where diffusers cannot load it, or has none of that kind.
    """
    with quietly():
        from diffusers.pipelines.auto_pipeline import (
            AutoPipelineForImage2Image,
            AutoPipelineForText2Image,
        )

        kind = AutoPipelineForImage2Image if from_picture else AutoPipelineForText2Image
        try:
            pipeline = kind.from_pretrained(
                str(folder.path),
                variant=folder.variant,
                torch_dtype=DTYPES[precision],
                use_safetensors=True,
                local_files_only=True,
            )
            pipeline.to(device)
        except MemoryError:
            raise
        except torch.OutOfMemoryError:
            raise
        except Exception as exc:  # of diffusers, transformers and safetensors: many kinds
            raise CheckpointError(_why_not(folder, exc, from_picture=from_picture)) from exc
    pipeline.set_progress_bar_config(disable=True)
    parameters = inspect.signature(pipeline.__call__).parameters
    takes = {name: each.default for name, each in parameters.items()}
    return Painter(pipeline, device, precision, takes)


def _why_not(folder: PipelineFolder, exc: Exception, *, from_picture: bool) -> str:
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())
    if "AutoPipeline can't find" in reason:
        wanted = "begin from a picture" if from_picture else "draw from a prompt alone"
        return f"{folder.name} is a {folder.kind}, and diffusers has none of its family to {wanted}"
    return (
        f"{folder.name} cannot be loaded by diffusers ({reason}). Where the download was broken "
        "off, download it again; else try a newer diffusers"
    )
