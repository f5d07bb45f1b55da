"""A small text of our own, a small run's options, and what runs leave to compare."""

from hashlib import sha256

from cloche.training.events import Notice

TEXT = "".join(
    f"The {size} {animal} saw {number} {thing}s near the river.\n"
    for size in ("small", "old", "quick", "green")
    for animal in ("fox", "hen", "dog", "owl", "cat")
    for number in ("two", "ten", "five")
    for thing in ("stone", "leaf", "boat", "lamp")
)
SMALL = {
    "train.precision": "float32",  # measured, two runs might differ on a busy machine
    "train.steps": 8,
    "train.eval_every": 4,
    "train.batch": 4,
    "train.sample_tokens": 8,
    "model.layers": 1,
    "model.width": 32,
    "model.context": 16,
}


def weights_of(run):
    """A hash: pytest would take many minutes to show where the bytes differ."""
    return sha256((run / "latest" / "model.safetensors").read_bytes()).hexdigest()


def notices(events):
    return "\n".join(event.text for event in events if isinstance(event, Notice))
