"""Processes whose speed is known, in place of those that write."""

from typing import Any, ClassVar

from cloche.bench.generators import GeneratorProcess, GeneratorSetup, Times, Writing
from cloche.bench.processes import BandwidthProcess

SPEEDS = {
    "cloche float32": 40.0,
    "cloche bfloat16": 80.0,
    "cloche int8": 120.0,
    "cloche int4": 160.0,
    "transformers float32": 10.0,
    "transformers bfloat16": 20.0,
}
"""Tokens a second of one answer; several are written at half of that each."""
READING = 10.0
"""How many times faster a prompt is read."""


class KnownGenerator(GeneratorProcess):
    """Writes in no time what takes the time that is known."""

    alive = 0
    most_alive = 0
    asked: ClassVar[list[tuple[str, Writing]]] = []

    def __init__(self, setup: GeneratorSetup) -> None:
        self.setup = setup
        self.about: dict[str, Any] = {
            "weight_bytes": 250_000_000,
            "parameters": 100_000_000,
            "vocab_size": 50,
            "context": 1000,
            "start_seconds": 2.0,
            "first_seconds": 1.5,
            "notes": ["slow here"] if setup.precision == "int4" else [],
        }
        type(self).alive += 1
        type(self).most_alive = max(type(self).alive, type(self).most_alive)

    def close(self) -> None:
        type(self).alive -= 1

    def write(self, writing: Writing) -> Times:
        self.asked.append((self.setup.name, writing))
        speed = SPEEDS.get(self.setup.name, 100.0)
        batch = len(writing.prompts)
        began = batch * len(writing.prompts[0]) / (speed * READING)
        step = 1.0 / speed if batch == 1 else 2.0 / speed
        return [[began + number * step for number in range(writing.new_tokens)]] * batch

    def memory(self) -> dict[str, int]:
        return {"peak_bytes": 700_000_000, "before_bytes": 200_000_000}


class KnownBandwidth(BandwidthProcess):
    """A memory that gives 20 GB/s to the best of two ways."""

    def __init__(self, *, threads: int, device: str, size: int = 0) -> None:
        self.about = {}

    def close(self) -> None:
        """There is nothing to end."""

    def bytes_per_second(self) -> dict[str, float]:
        return {"sum of int64": 20e9, "copy": 15e9}
