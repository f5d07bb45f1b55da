"""A lesson of every kind of output, small enough to run in each test."""

from pathlib import Path

import pytest

from cloche.lessons.lesson import read_lesson
from cloche.lessons.needs import Given

CELLS = """# /// lesson
# part = "attention"
# order = 1
# minutes = 2
# needs = []
# ///
from cloche.lessons.stage import open_stage

stage = open_stage()

# %% numbers
import torch

torch.manual_seed(1)
total = torch.arange(4.0).sum()
print(total)
stage.keep(total=total, half=total / 2)

# %% words folded
stage.say(en=f"six is {int(total)}", zh=f"六是 {int(total)}")
print("between")
stage.table(["a|b", {"en": "name", "zh": "名字"}], [[1, "x"], [0.5, {"en": "y", "zh": "乙"}]])

# %% figures
from cloche.lessons.charts import Curves, HeatMap, Series


def blank(theme, lang):
    from cloche.plots.canvas import new_figure

    return new_figure(theme, width=2, height=1, title=lang)


stage.show(HeatMap(torch.eye(2), rows=["p", "q"], columns=["p", "q"]), {"en": "Eye", "zh": "单位"})
stage.show(Curves([1, 2, 3], [Series({"en": "falling", "zh": "下降"}, [3.0, 2.0, 1.0])]))
stage.show(blank)
"""
ENGLISH = """---
title: Sums: a start
summary: Adding up.
---

How much is it?

## Numbers

{{ numbers }}

It is {{= total:.1f }}, half is `{{= half }}`.
See [heads](lesson:heads) and [training](guide:training.md).

{{ words }}

{{ figures }}

## What to try next

- `cloche train`

## Sources

- [One](https://example.org/one)
"""
CHINESE = """---
title: 求和
summary: 加起来。
---

一共是多少？
下一行。

## 数

{{ numbers }}

一共 {{= total:.1f }}，一半是 `{{= half }}`。见[多个头](lesson:heads)和[训练](guide:training.md)。

{{ words }}

{{ figures }}

## 接下来可以试

- `cloche train`

## 来源

- [其一](https://example.org/one)
"""


@pytest.fixture
def lesson_folder(tmp_path) -> Path:
    folder = tmp_path / "pages" / "sums"
    folder.mkdir(parents=True)
    for name, text in (("cells.py", CELLS), ("en.md", ENGLISH), ("zh.md", CHINESE)):
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def lesson(lesson_folder):
    return read_lesson(lesson_folder)


@pytest.fixture
def given(tmp_path) -> Given:
    return Given(None, tmp_path / "cache")
