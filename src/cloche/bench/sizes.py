"""The sizes that trainers are compared at, and what one of them is told. Loads no torch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from cloche.errors import SettingError
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete


@dataclass(frozen=True)
class BenchSize:
    """A GPT-2 of some shape, and the sequences in a step unless another number is asked for."""

    name: str
    layers: int
    heads: int
    width: int
    context: int
    vocab_size: int
    batch: int

    def config(self) -> ModelConfig:
        """The model as cloche builds it: GPT-2's blocks, as transformers has them."""
        return complete(
            ModelOptions(family="gpt2", layers=self.layers, heads=self.heads, width=self.width),
            vocab_size=self.vocab_size,
            layers=self.layers,
            width=self.width,
            context=self.context,
        )


SIZES: Mapping[str, BenchSize] = {
    size.name: size
    for size in (
        # nanoGPT's models for Tiny Shakespeare by characters, on a CPU and on a GPU; GPT-2 small
        BenchSize("0.8M", 4, 4, 128, 64, 65, batch=12),
        BenchSize("10M", 6, 6, 384, 256, 65, batch=8),
        BenchSize("124M", 12, 12, 768, 256, 50_257, batch=2),
    )
}


SIDES = ("cloche", "textbook", "transformers float32", "transformers bfloat16")
MATMUL = "matmul"
"""Not a trainer: the process that measures the machine's matrix-multiply peak."""

Batch = int | Literal["own", "best"]
"""Sequences in a step: a number, the size's own, or each side's fastest."""


@dataclass(frozen=True)
class TrainerSetup:
    """What a trainer's process is told before it begins: one line of JSON."""

    side: str
    size: BenchSize
    batch: int
    optimizer: str = "adamw"
    compile: str = "on"
    device: str = "cpu"
    threads: int | None = None
    """torch's own choice when not given."""


def find_sizes(names: str) -> list[BenchSize]:
    """The sizes named, comma between them. SettingError tells what there is no size for."""
    return [SIZES[name] for name in _named(names, SIZES, option="--sizes")]


def find_sides(names: str) -> tuple[str, ...]:
    """The sides named, comma between them. SettingError tells which there are not."""
    return tuple(_named(names, SIDES, option="--sides"))


def find_batches(names: str) -> list[Batch]:
    """Numbers and `best`, comma between them; each size's own batch where there are none."""
    found: list[Batch] = []
    for name in _pieces(names):
        if name == "best":
            found.append("best")
        elif name.isdecimal() and int(name):
            found.append(int(name))
        else:
            raise SettingError(f"--batch takes numbers of at least 1, and best; got {name}")
    return found or ["own"]


def _named(names: str, known: Collection[str], *, option: str) -> list[str]:
    wanted = _pieces(names)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        what = ", ".join(unknown) or "none"
        raise SettingError(f"{option} takes {', '.join(known)}, comma between them; got {what}")
    return wanted


def _pieces(names: str) -> list[str]:
    """What stands between the commas, each once."""
    return list(dict.fromkeys(filter(None, map(str.strip, names.split(",")))))
