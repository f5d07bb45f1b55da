"""How a text becomes training and validation data: the options of the `data` section."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataOptions:
    """The cut between training and validation, and the windows the model learns from."""

    split: float = 0.9
    """Share of the characters, from the beginning, that is trained on; the rest validates."""
    stride: int | None = None
    """Tokens from window to window; end to end, moving from epoch to epoch, when not given."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if not 0.0 < self.split < 1.0:
            found.append(f"data.split must be between 0 and 1, got {self.split}; 0.9 is usual")
        if self.stride is not None and self.stride < 1:
            found.append(f"data.stride must be at least 1 token, got {self.stride}")
        return found
