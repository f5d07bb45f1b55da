"""A lesson that has run as values of JSON, in both languages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor

from cloche.lens.view import View
from cloche.lessons.charts import Chart, Series, array
from cloche.lessons.outputs import Output, Printed, Rows, Said
from cloche.lessons.running import Ran


def plain_values(ran: Sequence[Ran]) -> dict[str, Any]:
    """Code, outputs and seconds of every cell, and the values that the texts tell."""
    cells = [
        {
            "name": each.cell.name,
            "code": each.cell.code,
            "outputs": [_output(output) for output in each.outputs],
            "seconds": round(each.seconds, 3),
        }
        for each in ran
    ]
    return {"cells": cells, "values": plain(ran[-1].values) if ran else {}}


def plain(value: Any) -> Any:
    """A value as JSON has it; a number that is none is the string NaN, Infinity or -Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Tensor | np.ndarray):
        return plain(array(value).tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Series):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    return value


def _output(output: Output) -> dict[str, Any]:
    if isinstance(output, Printed):
        return {"printed": output.text}
    if isinstance(output, Said):
        return {"said": output.phrase}
    if isinstance(output, Rows):
        return {"columns": plain(output.columns), "rows": plain(output.rows)}
    caption = output.caption
    if isinstance(output.what, View):
        return {"figure": output.what.to_json(), "caption": caption}
    if isinstance(output.what, Chart):
        kind = type(output.what).__name__
        return {"figure": {"chart": kind, **plain(vars(output.what))}, "caption": caption}
    return {"figure": {"drawing": getattr(output.what, "__name__", "")}, "caption": caption}
