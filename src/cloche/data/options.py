"""How a text becomes training and validation data: the options of the `data` section."""

from dataclasses import dataclass
from typing import Literal

from cloche.data.cleaning.steps import parse_steps
from cloche.errors import SettingError


@dataclass(frozen=True)
class DataOptions:
    """The cut between training and validation, and the windows the model learns from."""

    split: float = 0.9
    """Share that is trained on, from the beginning; the rest validates. See data.split-by."""
    split_by: Literal["position", "document", "file"] = "position"
    """position: cut at a character. document, file: every document or file is whole in one part."""
    windows: Literal["epoch", "random"] = "epoch"
    """epoch: every window once before any comes again. random: each begins anywhere, by chance."""
    stride: int | None = None
    """Tokens from window to window; end to end, moving from epoch to epoch, when not given."""
    pair_columns: tuple[str, ...] = ()
    """Of seq2seq: the two columns or keys with source and target, or their numbers, from 1; source
    and target when not given, or the first two columns."""
    long_pairs: Literal["refuse", "skip"] = "refuse"
    """Of seq2seq: whether a pair longer than the model's context is an error, or left out."""
    clean: str = ""
    """Cleaning steps, as nfc,whitespace,near-duplicates=0.8,min-length=200; none when not given."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if not 0.0 < self.split < 1.0:
            found.append(f"data.split must be between 0 and 1, got {self.split}; 0.9 is usual")
        if self.stride is not None and self.stride < 1:
            found.append(f"data.stride must be at least 1 token, got {self.stride}")
        if self.stride is not None and self.windows == "random":
            found.append(
                f"data.stride {self.stride} has no meaning with data.windows random, whose windows "
                "begin anywhere: leave out one of them"
            )
        if len(self.pair_columns) not in (0, 2) or len(set(self.pair_columns)) == 1:
            named = ", ".join(self.pair_columns)
            found.append(
                f"data.pair-columns takes two names, of the source and of the target, got {named}"
            )
        if self.clean and self.split_by == "file":
            found.append(
                "data.split-by file cannot follow data.clean, after which there are documents and "
                "no files: use data.split-by document"
            )
        try:
            parse_steps(self.clean)
        except SettingError as exc:
            found.append(f"data.clean {self.clean!r}: {exc}")
        return found
