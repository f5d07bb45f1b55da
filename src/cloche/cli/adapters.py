"""The options that put adapters over a model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from cloche.errors import SettingError

if TYPE_CHECKING:
    from cloche.run import LM

ONE = "adapter"


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """Which adapters are opened over the model, and which of them writes."""

    adapters: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FOLDER")] = ()
    """LoRA adapters over the model, each with a name: runs, checkpoints, or PEFT's folders."""
    adapter: str | None = None
    """The name of one of --adapters to write with, or the folder of the only one."""

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
        if not found and self.adapter is not None:
            found[ONE] = self.adapter
        return found

    def chosen(self, lm: "LM") -> "LM":
        """The model with the adapter that was asked for."""
        if self.adapter is None:
            return lm
        return lm.with_adapter(self.adapter if self.adapters else ONE)
