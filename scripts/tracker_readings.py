"""What a tracker stored of a run, read through its own interface: one JSON object.

`python scripts/tracker_readings.py NAME RUN` prints `runs` (how many of that name there are),
`figures` as rows of (name, step, value), `samples` as (step, text), and `options`.
"""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Reading = dict[str, Any]


def read_tensorboard(run: Path) -> Reading:
    """Of the event files, as TensorBoard shows them."""
    loader: Any = import_module("tensorboard.backend.event_processing.event_accumulator")
    found = loader.EventAccumulator(str(run / "events"), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    texts = {
        tag: [
            (event.step, event.tensor_proto.string_val[0].decode()) for event in found.Tensors(tag)
        ]
        for tag in ("sample", "config")
    }
    names = found.Tags()["scalars"]
    return {
        "runs": 1,
        "figures": [
            (name, event.step, event.value) for name in names for event in found.Scalars(name)
        ],
        "samples": [(step, text.replace("\n    ", "\n")[4:]) for step, text in texts["sample"]],
        "options": {"config": texts["config"][0][1]},
    }


def read_aim(run: Path) -> Reading:
    """Of the repository beside the run. Its index is made first, as `aim up` makes it."""
    aim: Any = import_module("aim")
    managers: Any = import_module("aim.sdk.index_manager")
    context: Any = import_module("aim.storage.context")
    known = identity_of(run, "aim")
    repository = aim.Repo(str(run.parent))
    for each in repository.list_all_runs():
        managers.RepoIndexManager.get_index_manager(repository).index(each)
    repository = aim.Repo(str(run.parent))
    opened = repository.get_run(known)
    figures = []
    for metric in opened.metrics():
        steps, (values, *_) = metric.data.items_list()
        figures += [(metric.name, *pair) for pair in zip(steps, values, strict=True)]
    steps, (texts, *_) = opened.get_text_sequence("sample", context.Context({})).data.items_list()
    samples = [(step, text.data) for step, text in zip(steps, texts, strict=True)]
    same_name = [one for one in repository.iter_runs() if one.name == run.name]
    options = opened["options"]
    return {"runs": len(same_name), "figures": figures, "samples": samples, "options": options}


def read_mlflow(run: Path) -> Reading:
    """Of the database beside the run."""
    mlflow: Any = import_module("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run.parent / 'mlflow.db'}")
    known = identity_of(run, "mlflow")
    found = client.get_run(known)
    experiment = client.get_experiment_by_name("cloche").experiment_id
    figures = [
        (metric.key, metric.step, metric.value)
        for name in found.data.metrics
        for metric in client.get_metric_history(known, name)
    ]
    samples = []
    for entry in client.list_artifacts(known, "samples"):
        path = Path(client.download_artifacts(known, entry.path))
        samples.append((int(path.stem.removeprefix("step-")), path.read_text(encoding="utf-8")))
    same_name = client.search_runs([experiment], f"run_name = '{run.name}'")
    options = found.data.params
    return {"runs": len(same_name), "figures": figures, "samples": samples, "options": options}


def read_trackio(run: Path) -> Reading:
    """Of the database that TRACKIO_DIR names."""
    trackio: Any = import_module("trackio")
    storage: Any = import_module("trackio.sqlite_storage").SQLiteStorage
    known = identity_of(run, "trackio")
    (found,) = (one for one in trackio.Api().runs("cloche") if one.name == known)
    figures, samples = [], []
    for row in storage.get_logs("cloche", known):
        step = row.pop("step")
        row.pop("timestamp")
        for name, value in row.items():
            kept = samples if name == "sample" else figures
            kept.append((step, value) if name == "sample" else (name, step, value))
    same_name = [one for one in trackio.Api().runs("cloche") if one.name.startswith(run.name + "-")]
    options = dict(found.config)
    return {"runs": len(same_name), "figures": figures, "samples": samples, "options": options}


def identity_of(run: Path, name: str) -> str:
    """What the tracker calls the run."""
    return (run / "trackers" / f"{name}.id").read_text(encoding="utf-8").strip()


READERS: dict[str, Callable[[Path], Reading]] = {
    "aim": read_aim,
    "mlflow": read_mlflow,
    "tensorboard": read_tensorboard,
    "trackio": read_trackio,
}

if __name__ == "__main__":
    print("\n" + json.dumps(READERS[sys.argv[1]](Path(sys.argv[2])), default=str))
