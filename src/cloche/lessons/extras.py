"""Packages that only some lessons, or only notebooks, need."""

import importlib
import importlib.util
from types import ModuleType

from cloche.errors import SettingError


def has_package(name: str) -> bool:
    """Whether a package can be imported here."""
    return importlib.util.find_spec(name) is not None


def require_package(name: str, wanted_for: str, *, install: str) -> ModuleType:
    """The module; SettingError that tells what to install where it is not here."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        raise SettingError(
            f"{wanted_for} needs the package {name.partition('.')[0]}: pip install '{install}'"
        ) from exc
