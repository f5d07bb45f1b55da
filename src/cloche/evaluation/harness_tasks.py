"""Finds tasks of lm-evaluation-harness by name or by file, and loads them with their data.

A task is a YAML file: one of the thousands that come with the harness, most with data from the
Hugging Face hub, or one of yours. Loading a task runs what Python its file names (`!function`).
"""

import difflib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cloche.errors import DataError, SettingError, join_problems

SUFFIX = ".yaml"
OWN_TASKS = Path(__file__).parent / "tasks"
"""Small tasks that come with cloche: to try, to read, and to copy."""
LOCAL_KINDS = {"json", "csv", "parquet", "text", "arrow", "pandas", "xml"}
"""Data sets that are files of the task, by the harness's names."""
NO_TASK = "Unknown config shape"
"""What the harness says of a file that holds no task, but what others include."""
SEED_OF_SHOTS = 1234
"""The harness's own, so that the same examples stand before a question."""


def load_tasks(
    names: Sequence[str],
    *,
    include_path: Path | None,
    shots: int | None,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """The tasks, groups and tags of these names, as the harness's `evaluate` takes them.

    A name that ends in .yaml is a task's file; others are looked for in the files below
    `include_path`, then among those that come with cloche, then with the harness. Files of data
    that a task names are looked for beside its file first, then in the working folder. `shots`
    examples stand before each question, unless the task's file sets 0. Raises SettingError and
    DataError.
    """
    with TemporaryDirectory(prefix="cloche-tasks-") as wrappers:
        with _messages_of_index() as messages:
            folders, names = _folders_and_names(names, include_path)
            manager, own = _manager(names, folders, Path(wrappers))
        _require_known(names, manager.task_index, messages)
        for message in dict.fromkeys(messages):
            if message.startswith("Duplicate") and any(str(each) in message for each in folders):
                warn(message)
        loaded = _load(names, manager, own)
    _set_shots(loaded["tasks"], shots, warn=warn)
    return loaded


def _folders_and_names(
    given: Sequence[str], include_path: Path | None
) -> tuple[list[Path], list[str]]:
    """The folders to look for tasks in, and the names of the tasks, of files too."""
    problems = []
    folders = [OWN_TASKS] if include_path is None else [OWN_TASKS, include_path]
    if include_path is not None and not include_path.is_dir():
        problems.append(f"--include-path must be a folder of task files, got {include_path}")
    files = [Path(name) for name in given if name.endswith(SUFFIX)]
    problems += [f"the task file {path} does not exist" for path in files if not path.is_file()]
    if problems:
        raise SettingError(join_problems(problems))
    folders += dict.fromkeys(path.parent for path in files)
    names = [_name_in(Path(name)) if name.endswith(SUFFIX) else name for name in given]
    return folders, list(dict.fromkeys(names))


def _name_in(path: Path) -> str:
    """The name of the task or group in a file. DataError where it holds none."""
    from lm_eval.tasks import TaskManager

    for name, entry in TaskManager(
        include_path=path.parent, include_defaults=False
    ).task_index.items():
        if entry.yaml_path is not None and entry.yaml_path.samefile(path):
            return name
    raise DataError(
        f"{path} holds no task: a task file is YAML with at least task, dataset_path, output_type, "
        "doc_to_text and doc_to_target (docs/harness.md)"
    )


def _manager(
    names: Sequence[str], folders: Sequence[Path], wrappers: Path
) -> tuple[Any, Mapping[str, Any]]:
    """The harness's index of tasks: of these folders, and its own where a name asks for it.

    Beside it, the entries of these folders as their files are.
    """
    from lm_eval.tasks import TaskManager

    index = TaskManager(include_path=list(folders), include_defaults=False).task_index
    _write_wrappers(index, wrappers)
    manager = TaskManager(
        include_path=[*folders, wrappers],
        include_defaults=not set(names) <= set(index),  # thousands of files: seconds
    )
    return manager, index


def _write_wrappers(index: Mapping[str, Any], folder: Path) -> None:
    """Write files that take the place of tasks whose data lies beside their own file.

    The harness takes names of files from the working folder; a task file that includes another
    one may say otherwise. All tasks get one as soon as one needs it, so that no tag is torn.
    """
    import yaml

    wanted = {}
    for name, entry in index.items():
        if entry.yaml_path is None or "group" in entry.cfg:
            continue
        wrapper = {"include": str(entry.yaml_path.resolve()), "task": name}
        given = entry.cfg.get("dataset_kwargs")
        beside = _beside(given, entry.yaml_path.resolve().parent) if isinstance(given, dict) else {}
        wanted[name] = wrapper | ({"dataset_kwargs": {**given, **beside}} if beside else {})
    if any("dataset_kwargs" in wrapper for wrapper in wanted.values()):
        for number, wrapper in enumerate(wanted.values()):
            text = yaml.safe_dump(wrapper, allow_unicode=True)
            (folder / f"{number}{SUFFIX}").write_text(text, encoding="utf-8")


def _beside(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The names of files and folders that lie beside a task's file, with their whole path."""
    found = {key: _placed(given[key], folder) for key in ("data_files", "data_dir") if key in given}
    return {key: value for key, value in found.items() if value != given[key]}


def _placed(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: _placed(part, folder) for key, part in value.items()}
    if isinstance(value, list):
        return [_placed(part, folder) for part in value]
    if not isinstance(value, str) or "://" in value or Path(value).is_absolute():
        return value
    return str(folder / value) if any(folder.glob(value)) else value


def _require_known(names: Sequence[str], index: Mapping[str, Any], messages: Sequence[str]) -> None:
    problems = []
    for name in names:
        if name in index:
            continue
        near = difflib.get_close_matches(name, index, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "a task file's name ends in .yaml"
        problems.append(f"there is no task {name!r} among the {len(index):,} known; {hint}")
    if not problems:
        return
    # files without a task, which others include, are meant to be left out
    skipped = [text for text in messages if text.startswith("Skip ") and NO_TASK not in text]
    for text in dict.fromkeys(skipped):
        problems.append(f"a task file cannot be read: {text.removeprefix('Skip ')}")
    raise SettingError(join_problems(problems))


@contextmanager
def _messages_of_index() -> Iterator[list[str]]:
    """What the harness says while it looks for tasks: of files it leaves out, it tells no one."""
    logger = logging.getLogger("lm_eval.tasks")
    listener = _Listener()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield listener.messages
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate


class _Listener(logging.Handler):
    """Keeps what a logger is told."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.messages.append(record.getMessage())


def _load(names: Sequence[str], manager: Any, own: Mapping[str, Any]) -> dict[str, Any]:
    """The tasks with their data. DataError with all that cannot be loaded."""
    loaded: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
    problems, causes = [], []
    for name in names:
        try:
            found = manager.load([name])
        except Exception as exc:  # of any kind: the task's own code ran, and read its data
            problems.append(_why(name, own.get(name, manager.task_index[name]), exc))
            causes.append(exc)
        else:
            for kind, parts in loaded.items():
                parts.update(found.get(kind, {}))
    if problems:
        raise DataError(join_problems(problems)) from causes[0]
    return loaded


def _why(name: str, entry: Any, exc: Exception) -> str:
    """Why a task could not be loaded."""
    path = (entry.cfg or {}).get("dataset_path")
    of_hub = isinstance(path, str) and path not in LOCAL_KINDS and not Path(path).exists()
    reason = f"{type(exc).__name__}: {exc}"
    if of_hub or isinstance(exc, ConnectionError):
        what = f"the data set {path}" if of_hub else "data"
        return (
            f"the task {name} needs {what} from the Hugging Face hub, which cannot be had "
            f"({reason}). Without a network, use a task file of your own: YAML with "
            "'dataset_path: json' and data_files (docs/harness.md)"
        )
    place = "" if entry.yaml_path is None else f"; see {entry.yaml_path}"
    return f"the task {name} cannot be loaded: {reason}{place}"


def _set_shots(tasks: Mapping[str, Any], shots: int | None, *, warn: Callable[[str], None]) -> None:
    """Settle how many examples stand before a question, by the rule of the harness's command."""
    for name, task in tasks.items():
        own = task.get_config("num_fewshot")
        if shots is not None and own == 0 != shots:
            warn(f"the file of the task {name} sets num_fewshot: 0, so --shots is not for it")
        elif shots is not None or own is None:
            task.set_config(key="num_fewshot", value=shots or 0)
        task.set_fewshot_seed(seed=SEED_OF_SHOTS)
