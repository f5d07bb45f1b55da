"""The options that put adapters over a model."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cloche.cli.sampling import tell
from cloche.errors import SettingError

if TYPE_CHECKING:
    from cloche.run import LM

ONE = "adapter"
ALONE = "none"
"""In place of a name: the model without any adapter."""


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """Which adapters are opened over the model, and which of them writes."""

    adapters: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FOLDER")] = ()
    """LoRA adapters over the model, each with a name: runs, checkpoints, or PEFT's folders."""
    adapter: str | None = None
    """The name of one of --adapters to write with, or the folder of the only one; none: the model
    alone. When not given, the only one of --adapters writes."""

    def named_adapters(self) -> dict[str, str]:
        """Folders by name. SettingError for what is no NAME=FOLDER, and names that come twice."""
        found: dict[str, str] = {}
        for given in self.adapters:
            name, equals, folder = given.partition("=")
            if not (name and equals and folder):
                raise SettingError(f"--adapters {given!r} is not NAME=FOLDER, as poet=runs/poet")
            if name in found:
                raise SettingError(f"--adapters names two adapters {name}: name them apart")
            found[name] = folder
        if not found and self.adapter is not None and not self._alone(found):
            found[ONE] = self.adapter
        return found

    def chosen(self, lm: "LM") -> "LM":
        """The model with the adapter that was asked for; it is told where none of several is."""
        names = list(self.named_adapters())
        if not names or self._alone(names):
            return lm
        if len(names) > 1 and self.adapter is None:
            tell(
                f"none of the adapters {', '.join(names)} writes, but the model alone: name one "
                "with --adapter"
            )
            return lm
        return lm.with_adapter(self.adapter if self.adapters and self.adapter else names[0])

    def _alone(self, names: Collection[str]) -> bool:
        """Whether the model without any adapter was asked for."""
        means_none = bool(self.adapters) or not Path(ALONE).is_dir()
        return self.adapter == ALONE and ALONE not in names and means_none
