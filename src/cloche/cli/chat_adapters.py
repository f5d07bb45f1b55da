"""`/adapter NAME` in a chat: another adapter writes from now on, or the model alone."""

from typing import TYPE_CHECKING

from cloche.cli.adapters import ALONE
from cloche.errors import SettingError

if TYPE_CHECKING:
    from cloche.run import LM


def list_adapters(lm: "LM") -> str:
    """Which adapters there are, and which of them writes."""
    if lm.adapters is None:
        return "the model was opened without adapters: --adapters NAME=FOLDER brings some"
    active = lm.adapters.active or "none of them"
    return (
        f"Adapters: {', '.join(lm.adapters.names)}; {active} writes. /adapter NAME takes another, "
        f"/adapter {ALONE} the model alone."
    )


def with_other_adapter(lm: "LM", name: str) -> "LM":
    """The model with the adapter of that name. SettingError for an unknown one."""
    if lm.adapters is None:
        raise SettingError(list_adapters(lm))
    alone = name == ALONE and ALONE not in lm.adapters.names
    return lm.with_adapter(None if alone else name)


def name_taken(name: str) -> str:
    """What to say when an adapter has been taken."""
    return "The model alone writes from now on." if name == ALONE else f"{name} writes from now on."
