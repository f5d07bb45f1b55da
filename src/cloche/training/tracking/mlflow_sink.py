"""MLflow: the tracking server that the user has set, else a database beside the run."""

from importlib import import_module
from typing import Any

from cloche.training.tracking.held import Held
from cloche.training.tracking.identity import Identity
from cloche.training.tracking.rows import Figures, Row, TrackedRun

EXPERIMENT = "cloche"
LONGEST_VALUE = 500
"""Of a parameter: older servers refuse more."""


class MlflowSink:
    """Rows in the experiment `cloche`; samples are text files among its artifacts."""

    def __init__(self, run: TrackedRun, identity: Identity) -> None:
        mlflow: Any = import_module("mlflow")
        self._entities: Any = import_module("mlflow.entities")
        beside = run.folder.parent
        set_up = mlflow.is_tracking_uri_set()
        self._client: Any = mlflow.MlflowClient(
            tracking_uri=None if set_up else f"sqlite:///{beside / 'mlflow.db'}"
        )
        known = identity.recall()
        if known is None:
            found = self._client.get_experiment_by_name(EXPERIMENT)
            artifacts = None if set_up else (beside / "mlartifacts").as_uri()
            experiment = (
                found.experiment_id
                if found is not None
                else self._client.create_experiment(EXPERIMENT, artifact_location=artifacts)
            )
            known = self._client.create_run(experiment, run_name=run.name).info.run_id
            identity.keep(known)
            self._add_options(known, run.options)
        else:
            self._client.update_run(known, status="RUNNING")
        self._id = known
        # entities tell the latest values without their steps; messages tell both
        latest = self._client.get_run(known).data.to_proto().metrics
        self._held = Held({metric.key: metric.step for metric in latest})

    def add(self, row: Row) -> None:
        """Log the row."""
        if not isinstance(row, Figures):
            name = f"samples/step-{row.step:06}.txt"
            self._client.log_text(self._id, row.prompt + row.text, name)
            return
        rest = self._held.rest_of(row)
        if not isinstance(rest, Figures):
            return
        at = round(row.time * 1000)
        metric = self._entities.Metric
        values = [metric(name, value, at, row.step) for name, value in rest.values.items()]
        self._client.log_batch(self._id, metrics=values)

    def close(self, *, finished: bool) -> None:
        """End the run."""
        self._client.set_terminated(self._id, status="FINISHED" if finished else "KILLED")

    def _add_options(self, known: str, options: dict[str, Any]) -> None:
        parameter = self._entities.Param
        values = [parameter(name, str(value)[:LONGEST_VALUE]) for name, value in options.items()]
        for first in range(0, len(values), 100):  # a server takes a hundred at once
            self._client.log_batch(known, params=values[first : first + 100])
