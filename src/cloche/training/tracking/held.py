"""What a tracker has already of a run that goes on, so that no step comes twice.

A killed training goes on from its checkpoint, and does the steps beyond it again; these trackers
take no row back. The steps are the same steps, so those that the tracker has are not sent.
"""

from collections.abc import Mapping
from dataclasses import replace

from cloche.training.tracking.rows import Figures, Row

SAMPLE = "sample"
"""The name under which trackers keep what the model wrote."""


class Held:
    """The last step that a tracker has under each name."""

    def __init__(self, last_steps: Mapping[str, int]) -> None:
        self._last_steps = dict(last_steps)

    def rest_of(self, row: Row) -> Row | None:
        """The row without what the tracker has; None where that is all of it."""
        if not isinstance(row, Figures):
            return row if self._is_new(SAMPLE, row.step) else None
        values = {name: value for name, value in row.values.items() if self._is_new(name, row.step)}
        return replace(row, values=values) if values else None

    def _is_new(self, name: str, step: int) -> bool:
        return step > self._last_steps.get(name, -1)
