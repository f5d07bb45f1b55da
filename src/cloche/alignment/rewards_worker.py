"""The process that a user's reward function runs in. It takes and gives one line of JSON a call.

Started as `python -m cloche.alignment.rewards_worker MODULE FUNCTION`, or with a third argument,
an option in JSON with which FUNCTION makes the one that is called. It knows only the standard
library, so that it is there at once, and ends when its parent does.
"""

import importlib
import importlib.util
import inspect
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import IO, Any

_LOOK_SECONDS = 1.0


def main() -> None:
    """Load the function and answer calls until none comes any more."""
    calls, replies = _own_pipes()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        function = load_function(*sys.argv[1:3])
        for option in sys.argv[3:]:
            function = function(json.loads(option))
        require_three(function)
    except LookupError as exc:
        _reply(replies, exc.args[0])
        return
    except BaseException as exc:  # whatever a module does when it is loaded, even exit
        _reply(replies, {"error": describe(exc)})
        return
    _reply(replies, {"ready": True})
    for line in calls:
        call = json.loads(line)
        try:
            value = function(call["prompt"], call["answer"], call["record"])
            reply = {"value": number_of(value)}
        except BaseException as exc:
            reply = {"error": describe(exc)}
        _reply(replies, reply)


def load_function(module: str, name: str) -> Callable[..., Any]:
    """The function; LookupError with the functions there are where the module has none such."""
    found = _load_file(Path(module)) if module.endswith(".py") else _load_module(module)
    function = getattr(found, name, None)
    if not callable(function):
        offered = [name for name, each in vars(found).items() if _offered(name, each)]
        raise LookupError({"functions": offered})
    return function


def require_three(function: Callable[..., Any]) -> None:
    """LookupError with what the function takes where it cannot be given three things in order."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # written in C, it does not tell: its first call will
    try:
        signature.bind("", "", {})
    except TypeError as exc:
        raise LookupError({"takes": str(signature)}) from exc


def number_of(value: object) -> float:
    """What a reward function gave, as a number; TypeError or ValueError where it is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"a reward must be a number such as 1.0, got {type(value).__name__} {value!r:.80}"
        )
    number = float(value)
    if number != number or abs(number) == float("inf"):
        raise ValueError(f"a reward must be a finite number, got {number}")
    return number


def describe(exc: BaseException) -> str:
    """An exception in one line, with the place where it was raised."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{type(exc).__name__}: {exc.msg} ({Path(exc.filename).name}, line {exc.lineno})"
    said = "".join(traceback.format_exception_only(exc)).strip().splitlines()[-1]
    frames = traceback.extract_tb(exc.__traceback__)
    if not frames or frames[-1].filename == __file__:
        return said
    own = Path(__file__).parents[1] in Path(frames[-1].filename).parents
    if own and type(exc).__module__.startswith("cloche."):
        return str(exc)  # of a ready reward: where its code says so helps nobody
    return f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _load_module(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    return importlib.import_module(name)


def _load_file(path: Path) -> ModuleType:
    sys.path.insert(0, str(path.parent.absolute()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _offered(name: str, value: object) -> bool:
    return callable(value) and not isinstance(value, type) and not name.startswith("_")


def _own_pipes() -> tuple[IO[str], IO[str]]:
    """The pipes to the parent. What the function itself prints goes to the standard error."""
    calls = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return calls, replies


def _end_with(parent: int) -> None:
    """End this process, even in the middle of a call, once the parent is gone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _reply(replies: IO[str], reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
